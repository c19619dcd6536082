"""What of the settings and the machine others see."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress

import pytest

from webui.network.addresses import Addresses, Interface
from webui.network.lan import Lan
from webui.settings import Settings


def lan_of(*found: str, name: str = "desk", **settings: object) -> Lan:
    interfaces = [Interface("eth0", ipaddress.ip_address(one)) for one in found]
    made = Settings(**settings)  # type: ignore[arg-type]
    return Lan(made, addresses=Addresses(lambda: interfaces), host_name=name)


def test_nobody_reaches_a_server_of_this_machine_alone() -> None:
    assert lan_of("192.168.1.5").urls() == ()


def test_listening_server_is_reached_at_all_addresses_and_by_name() -> None:
    lan = lan_of("192.168.1.5", "fd00::5", listen=True, port=8000)
    assert lan.urls() == (
        "http://192.168.1.5:8000",
        "http://desk.local:8000",
        "http://[fd00::5]:8000",
    )


@pytest.mark.parametrize(
    ("settings", "urls"),
    [
        ({"host": "192.168.1.5"}, ("http://192.168.1.5:7860",)),
        ({"host": "0.0.0.0"}, ("http://192.168.1.5:7860",)),
        ({"host": "::"}, ("http://[fd00::5]:7860",)),
        ({"listen": True, "tls": True}, ("https://192.168.1.5:7860", "https://[fd00::5]:7860")),
        (
            {"host": "192.168.1.5", "root_path": "/hearthside/"},
            ("http://192.168.1.5:7860/hearthside",),
        ),
    ],
)
def test_addresses_follow_the_settings(settings: dict[str, object], urls: tuple[str, ...]) -> None:
    assert lan_of("192.168.1.5", "fd00::5", mdns=False, **settings).urls() == urls


@pytest.mark.parametrize(
    ("name", "local"),
    [
        ("Desk.example.org", "desk.local"),
        ("localhost", "hearthside.local"),
        ("a b", "hearthside.local"),
        ("-x", "hearthside.local"),
    ],
)
def test_name_of_the_machine_becomes_one_of_the_network(name: str, local: str) -> None:
    assert lan_of(name=name).name == local


class Announced:
    """What was told to the network."""

    def __init__(self) -> None:
        self.told: list[tuple[str, ...]] = []
        self.made: tuple[object, ...] = ()
        self.was_told = asyncio.Event()

    def __call__(self, *arguments: object, **named: object) -> Announced:
        self.made = (*arguments, named)
        return self

    async def tell(self, addresses: tuple[object, ...]) -> None:
        self.told.append(tuple(map(str, addresses)))
        self.was_told.set()

    async def close(self) -> None:
        self.told.append(("closed",))


@pytest.mark.parametrize("mdns", [True, False])
async def test_name_is_told_while_the_server_listens_unless_that_is_off(*, mdns: bool) -> None:
    announced = Announced()
    interfaces = [Interface("eth0", ipaddress.ip_address("192.168.1.5"))]
    lan = Lan(
        Settings(listen=True, mdns=mdns),
        addresses=Addresses(lambda: interfaces),
        host_name="desk",
        announce=announced,  # type: ignore[arg-type]
    )
    task = asyncio.create_task(lan.follow())
    if mdns:
        await announced.was_told.wait()
    else:
        await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert announced.told == ([("192.168.1.5",), ("closed",)] if mdns else [])
    if mdns:
        assert announced.made == ("desk.local", 7860, {"scheme": "http", "path": ""})
