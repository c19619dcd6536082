"""Server-sent events over pure ASGI: one stream a tab, and answers that end with their client.

Knows batches of numbered events and how they are written; knows nothing of what they mean. A
reader has no queue of its own: it reads the log at its own speed, so a slow one costs nothing.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from enum import Enum, auto
from typing import TYPE_CHECKING, Self

import msgspec
from starlette.responses import Response
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine, Sequence
    from types import TracebackType

    from starlette.types import Receive, Scope, Send

    from webui.chat.owner_log import Entry

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


class BodyWriter:
    """Writes one streamed body piece by piece and gives up on a client that does not read.

    One timer watches the whole body: a timeout of its own costs more than a small piece does.

    Args:
        send: Of the ASGI server, once the answer has begun.
        write_timeout_s: After so long a piece that is still being written ends the body, at the
            latest after twice that.
    """

    def __init__(self, send: Send, write_timeout_s: float = WRITE_TIMEOUT_S) -> None:
        self._send = send
        self._write_timeout_s = write_timeout_s
        self._limit = asyncio.timeout(None)
        self._is_writing = False
        self._num_written = 0
        self._num_seen = 0  # when the timer last looked
        self._timer: asyncio.TimerHandle

    async def __aenter__(self) -> Self:
        await self._limit.__aenter__()
        self._look_later()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the watch.

        Raises:
            TimeoutError: The client did not read.
        """
        self._timer.cancel()
        await self._limit.__aexit__(kind, error, traceback)

    @property
    def num_written(self) -> int:
        """How many pieces the server has taken."""
        return self._num_written

    @property
    def is_writing(self) -> bool:
        """Whether one is being written."""
        return self._is_writing

    async def write(self, piece: bytes) -> None:
        """Write one piece; more follow."""
        self._is_writing = True
        await self._send({"type": "http.response.body", "body": piece, "more_body": True})
        self._is_writing = False
        self._num_written += 1

    def _look(self) -> None:
        if self._is_writing and self._num_written == self._num_seen:
            self._limit.reschedule(asyncio.get_running_loop().time())
            return
        self._num_seen = self._num_written
        self._look_later()

    def _look_later(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._write_timeout_s, self._look)


class EventStream(Response):
    """An ASGI answer that writes batches of events until the log, the client or the server ends.

    Args:
        streams: Where it is at work.
        boot: First half of every event's id; tells one run of the server from the next.
        batches: From `EventLog.subscribe`; an empty batch keeps the connection alive.
        write_timeout_s: Patience with a client that does not read; see `BodyWriter`.
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
        body = BodyWriter(send, self._write_timeout_s)
        async with aclosing(self._batches) as batches, body:
            async for batch in batches:
                for piece in _pieces(self._boot, batch):
                    await body.write(piece)


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
