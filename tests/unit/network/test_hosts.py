"""Names under which requests are answered, by what is listened on."""

from __future__ import annotations

import ipaddress

import pytest

from webui.network.addresses import Addresses, Interface
from webui.network.binding import binding_of
from webui.network.hosts import Hosts
from webui.settings import Settings

NAMES = ("desk", "desk.local")


def hosts_of(*found: str, **settings: object) -> Hosts:
    interfaces = [Interface("eth0", ipaddress.ip_address(one)) for one in found]
    made = Settings(**settings)  # type: ignore[arg-type]
    return Hosts(
        binding_of(made),
        Addresses(lambda: interfaces),
        names=NAMES,
        further=made.allowed_hosts,
    )


def test_loopback_alone_knows_no_name_of_the_machine() -> None:
    hosts = hosts_of("192.168.1.5")
    assert "localhost" in hosts
    assert "[::1]" in hosts
    for name in (*NAMES, "192.168.1.5", "127.0.0.2", "", "::1", None, 5):
        assert name not in hosts


def test_one_address_is_answered_with_the_names_and_not_the_other_addresses() -> None:
    hosts = hosts_of("192.168.1.5", "192.168.1.6", host="192.168.1.5")
    assert "192.168.1.5" in hosts
    assert "desk.local" in hosts
    assert "192.168.1.6" not in hosts


@pytest.mark.parametrize("settings", [{"listen": True}, {"host": "0.0.0.0"}, {"host": "::"}])
def test_everything_is_answered_at_all_addresses(settings: dict[str, object]) -> None:
    hosts = hosts_of("192.168.1.5", "fd00::5", **settings)
    for name in ("192.168.1.5", "[fd00::5]", "[fd00:0::0:5]", "desk", "127.0.0.1"):
        assert name in hosts
    for name in ("192.168.1.6", "fd00::5", "[192.168.1.5]", "0.0.0.0", "[::]", "192.168.1.5."):
        assert name not in hosts


def test_further_names_are_exact() -> None:
    hosts = hosts_of(allowed_hosts="chat.example.org, Other.example")
    assert "chat.example.org" in hosts
    assert "other.example" in hosts
    for name in ("example.org", "x.chat.example.org", "chat.example.org.evil.example"):
        assert name not in hosts
