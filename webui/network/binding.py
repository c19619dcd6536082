"""What is listened on, told by the settings: this machine alone, one address, or everything.

A value file: it opens no socket and asks the system nothing.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from webui.settings import Settings

EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - what `--listen` asks for
LOCALHOST = "localhost"


@dataclass(frozen=True, slots=True)
class Binding:
    """The addresses of the sockets.

    Attributes:
        hosts: Addresses to listen on.
        is_open: Whether other machines may reach one of them.
        is_everywhere: Whether all addresses of this machine are listened on.
    """

    hosts: tuple[str, ...]
    is_open: bool
    is_everywhere: bool


def binding_of(settings: Settings) -> Binding:
    """Return what the settings say; `listen` counts more than `host`.

    Raises:
        ValueError: The host is no address.
    """
    if settings.listen:
        return Binding(EVERYWHERE, is_open=True, is_everywhere=True)
    if settings.host == LOCALHOST:
        return Binding((settings.host,), is_open=False, is_everywhere=False)
    address = ipaddress.ip_address(settings.host)
    return Binding(
        (settings.host,),
        is_open=not address.is_loopback,
        is_everywhere=address.is_unspecified,
    )


def bracketed(host: str) -> str:
    """Return an address as it stands in a URL."""
    return f"[{host}]" if ":" in host else host
