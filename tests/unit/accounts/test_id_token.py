"""When somebody signed in at the provider: whether that was because we asked."""

from __future__ import annotations

import pytest

from webui.accounts.id_token import LEEWAY_S, SignInRefused, check_anew

SENT, NOW = 1_000_000, 1_000_300


@pytest.mark.parametrize("at_s", [SENT, NOW, SENT + 7.5, SENT - LEEWAY_S, NOW + LEEWAY_S])
def test_sign_in_after_we_asked_is_anew(at_s: float) -> None:
    check_anew({"auth_time": at_s}, since_s=SENT, now_s=NOW)


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({}, "does not say when"),
        ({"auth_time": None}, "does not say when"),
        ({"auth_time": str(NOW)}, "does not say when"),
        ({"auth_time": True}, "does not say when"),
        ({"auth_time": [NOW]}, "does not say when"),
        ({"auth_time": SENT - LEEWAY_S - 1}, "did not ask you"),
        ({"auth_time": 0}, "did not ask you"),
        ({"auth_time": float("nan")}, "did not ask you"),
        ({"auth_time": float("-inf")}, "did not ask you"),
        ({"auth_time": NOW + LEEWAY_S + 1}, "a time to come"),
        ({"auth_time": float("inf")}, "a time to come"),
        ({"auth_time": 10**400}, "a time to come"),
    ],
)
def test_all_else_is_refused_with_what_to_do(claims: dict[str, object], said: str) -> None:
    with pytest.raises(SignInRefused, match=said) as refusal:
        check_anew(claims, since_s=SENT, now_s=NOW)
    assert refusal.value.hint
