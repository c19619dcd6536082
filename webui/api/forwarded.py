"""What a request was before a reverse proxy passed it on: client, scheme, host and path.

Headers that say so are believed from trusted proxies alone and then taken off; behind the gate
nobody sees them. Knows no route.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from webui.network.proxies import parse_address

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import Scope

    from webui.network.proxies import Proxies

    Headers = list[tuple[bytes, bytes]]

FORWARDING = (b"x-forwarded-", b"forwarded", b"x-real-ip")
# Gradio's own page sends these; one of them would have the page call any server it names.
DRAWN = (b"x-gradio-",)
SCHEMES = frozenset({"http", "https"})


class Forwarded:
    """Requests as their senders wrote them.

    Args:
        proxies: Whose headers are believed.
        root_path: Path under which a proxy shows this server; taken off where it is there.
        user_header: In which trusted proxies say who is signed in; nobody else's is believed.
    """

    def __init__(
        self, proxies: Proxies, root_path: str = "", user_header: str | None = None
    ) -> None:
        self._proxies = proxies
        self._root_path = root_path
        self._user_header = (user_header or "").lower().encode()

    def original(self, scope: Scope) -> Scope:
        """Return the scope without the traces of proxies; `client` is None where nobody knows it.

        A proxy on this machine that nobody named must not make all the world look local.
        """
        headers: Headers = scope["headers"]
        own = without(headers, FORWARDING)
        user, own = self._user(own)
        changed = {"headers": without(own, DRAWN), **self._place(scope)}
        peer = (scope.get("client") or ("",))[0]
        if self._proxies.trusts(peer):
            changed |= self._sender(headers, changed["headers"], peer)
            if user is not None:
                changed["state"] = {**scope.get("state", {}), "proxy_user": user}
        elif len(own) < len(headers) and _is_loopback(peer):
            changed["client"] = None
        return {**scope, **changed}

    def _sender(self, headers: Headers, kept: Headers, peer: str) -> Scope:
        """Return what a trusted proxy says of client, scheme and host."""
        found: Scope = {}
        chain = _values(headers, b"x-forwarded-for")
        found["client"] = (self._proxies.client(peer, chain), 0) if chain else None
        schemes = _values(headers, b"x-forwarded-proto")
        if schemes and schemes[-1].lower() in SCHEMES:
            found["scheme"] = schemes[-1].lower()
        hosts = _values(headers, b"x-forwarded-host")
        if hosts:
            # Of several the gate cannot know the right one: none of ours is named so.
            host = hosts[0] if len(hosts) == 1 else ""
            found["headers"] = [*without(kept, (b"host",)), (b"host", host.encode("latin-1"))]
        return found

    def _user(self, headers: Headers) -> tuple[str | None, Headers]:
        """Return what the header of users says, and the others; text that is no name if twice."""
        name = self._user_header
        found = [value for key, value in headers if name and key.lower() == name]
        if not found or found == [b""]:
            user = None
        else:
            user = found[0].decode("utf-8", "replace") if len(found) == 1 else ""
        return user, [one for one in headers if not name or one[0].lower() != name]

    def _place(self, scope: Scope) -> Scope:
        """Return the path below the root; some proxies take the root off, others leave it."""
        root, path = self._root_path, scope["path"]
        if not root or not (path == root or path.startswith(f"{root}/")):
            return {}
        raw = scope.get("raw_path") or path.encode()
        begin = root.encode()
        below = raw[len(begin) :] if raw.startswith(begin) else path[len(root) :].encode()
        return {"path": path[len(root) :] or "/", "raw_path": below or b"/"}


def without(headers: Iterable[tuple[bytes, bytes]], prefixes: tuple[bytes, ...]) -> Headers:
    """Return the headers but for those whose names begin so."""
    return [(key, value) for key, value in headers if not key.lower().startswith(prefixes)]


def _is_loopback(peer: str) -> bool:
    address = parse_address(peer)
    return address is not None and address.is_loopback


def _values(headers: Headers, name: bytes) -> list[str]:
    """Return the values of a list header that may stand there several times."""
    found = [value.decode("latin-1") for key, value in headers if key == name]
    return [part.strip() for value in found for part in value.split(",")]
