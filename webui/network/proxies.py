"""The reverse proxies that are believed, and who stands before them.

A value file: knows addresses and networks; knows no header and no request.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from webui.network.addresses import IPAddress

WITH_PORT = re.compile(r"\[(?P<six>[^\]]+)\](?::\d+)?|(?P<four>[\d.]+):\d+")


class Proxies:
    """Networks of trusted proxies.

    Args:
        networks: Addresses, or networks such as `10.0.0.0/8`.
    """

    def __init__(self, networks: Iterable[str] = ()) -> None:
        self._networks = tuple(ipaddress.ip_network(one, strict=False) for one in networks)

    def trusts(self, address: str) -> bool:
        """Whether a peer is one of them."""
        found = parse_address(address)
        return found is not None and self._holds(found)

    def client(self, peer: str, chain: Iterable[str]) -> str:
        """Return who sent a request that came from a trusted peer.

        Args:
            peer: Address of the last proxy.
            chain: What the proxies wrote, oldest first. Anybody may have written the beginning;
                what counts is the newest address that is not a trusted proxy's.
        """
        client = peer
        for text in reversed(tuple(chain)):
            found = parse_address(text.strip())
            if found is None:
                break
            client = str(found)
            if not self._holds(found):
                break
        return client

    def _holds(self, address: IPAddress) -> bool:
        return any(address in network for network in self._networks)


def parse_address(text: str) -> IPAddress | None:
    """Return an address, also with a port behind it; None for anything else."""
    match = WITH_PORT.fullmatch(text)
    try:
        address = ipaddress.ip_address(match["six"] or match["four"] if match else text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if address.version == 6 else None
    return mapped or address
