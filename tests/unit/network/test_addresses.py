"""Which addresses count, in which order, and how often the system is asked."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from webui.network.addresses import FRESH_S, Addresses, Interface, read_interfaces

if TYPE_CHECKING:
    import pytest


def interface(name: str, address: str) -> Interface:
    return Interface(name, ipaddress.ip_address(address))


def test_addresses_that_a_person_would_try_first_stand_first() -> None:
    found = [
        interface("lo", "127.0.0.1"),
        interface("docker0", "172.17.0.1"),
        interface("eth0", "2001:db8::1"),
        interface("eth0", "fd00::2"),
        interface("eth0", "fe80::1%eth0"),
        interface("eth1", "169.254.3.4"),
        interface("eth0", "198.51.100.7"),
        interface("wlan0", "192.168.1.5"),
        interface("wlan0", "192.168.1.5"),
        interface("lo", "::1"),
    ]
    listed = [str(one) for one in Addresses(lambda: found).list()]
    assert listed[0] in {"192.168.1.5", "198.51.100.7"}
    assert set(listed[:2]) == {"192.168.1.5", "198.51.100.7"}
    assert set(listed[2:4]) == {"fd00::2", "2001:db8::1"}
    assert listed[4:] == ["169.254.3.4", "172.17.0.1"]


def test_address_that_comes_later_is_found_within_seconds_without_asking_each_time() -> None:
    now, asked, found = [0.0], [0], [interface("eth0", "192.168.1.5")]

    def read() -> list[Interface]:
        asked[0] += 1
        return found

    addresses = Addresses(read, clock=lambda: now[0])
    for _ in range(1000):
        assert [str(one) for one in addresses.list()] == ["192.168.1.5"]
    assert asked == [1]
    found[0] = interface("eth0", "192.168.1.77")
    now[0] += FRESH_S
    assert [str(one) for one in addresses.list()] == ["192.168.1.77"]
    assert asked == [2]


def test_system_that_does_not_answer_leaves_what_was_known(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now, answers = [0.0], [[interface("eth0", "192.168.1.5")]]

    def read() -> list[Interface]:
        if not answers:
            raise OSError("no netlink here")
        return answers.pop()

    addresses = Addresses(read, clock=lambda: now[0])
    before = addresses.list()
    now[0] += FRESH_S
    assert addresses.list() == addresses.list() == before != ()
    assert [record.getMessage() for record in caplog.records] == [
        "the addresses of this machine cannot be read: no netlink here"
    ]


def test_system_names_the_loopback() -> None:
    assert "127.0.0.1" in {str(one.address) for one in read_interfaces()}
