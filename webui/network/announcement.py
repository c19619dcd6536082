"""Telling the local network our name and our service by multicast DNS (RFC 6762, RFC 6763).

A convenience: whatever goes wrong is one line in the log and never the end of the server. Knows
zeroconf, which is loaded only when there is something to tell.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from zeroconf import ServiceInfo

    from webui.network.addresses import IPAddress

logger = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 2.0


class Speaker(Protocol):
    """What of zeroconf's `AsyncZeroconf` is used."""

    async def async_register_service(
        self, info: ServiceInfo, *, allow_name_change: bool
    ) -> Awaitable[object]:
        """Begin to answer for a service once its name is free; returns what tells it around."""
        ...

    async def async_close(self) -> None:
        """Say goodbye and close the sockets."""
        ...


def make_speaker(addresses: Sequence[IPAddress]) -> Speaker:
    """Open the multicast sockets of the interfaces with these addresses, on the running loop.

    Raises:
        OSError: The system does not allow it.
    """
    from zeroconf import IPVersion
    from zeroconf.asyncio import AsyncZeroconf

    has_v6 = any(address.version == 6 for address in addresses)
    return AsyncZeroconf(
        interfaces=[str(address) for address in addresses],
        ip_version=IPVersion.All if has_v6 else IPVersion.V4Only,
    )


class Announcement:
    """One service on the network, told anew when the addresses change.

    Args:
        name: The host name, such as `desk.local`.
        port: Where it is served.
        scheme: "http" or "https".
        path: Path of the page, no slash at its end.
        make: Opens the sockets.
    """

    def __init__(
        self,
        name: str,
        port: int,
        *,
        scheme: str,
        path: str = "",
        make: Callable[[Sequence[IPAddress]], Speaker] = make_speaker,
    ) -> None:
        self._name = name
        self._port = port
        self._scheme = scheme
        self._path = path
        self._make = make
        self._told: tuple[IPAddress, ...] = ()
        self._speaker: Speaker | None = None

    async def tell(self, addresses: tuple[IPAddress, ...]) -> None:
        """Announce these addresses; nothing is sent when they are those told last."""
        if addresses == self._told:
            return
        await self.close()
        self._told = addresses
        if not addresses:
            return
        try:
            # Takes a tenth of a second, and few need it: so not at the top, and not on the loop.
            await asyncio.to_thread(importlib.import_module, "zeroconf.asyncio")
            self._speaker = self._make(addresses)
            told = await self._speaker.async_register_service(self._info(), allow_name_change=True)
            await told
        except Exception as error:  # noqa: BLE001 - the rim: many things go wrong in networks
            logger.warning(
                "%s is not announced on the network: %s",
                self._name,
                str(error) or type(error).__name__,
            )
            await self.close()
            self._told = addresses  # tried again when they change, not every few seconds

    async def close(self) -> None:
        """Take the announcement back; idempotent."""
        speaker, self._speaker, self._told = self._speaker, None, ()
        if speaker is None:
            return
        with contextlib.suppress(Exception):  # the network may be gone already
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await speaker.async_close()

    def _info(self) -> ServiceInfo:
        from zeroconf import ServiceInfo

        kind = f"_{self._scheme}._tcp.local."
        label = self._name.removesuffix(".local")
        return ServiceInfo(
            kind,
            f"Hearthside on {label}.{kind}",
            port=self._port,
            properties={"path": f"{self._path}/"},
            server=f"{self._name}.",
            parsed_addresses=[str(address) for address in self._told],
        )
