"""The web server around the app: its socket, its signals and its end.

Runs in the main thread, which alone may start workers. Knows uvicorn; knows no route.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import sys
import threading
from typing import TYPE_CHECKING

import uvicorn
from typing_extensions import override

from webui.cli.http_protocol import BoundedProtocol
from webui.errors import InvalidRequest, WebuiError
from webui.network.binding import binding_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from webui.settings import Settings

BACKLOG = 128
MAX_CONNECTIONS = 512
STREAMS_END_S = 1
UNREAD_END_S = 0.7
SHUTDOWN_S = 9.0
KEEP_ALIVE_S = 15
TICK_S = 1.0  # of the Date header


class ListenError(WebuiError):
    """The address cannot be listened on."""

    code = "cannot_listen"


def check_address(settings: Settings) -> None:
    """Check that the host is an address.

    Raises:
        InvalidRequest: It is none.
    """
    try:
        binding_of(settings)
    except ValueError as error:
        raise InvalidRequest(
            f"host {settings.host} is not an address of this machine",
            "Use 127.0.0.1.",
            field="host",
        ) from error


def open_sockets(hosts: Sequence[str], port: int) -> list[socket.socket]:
    """Take the port on all addresses; nobody is answered before the server runs.

    IPv6 has a socket of its own, so that nobody's address is seen in two forms. Where the machine
    has none, the other addresses do.

    Args:
        hosts: Addresses.
        port: 0 takes one that is free on the first of them.

    Raises:
        ListenError: It is in use, or may not be used.
    """
    with contextlib.ExitStack() as stack:
        sockets: list[socket.socket] = []
        for host in hosts:
            taken = sockets[0].getsockname()[1] if sockets else port
            try:
                sockets.append(stack.enter_context(open_socket(host, taken)))
            except ListenError as error:
                lacks_family = isinstance(error.__cause__, OSError) and (
                    error.__cause__.errno in {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}
                )
                if not sockets or not lacks_family:
                    raise
        stack.pop_all()
    return sockets


def open_socket(host: str, port: int) -> socket.socket:
    """Take the port of one address.

    Raises:
        ListenError: It is in use, or may not be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ListenError(
                f"port {port} of {host} is in use by another program",
                f"Is Hearthside running already? Else take another port: --port {port + 1}",
            ) from error
        raise ListenError(f"cannot listen on {host}:{port}: {error.strerror}") from error


class Server(uvicorn.Server):
    """Uvicorn that ends in time, forces at the second signal and leaves exit code 0.

    Args:
        app: What is served.
        on_ready: Called once requests are answered.
        on_stop: Called when the end begins; ends the streams that would hold it up.
        tls: What https is served with; None serves http.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        on_ready: Callable[[], None],
        on_stop: Callable[[], None],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._app = _Opened(app)
        self._on_ready = on_ready
        self._on_stop = on_stop
        self._signalled = asyncio.Event()
        config = uvicorn.Config(
            self._app,
            lifespan="on",
            loop="asyncio",
            http=BoundedProtocol,
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ssl_context_factory=None if tls is None else lambda _config, _default: tls,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=STREAMS_END_S,
        )
        super().__init__(config)

    def serve_until_signal(self, listeners: list[socket.socket]) -> None:
        """Open the app, serve, and close it when a signal comes.

        Raises:
            WebuiError: The app could not be opened.
            OSError: The same, from the system.
        """
        try:
            asyncio.run(self.serve(listeners))
        except SystemExit as error:
            if self._app.error is not None:
                raise self._app.error from error
            raise

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and not self.should_exit:
            self._on_ready()

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_stop()
        # Uvicorn waits for who does not read, and then ends their answers as if they had failed.
        cut = asyncio.get_running_loop().call_later(UNREAD_END_S, self._cut_unread)
        try:
            await super().shutdown(sockets)
        finally:
            cut.cancel()

    @override
    async def main_loop(self) -> None:
        """Wait for a signal; uvicorn's own loop looks ten times a second, a third of our idle."""
        while not await self.on_tick(0):  # 0 makes the new Date header
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._signalled.wait(), TICK_S)

    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {
            number: signal.signal(number, self.handle_exit)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @override
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            _exit_at_once("second signal")
        self.should_exit = True
        with contextlib.suppress(RuntimeError):  # no loop yet: it looks when it begins
            asyncio.get_running_loop().call_soon_threadsafe(self._signalled.set)
        # A store that hangs or a worker that does not end must not keep the machine waiting.
        timer = threading.Timer(SHUTDOWN_S, _exit_at_once, ["the end took too long"])
        timer.daemon = True
        timer.start()

    def _cut_unread(self) -> None:
        for connection in tuple(self.server_state.connections):
            if isinstance(connection, BoundedProtocol):
                connection.cut_unread()


class _Opened:
    """The app, remembering why it could not be opened.

    Uvicorn would print a traceback of it and end with a code of its own.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.error: WebuiError | OSError | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return

        held: list[Message] = []

        async def hold_failure(message: Message) -> None:
            if message["type"] == "lifespan.startup.failed":
                held.append(message)
            else:
                await send(message)

        try:
            await self._app(scope, receive, hold_failure)
        except (WebuiError, OSError) as error:
            self.error = error
            await send({"type": "lifespan.startup.failed", "message": ""})
            raise
        except BaseException:
            for message in held:
                await send(message)
            raise


def _exit_at_once(why: str) -> None:
    """End now; workers follow, being bound to this process's life."""
    sys.stderr.write(f"Ended at once: {why}\n")
    sys.stderr.flush()
    os._exit(1)
