"""Tokens, their hashes, and browsers in words."""

from __future__ import annotations

import pytest

from webui.accounts.identity import device_of, hash_of, new_token

AGENT = "Mozilla/5.0 ({}) AppleWebKit/537.36 (KHTML, like Gecko) "


def test_tokens_differ_and_are_not_kept_themselves() -> None:
    tokens = {new_token() for _ in range(1000)}
    assert len(tokens) == 1000
    assert {len(token) for token in tokens} == {43}
    token = tokens.pop()
    assert len(hash_of(token)) == 64
    assert token not in hash_of(token)


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        (AGENT.format("X11; Linux x86_64") + "Chrome/130.0 Safari/537.36", "Chrome, Linux"),
        (AGENT.format("Windows NT 10.0") + "Chrome/130 Safari/537 Edg/130", "Edge, Windows"),
        (AGENT.format("iPhone; CPU iPhone OS 18_0 like Mac OS X") + "Safari/604", "Safari, iPhone"),
        (AGENT.format("Linux; Android 15; Pixel") + "Chrome/130 Mobile Safari", "Chrome, Android"),
        ("Mozilla/5.0 (X11; Linux; rv:130.0) Gecko/20100101 Firefox/130.0", "Firefox, Linux"),
        ("curl/8.5.0", "curl/8.5.0"),
        ("x\x1b[31m" + "y" * 200, "x[31m" + "y" * 55),
        ("", ""),
    ],
)
def test_device_in_words(agent: str, words: str) -> None:
    assert device_of(agent) == words
