"""The host names under which this server answers; any other is refused (DNS rebinding).

A page of a foreign site can have its own name point at this machine, and its browser then takes
our answers for that site's. Such a request carries the foreign name.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from webui.network.binding import bracketed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from webui.network.addresses import Addresses
    from webui.network.binding import Binding

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})


class Hosts:
    """Our names, as a container: `name in hosts`, in lower case, IPv6 in brackets, no port.

    Args:
        binding: What is listened on.
        addresses: Those of this machine; they count where everything is listened on.
        names: The names of this machine; they count where others can reach it.
        further: Names that the settings allow.
    """

    def __init__(
        self,
        binding: Binding,
        addresses: Addresses,
        *,
        names: Iterable[str],
        further: Iterable[str],
    ) -> None:
        bound = () if binding.is_everywhere else map(bracketed, binding.hosts)
        own = names if binding.is_open else ()
        self._fixed = LOOPBACK_HOSTS.union(map(_plain, (*bound, *own, *further)))
        self._addresses = addresses if binding.is_everywhere else None

    def __contains__(self, name: object) -> bool:
        """Whether requests under this name are answered."""
        if not isinstance(name, str):
            return False
        name = _plain(name)
        if name in self._fixed:
            return True
        address = _address(name)
        return (
            address is not None
            and self._addresses is not None
            and address in self._addresses.list()
        )


def _plain(name: str) -> str:
    """Return the one way to write a name."""
    address = _address(name)
    return name.lower() if address is None else bracketed(str(address))


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    inner = name[1:-1] if name.startswith("[") and name.endswith("]") else name
    try:
        address = ipaddress.ip_address(inner)
    except ValueError:
        return None
    is_as_in_urls = (address.version == 6) == (inner != name)
    return address if is_as_in_urls else None
