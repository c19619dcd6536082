"""Server-sent events over pure ASGI: one stream a tab, and answers that end with their client.

Knows batches of numbered events and how they are written; knows nothing of what they mean. A
reader has no queue of its own: it reads the log at its own speed, so a slow one costs nothing.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from enum import Enum, auto
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


class Ending(Enum):
    """Why an answer is no longer being written."""

    WRITTEN = auto()
    CLIENT_GONE = auto()  # it left, or it does not read
    SERVER_ENDS = auto()


class Streams:
    """Answers at work that end with their client, or with the server."""

    def __init__(self) -> None:
        self._writers: set[asyncio.Task[None]] = set()
        self._is_closed = False

    async def run(self, receive: Receive, writing: Coroutine[None, None, None]) -> Ending:
        """Run `writing` to its end, or cancel it when the client or the server goes."""
        writer, watcher = asyncio.create_task(writing), asyncio.create_task(_disconnected(receive))
        self._writers.add(writer)
        if self._is_closed:
            writer.cancel()
        try:
            await asyncio.wait({writer, watcher}, return_when=asyncio.FIRST_COMPLETED)
            is_gone = watcher.done() and not writer.done()
        finally:
            self._writers.discard(writer)
            for task in (writer, watcher):
                task.cancel()
            written, _ = await asyncio.gather(writer, watcher, return_exceptions=True)
        if isinstance(written, TimeoutError) or is_gone:
            return Ending.CLIENT_GONE
        if isinstance(written, asyncio.CancelledError):
            return Ending.SERVER_ENDS
        if isinstance(written, BaseException):
            raise written
        return Ending.WRITTEN

    def close(self) -> None:
        """Cut all of them off, and those that are still to come; idempotent."""
        self._is_closed = True
        for writer in self._writers:
            writer.cancel()


class EventStream(Response):
    """An ASGI answer that writes batches of events until the log, the client or the server ends.

    Args:
        streams: Where it is at work.
        boot: First half of every event's id; tells one run of the server from the next.
        batches: From `EventLog.subscribe`; an empty batch keeps the connection alive.
        write_timeout_s: Longest wait for a client that does not read.
    """

    def __init__(
        self,
        streams: Streams,
        boot: str,
        batches: AsyncGenerator[list[Entry], None],
        *,
        write_timeout_s: float = WRITE_TIMEOUT_S,
    ) -> None:
        self.background = None  # FastAPI asks every answer for it
        self._streams = streams
        self._boot = boot
        self._batches = batches
        self._write_timeout_s = write_timeout_s

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the stream."""
        await send({"type": "http.response.start", "status": 200, "headers": STREAM_HEADERS})
        if await self._streams.run(receive, self._write(send)) is not Ending.CLIENT_GONE:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _write(self, send: Send) -> None:
        async with aclosing(self._batches) as batches:
            async for batch in batches:
                for piece in _pieces(self._boot, batch):
                    await write_piece(send, piece, self._write_timeout_s)


async def write_piece(send: Send, piece: bytes, timeout_s: float = WRITE_TIMEOUT_S) -> None:
    """Write one piece of a streamed body.

    Raises:
        TimeoutError: The client does not read.
    """
    async with asyncio.timeout(timeout_s):
        await send({"type": "http.response.body", "body": piece, "more_body": True})


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
