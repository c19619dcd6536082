"""As whom browsers know this server, and where they keep no passkeys for it."""

from __future__ import annotations

import pytest

from webui.accounts.relying_party import PasskeysImpossible, RelyingParty, relying_party_of


@pytest.mark.parametrize(
    ("scheme", "host", "id_", "origin"),
    [
        ("http", "localhost:7860", "localhost", "http://localhost:7860"),
        ("http", "LocalHost", "localhost", "http://localhost"),
        ("http", "a.localhost:80", "a.localhost", "http://a.localhost"),
        ("https", "desk.local:7860", "desk.local", "https://desk.local:7860"),
        ("https", "Chat.Example.org:443", "chat.example.org", "https://chat.example.org"),
        ("https", "chat.example.org:80", "chat.example.org", "https://chat.example.org:80"),
        ("https", "desk", "desk", "https://desk"),
    ],
)
def test_name_and_origin_are_as_browsers_write_them(scheme, host, id_, origin) -> None:
    assert relying_party_of(scheme, host) == RelyingParty(id_, origin)


@pytest.mark.parametrize(
    ("scheme", "host", "hint"),
    [
        ("http", "127.0.0.1:7860", "Open http://localhost:7860 instead."),
        ("http", "[::1]", "Open http://localhost instead."),
        ("https", "192.168.1.5:7860", "by a name"),
        ("https", "[fd00::5]:7860", "by a name"),
        ("http", "192.168.1.5:7860", "--tls"),
        ("http", "desk.local:7860", "--tls"),
        ("http", "localhost.example.org", "--trusted-proxy"),
        ("http", "notlocalhost", "--tls"),
        ("https", "desk.local:99999", "browser"),
    ],
)
def test_where_browsers_keep_none_it_says_what_to_do(scheme: str, host: str, hint: str) -> None:
    with pytest.raises(PasskeysImpossible) as caught:
        relying_party_of(scheme, host)
    assert hint in caught.value.hint
