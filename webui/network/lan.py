"""How other devices reach this server: its addresses, its names and its certificate.

Knows the settings and the machine; knows no route. Nothing is opened when it is made.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from typing import TYPE_CHECKING

from webui.network.addresses import Addresses
from webui.network.announcement import Announcement
from webui.network.binding import binding_of, bracketed
from webui.network.certificates import Certificates
from webui.network.hosts import Hosts

if TYPE_CHECKING:
    from collections.abc import Callable

    from webui.network.addresses import IPAddress
    from webui.settings import Settings

logger = logging.getLogger(__name__)

FOLLOW_S = 10.0
NAMELESS = "hearthside"
LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


class Lan:
    """This server as others see it.

    Args:
        settings: What the server was told; `port` is the one that was really taken.
        addresses: Those of this machine.
        host_name: What this machine is called; the system says it by default.
        announce: Makes what tells the network our name.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        addresses: Addresses | None = None,
        host_name: str | None = None,
        announce: Callable[..., Announcement] = Announcement,
    ) -> None:
        host_name = (host_name or socket.gethostname()).lower()
        label = host_name.partition(".")[0]
        if LABEL.fullmatch(label) is None or label == "localhost":
            host_name = label = NAMELESS
        self.binding = binding_of(settings)
        self.addresses = addresses or Addresses()
        self.name = f"{label}.local"
        names = tuple(dict.fromkeys((host_name, label, self.name)))
        self.hosts = Hosts(
            self.binding, self.addresses, names=names, further=settings.allowed_hosts
        )
        reached = (*(names if self.binding.is_open else ()), *settings.allowed_hosts)
        self.certificates = Certificates(settings, reached, names) if settings.is_tls else None
        self._settings = settings
        self._announce = announce

    @property
    def scheme(self) -> str:
        """Return "http" or "https"."""
        return "https" if self._settings.is_tls else "http"

    def url(self, host: str) -> str:
        """Return the address of the page under a host name or address, no slash at its end."""
        settings = self._settings
        return f"{self.scheme}://{bracketed(host)}:{settings.port}{settings.root_path}"

    def reachable(self) -> tuple[IPAddress, ...]:
        """Return the addresses at which others reach this server, best first."""
        if not self.binding.is_open:
            return ()
        hosts = self.binding.hosts
        found = self.addresses.list()
        if self.binding.is_everywhere:
            versions = {6 if ":" in host else 4 for host in hosts}
            return tuple(address for address in found if address.version in versions)
        return tuple(address for address in found if str(address) in hosts)

    def urls(self) -> tuple[str, ...]:
        """Return the addresses for other devices, best first; the name stands behind the best."""
        urls = [self.url(str(address)) for address in self.reachable()]
        if self._settings.mdns and urls:
            urls.insert(1, self.url(self.name))
        return tuple(urls)

    async def follow(self) -> None:
        """Keep certificate and announcement in step with the addresses, until cancelled."""
        settings = self._settings
        announcement = (
            self._announce(self.name, settings.port, scheme=self.scheme, path=settings.root_path)
            if settings.mdns and self.binding.is_open
            else None
        )
        try:
            while True:
                addresses = self.reachable()
                if self.certificates is not None:
                    await asyncio.to_thread(self.certificates.refresh, addresses)
                if announcement is not None:
                    await announcement.tell(addresses)
                await asyncio.sleep(FOLLOW_S)
        finally:
            if announcement is not None:
                await announcement.close()
