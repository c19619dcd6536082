"""Server-sent events over pure ASGI: one stream a tab, and answers that end with their client.

Knows batches of numbered events and how they are written; knows nothing of what they mean. A
reader has no queue of its own: it reads the log at its own speed, so a slow one costs nothing.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import msgspec
from starlette.responses import Response
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine, Sequence

    from starlette.types import Receive, Scope, Send

    from webui.chat.events import Entry

WRITE_TIMEOUT_S = 60.0
MAX_WRITE_BYTES = 64 * 1024
KEEP_ALIVE = b": keep-alive\n\n"
STREAM_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


class EventStream(Response):
    """An ASGI answer that writes batches of events until the log or the client ends.

    Args:
        boot: First half of every event's id; tells one run of the server from the next.
        batches: From `EventLog.subscribe`; an empty batch keeps the connection alive.
        write_timeout_s: Longest wait for a client that does not read.
    """

    def __init__(
        self,
        boot: str,
        batches: AsyncGenerator[list[Entry], None],
        *,
        write_timeout_s: float = WRITE_TIMEOUT_S,
    ) -> None:
        self.background = None  # FastAPI asks every answer for it
        self._boot = boot
        self._batches = batches
        self._write_timeout_s = write_timeout_s

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the stream."""
        await until_disconnect(receive, self._write(send))

    async def _write(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": STREAM_HEADERS})
        async with aclosing(self._batches) as batches:
            async for batch in batches:
                for piece in _pieces(self._boot, batch):
                    async with asyncio.timeout(self._write_timeout_s):
                        await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def until_disconnect(receive: Receive, writing: Coroutine[None, None, None]) -> None:
    """Run `writing` to its end, or cancel it when the client goes or stops reading."""
    writer = asyncio.ensure_future(writing)
    watcher = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait({writer, watcher}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        watcher.cancel()
        if not writer.done():
            writer.cancel()
        results = await asyncio.gather(writer, watcher, return_exceptions=True)
    written = results[0]
    if isinstance(written, Exception) and not isinstance(written, TimeoutError):
        raise written


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _pieces(boot: str, batch: Sequence[Entry]) -> list[bytes]:
    """Lay events out as pieces small enough that a slow client holds back the next one."""
    if not batch:
        return [KEEP_ALIVE]
    pieces, piece = [], bytearray()
    for entry in batch:
        piece += b"id: %s:%d\ndata: %s\n\n" % (
            boot.encode(),
            entry.n,
            msgspec.json.encode(entry.event),
        )
        if len(piece) > MAX_WRITE_BYTES:
            pieces.append(bytes(piece))
            piece.clear()
    if piece:
        pieces.append(bytes(piece))
    return pieces
