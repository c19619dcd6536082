"""The name under which browsers keep passkeys for this server, and where they can.

A value file: knows the scheme and the host of a request, once the gate has checked both.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from webui.errors import InvalidRequest

LOCALHOST = "localhost"
USUAL_PORTS = {"http": 80, "https": 443}


class PasskeysImpossible(InvalidRequest):
    """Browsers keep no passkeys for the address by which this server was reached."""

    code = "passkeys_impossible"


@dataclass(frozen=True, slots=True)
class RelyingParty:
    """This server as browsers see it.

    Attributes:
        id: The host name; what is made under one is of no use under another.
        origin: Scheme, host and port as browsers write them.
    """

    id: str
    origin: str


def relying_party_of(scheme: str, host: str) -> RelyingParty:
    """Return as whom a request reached this server.

    Args:
        scheme: `http` or `https`.
        host: Host header, of a name that is ours.

    Raises:
        PasskeysImpossible: The address has no name, or what is sent to it can be read on the way.
    """
    try:
        parts = urlsplit(f"{scheme}://{host}")
        name, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise PasskeysImpossible(
            "the address is none that a browser would write", "Open the page in a browser."
        ) from error
    _check_name(name, port)
    if scheme != "https" and name != LOCALHOST and not name.endswith(f".{LOCALHOST}"):
        raise PasskeysImpossible(
            "browsers keep passkeys for https and for localhost alone",
            "Start the server with --tls, or put it behind a proxy that speaks https and is named "
            "with --trusted-proxy.",
        )
    shown = name if port in {None, USUAL_PORTS.get(scheme)} else f"{name}:{port}"
    return RelyingParty(name, f"{scheme}://{shown}")


def _check_name(name: str, port: int | None) -> None:
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return
    raise PasskeysImpossible(
        f"browsers keep no passkeys for a bare address such as {name}",
        f"Open http://{LOCALHOST}{f':{port}' if port else ''} instead."
        if address.is_loopback
        else "Start the server with --tls and open it by a name, such as one that ends in .local.",
    )
