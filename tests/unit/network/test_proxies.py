"""Who is believed, and who stands before them."""

from __future__ import annotations

import pytest

from webui.network.proxies import Proxies


@pytest.mark.parametrize(
    ("address", "is_trusted"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("fd00::7", True),
        ("11.0.0.1", False),
        ("fd00::8", False),
        ("", False),
        ("unix:", False),
        ("10.1.2.3.evil.example", False),
    ],
)
def test_peer_is_trusted_by_its_network(address: str, *, is_trusted: bool) -> None:
    assert Proxies(["10.0.0.0/8", "fd00::7"]).trusts(address) is is_trusted


def test_nobody_is_trusted_by_default() -> None:
    assert not Proxies().trusts("127.0.0.1")


@pytest.mark.parametrize(
    ("chain", "client"),
    [
        (["203.0.113.9"], "203.0.113.9"),
        (["1.1.1.1", "203.0.113.9"], "203.0.113.9"),
        (["1.1.1.1", "203.0.113.9", "10.0.0.2"], "203.0.113.9"),
        (["10.0.0.3", "10.0.0.2"], "10.0.0.3"),
        (["203.0.113.9:4711"], "203.0.113.9"),
        (["[2001:db8::1]:4711"], "2001:db8::1"),
        (["2001:db8::1"], "2001:db8::1"),
        (["::ffff:203.0.113.9"], "203.0.113.9"),
        (["unknown"], "10.0.0.1"),
        (["203.0.113.9", "_hidden", "10.0.0.2"], "10.0.0.2"),
        ([], "10.0.0.1"),
    ],
)
def test_client_is_the_newest_address_that_no_proxy_has(chain: list[str], client: str) -> None:
    assert Proxies(["10.0.0.0/8"]).client("10.0.0.1", chain) == client
