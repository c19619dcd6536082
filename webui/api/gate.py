"""The one door: every request passes it before anything of ours or Gradio's sees it.

Pure ASGI, so that streams are not buffered. Knows hosts, origins, sizes and headers; knows no
route and no user. What a proxy says of a request is sorted out before (`forwarded`). Reads `scope["path"]` only: a URL rebuilt from headers can lie.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect

from webui.api.errors import (
    BodyTooLarge,
    BodyTooSlow,
    CrossSite,
    UnknownHost,
    UnsupportedMediaType,
    error_response,
    internal_error,
)
from webui.api.forwarded import Forwarded, without
from webui.errors import WebuiError
from webui.network.hosts import LOOPBACK_HOSTS
from webui.network.proxies import Proxies

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 4 * 1024 * 1024
BODY_TIMEOUT_S = 30.0
WHOLE_BODY_TIMEOUT_S = 300.0  # the largest body over a line of 14 kB/s
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
API_PREFIXES = ("/api/", "/v1/", "/gradio_api/")
HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::\d{1,5})?", re.IGNORECASE)

# 'unsafe-inline' and 'unsafe-eval' are Gradio's: inline scripts without a nonce, and gr.HTML
# compiles its templates. The rest keeps what a page holds from leaving the server.
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self'; media-src 'self' blob:; worker-src 'self' blob:; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
SECURITY_HEADERS = (
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
# Nobody behind the gate may answer a foreign page.
DROPPED_FROM_ANSWERS = (b"access-control-", b"server")


class Gate:
    """Let through what the own page or a local program sends; answer everything else itself.

    Args:
        app: What lies behind.
        hosts: Names under which requests are answered, in lower case, IPv6 in brackets.
        forwarded: What sorts out the words of proxies; by default nobody is believed.
        max_body_bytes: Largest body that is read.
        body_timeout_s: Longest wait for the next piece of a body.
        whole_body_timeout_s: Longest wait for all of it.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: Container[str] = LOOPBACK_HOSTS,
        forwarded: Forwarded | None = None,
        max_body_bytes: int = MAX_BODY_BYTES,
        body_timeout_s: float = BODY_TIMEOUT_S,
        whole_body_timeout_s: float = WHOLE_BODY_TIMEOUT_S,
    ) -> None:
        self._app = app
        self._hosts = hosts
        self._forwarded = forwarded or Forwarded(Proxies())
        self._max_body_bytes = max_body_bytes
        self._body_timeouts_s = (body_timeout_s, whole_body_timeout_s)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event of the server."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await receive()
            await send({"type": "websocket.close", "code": 1008})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = secrets.token_hex(8)
        scope = self._forwarded.original(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        body = _Body(receive, self._max_body_bytes, *self._body_timeouts_s)
        answer = _Answer(send, scope["path"], request_id, body)
        try:
            self._check(scope)
            await self._app(scope, body.receive, answer.send)
            if body.refusal is not None:
                raise body.refusal
        except ClientDisconnect:
            return
        except WebuiError as error:
            await answer.refuse(body.refusal or error, scope)
        except Exception as error:
            if body.refusal is None:
                logger.exception("request %s failed: %s", request_id, type(error).__name__)
            await answer.refuse(body.refusal or internal_error(request_id), scope)

    def _check(self, scope: Scope) -> None:
        headers = _Headers(scope["headers"])
        self._check_host(headers)
        _check_origin(scope, headers)
        _check_body(headers, self._max_body_bytes)

    def _check_host(self, headers: _Headers) -> None:
        """Refuse names that somebody else's DNS points at us (DNS rebinding).

        Raises:
            UnknownHost: Not one of ours, or not exactly one.
        """
        hosts = headers.all(b"host")
        match = HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
        if match is None or match[1].lower() not in self._hosts:
            raise UnknownHost(
                "this server does not answer under that host name",
                "Open it at an address that it printed at start; a further name must be given to "
                "it with --allowed-hosts.",
            )


class _Headers:
    """Header values of one request as text."""

    def __init__(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        self._raw = list(raw)

    def all(self, name: bytes) -> list[str]:
        return [value.decode("latin-1") for key, value in self._raw if key == name]

    def one(self, name: bytes) -> str | None:
        """Return the value; None when absent, and '' (which matches nothing) when doubled."""
        values = self.all(name)
        return None if not values else values[0] if len(values) == 1 else ""


class _Body:
    """The request's body on its way in: bounded in bytes and in time."""

    def __init__(
        self, receive: Receive, max_bytes: int, timeout_s: float, whole_timeout_s: float
    ) -> None:
        self._receive = receive
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._ends_at = asyncio.get_running_loop().time() + whole_timeout_s
        self._size_bytes = 0
        self._complete = False
        self.refusal: WebuiError | None = None

    async def receive(self) -> Message:
        if self._complete:
            return await self._receive()
        left_s = self._ends_at - asyncio.get_running_loop().time()
        wait_s = max(0.0, min(self._timeout_s, left_s))
        try:
            async with asyncio.timeout(wait_s):
                message = await self._receive()
        except TimeoutError as error:
            self.refusal = BodyTooSlow("the body did not arrive in time", "Send it without pauses.")
            raise self.refusal from error
        self._size_bytes += len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        if self._size_bytes > self._max_bytes:
            self.refusal = _too_large(self._max_bytes)
            raise self.refusal
        return message


class _Answer:
    """The answer on its way out: our headers on it, other people's taken off."""

    def __init__(self, send: Send, path: str, request_id: str, body: _Body) -> None:
        self._send = send
        self._body = body
        self._started = False
        self._added = [*SECURITY_HEADERS, (b"x-request-id", request_id.encode())]
        self._may_be_cached = not path.startswith(API_PREFIXES)

    async def send(self, message: Message) -> None:
        if self._started:
            await self._send(message)
        elif self._body.refusal is None:
            await self._write(message)
        # else whoever read the refused body answers in words of its own; `refuse` does it

    async def refuse(self, error: WebuiError, scope: Scope) -> None:
        """Answer with an error, unless an answer is on its way already."""
        if not self._started:
            await error_response(error, scope)(scope, _nothing, self._write)

    async def _write(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._started = True
            headers = without(message["headers"], DROPPED_FROM_ANSWERS)
            if not any(name == b"cache-control" for name, _ in headers):
                headers.append(
                    (b"cache-control", b"no-cache" if self._may_be_cached else b"no-store")
                )
            message = {**message, "headers": headers + self._added}
        await self._send(message)


async def _nothing() -> Message:
    return {"type": "http.disconnect"}


def _check_origin(scope: Scope, headers: _Headers) -> None:
    """Refuse what another site's page sends (CSRF); programs send neither header.

    Raises:
        CrossSite: Sent by a page of another origin, or by a browser that does not say which.
    """
    is_safe = scope["method"] in SAFE_METHODS
    if is_safe and not scope["path"].startswith(API_PREFIXES):
        return
    site, origin = headers.one(b"sec-fetch-site"), headers.one(b"origin")
    if site is not None and site not in {"same-origin", "none"}:
        raise CrossSite("a page of another site sent this request")
    host = headers.one(b"host")
    if origin is not None and origin not in {f"http://{host}", f"https://{host}"}:
        raise CrossSite(
            "a page of another origin sent this request",
            "Behind a reverse proxy, name it with --trusted-proxy.",
        )
    if not is_safe and site is None and origin is None and headers.all(b"cookie"):
        raise CrossSite("a browser sent this request without saying from which page")


def _check_body(headers: _Headers, max_bytes: int) -> None:
    """Refuse bodies that are not JSON, which a foreign form could send, or too large.

    Raises:
        UnsupportedMediaType: It says that it is something else.
        BodyTooLarge: It says that it is larger than what is read.
    """
    length = headers.one(b"content-length")
    has_body = length not in {None, "0"} or headers.all(b"transfer-encoding")
    if not has_body:
        return
    kind = (headers.one(b"content-type") or "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise UnsupportedMediaType(
            f"the body is {kind[:60] or 'of no stated type'}, not application/json",
            "Send JSON with the header 'Content-Type: application/json'.",
        )
    if headers.one(b"content-encoding") not in {None, "identity"}:
        raise UnsupportedMediaType("the body is compressed", "Send it as plain JSON.")
    if (
        length is not None
        and length.isascii()
        and length.isdigit()
        and int(length[:18]) > max_bytes
    ):
        raise _too_large(max_bytes)


def _too_large(max_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body is larger than {max_bytes / 1_048_576:g} MiB")
