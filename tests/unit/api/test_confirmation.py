"""Routes of confirming: they pass on who asked, and put the new sign-in in place of the old."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.api.fakes import SIGNED_IN
from webui.accounts.identity import Identity, Source
from webui.actor import Actor
from webui.api.door import BROWSER_COOKIE, COOKIE

SHOW = dict.fromkeys(("id", "client_data", "authenticator_data", "signature", "user_handle"), "AA")


@pytest.fixture
def bob(runtime: Any) -> Identity:
    """Somebody who is signed in."""
    bob = Identity(actor=Actor("bob", "Bob", frozenset()), source=Source.SESSION, id="s1")
    runtime.accounts.identity, runtime.accounts.is_claimed = bob, True
    return bob


async def test_by_what_it_can_be_confirmed_is_told(client, runtime) -> None:
    runtime.oidc.name = "Login"
    assert (await client.get("/api/confirmation")).json() == {
        "confirmation": {"by": ["provider"], "is_confirmed": True},
        "provider": "Login",
    }


@pytest.mark.parametrize(
    ("wanted", "next_path"), [("/c/abc", "/c/abc"), ("//evil.example", "/"), (None, "/")]
)
async def test_way_to_the_provider_leads_back_to_a_page_of_ours(
    client, runtime, wanted, next_path
) -> None:
    body = {} if wanted is None else {"next": wanted}
    answer = await client.post("/api/confirmation/provider", json=body)
    assert answer.json() == {"url": "https://login.example.org/authorize"}
    assert answer.headers["set-cookie"].startswith(f"{BROWSER_COOKIE}=word;")
    ((name, _, given),) = runtime.oidc.calls
    assert (name, given["next_path"]) == ("begin_confirmation", next_path)
    assert given["redirect_uri"].endswith("/oidc/callback")


async def test_used_passkey_begins_another_sign_in_in_place_of_this(client, runtime, bob) -> None:
    answer = await client.post("/api/confirmation/passkey", json=SHOW)
    assert answer.headers["set-cookie"].startswith(f"{COOKIE}={SIGNED_IN.token};")
    assert runtime.passkeys.calls[0][0] == "confirm"
    assert ("sign_out",) in runtime.accounts.calls


async def test_account_goes_by_what_was_sent(client, runtime, bob) -> None:
    for body, given in (
        ({"password": "p"}, ("p", {})),
        ({"name": "Bob"}, (None, {"name": "Bob"})),
        (None, (None, {})),
    ):
        runtime.accounts.calls.clear()
        answer = await client.request("DELETE", "/api/me", json=body)
        assert answer.status_code == 204
        name, password, _, *more = runtime.accounts.calls[-1]
        assert (name, password) == ("delete", given[0])
        assert (more[0] if more else {}) == given[1]
