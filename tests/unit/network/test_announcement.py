"""What is told to the network, told anew, taken back; and that failing is a line of the log."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from typing import TYPE_CHECKING, Any

import pytest

from webui.network.announcement import Announcement

if TYPE_CHECKING:
    from collections.abc import Sequence

A = ipaddress.ip_address("192.168.1.5")
B = ipaddress.ip_address("fd00::5")


class Network:
    """Remembers what was said; fails where a test says so."""

    def __init__(self) -> None:
        self.said: list[Any] = []
        self.fails: BaseException | None = None
        self.hangs = False

    def __call__(self, addresses: Sequence[object]) -> Network:
        self.said.append(tuple(map(str, addresses)))
        return self

    async def async_register_service(self, info: Any, *, allow_name_change: bool) -> Any:
        assert allow_name_change
        if self.fails is not None:
            raise self.fails
        self.said.append(info)
        return asyncio.sleep(0)

    async def async_close(self) -> None:
        self.said.append("closed")


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
def announcement(network: Network) -> Announcement:
    return Announcement("desk.local", 7860, scheme="https", path="/hearthside", make=network)


async def test_service_has_name_port_addresses_and_path(
    announcement: Announcement, network: Network
) -> None:
    await announcement.tell((A, B))
    made, info = network.said
    assert made == ("192.168.1.5", "fd00::5")
    assert (info.type, info.server, info.port) == ("_https._tcp.local.", "desk.local.", 7860)
    assert info.name == "Hearthside on desk._https._tcp.local."
    assert info.properties == {b"path": b"/hearthside/"}
    assert set(info.parsed_addresses()) == {"192.168.1.5", "fd00::5"}


async def test_same_addresses_are_told_once_and_others_anew(
    announcement: Announcement, network: Network
) -> None:
    for addresses in ((A,), (A,), (A, B), ()):
        await announcement.tell(addresses)
    assert [said for said in network.said if not hasattr(said, "type")] == [
        ("192.168.1.5",),
        "closed",
        ("192.168.1.5", "fd00::5"),
        "closed",
    ]


async def test_failure_is_a_line_of_the_log_and_not_tried_again_at_once(
    announcement: Announcement, network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    network.fails = OSError("no multicast here")
    with caplog.at_level(logging.WARNING):
        await announcement.tell((A,))
        await announcement.tell((A,))
    assert [record.getMessage() for record in caplog.records] == [
        "desk.local is not announced on the network: no multicast here"
    ]
    assert network.said == [("192.168.1.5",), "closed"]


async def test_close_is_idempotent(announcement: Announcement, network: Network) -> None:
    await announcement.tell((A,))
    await announcement.close()
    await announcement.close()
    assert network.said.count("closed") == 1
