"""The addresses of this machine, best first, as they come and go.

Knows interfaces; asks the system at most every few seconds, so that a request may ask each time.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
import time
from typing import TYPE_CHECKING, NamedTuple

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

logger = logging.getLogger(__name__)

FRESH_S = 3.0
# Networks inside this machine: they have addresses that no other device can reach.
INNER = ("br-", "docker", "lxc", "lxd", "podman", "vboxnet", "veth", "virbr", "vmnet")


class Interface(NamedTuple):
    """One address of one interface that is up."""

    name: str
    address: IPAddress


class Addresses:
    """What other machines may reach this one at.

    Args:
        read: Asks the system.
        clock: Monotonic time in seconds.
    """

    def __init__(
        self,
        read: Callable[[], Iterable[Interface]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read = read or read_interfaces
        self._clock = clock
        self._read_at = float("-inf")
        self._addresses: tuple[IPAddress, ...] = ()

    def list(self) -> tuple[IPAddress, ...]:
        """Return the addresses, those that a person would try first first.

        Left out are those of the loopback and, of IPv6, those that need an interface beside them.
        """
        now = self._clock()
        if now - self._read_at >= FRESH_S:
            self._read_at = now
            try:
                found = [one for one in self._read() if _is_reachable(one.address)]
            except OSError as error:
                logger.warning("the addresses of this machine cannot be read: %s", error)
                return self._addresses
            found.sort(key=_rank)
            self._addresses = tuple(dict.fromkeys(one.address for one in found))
        return self._addresses


def read_interfaces() -> list[Interface]:
    """Ask the system; takes less than a millisecond.

    Raises:
        OSError: It does not say.
    """
    stats = psutil.net_if_stats()
    found = []
    for name, parts in psutil.net_if_addrs().items():
        if name in stats and not stats[name].isup:
            continue
        found += [
            Interface(name, ipaddress.ip_address(part.address))
            for part in parts
            if part.family in {socket.AF_INET, socket.AF_INET6}
        ]
    return found


def _is_reachable(address: IPAddress) -> bool:
    if address.is_loopback or address.is_multicast or address.is_unspecified:
        return False
    return address.version == 4 or not address.is_link_local


def _rank(one: Interface) -> tuple[bool, bool, bool, bool]:
    address = one.address
    return (
        one.name.startswith(INNER),
        address.is_link_local,
        address.version == 6,
        not address.is_private,
    )
