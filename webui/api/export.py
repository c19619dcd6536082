"""All that the caller made, as a file to keep."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from starlette.responses import Response
from typing_extensions import override

from webui.api.sse import BodyWriter, Ending, Streams

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.types import Receive, Scope, Send


class FileStream(Response):
    """An ASGI answer that writes pieces as a file to be saved, and ends with its client.

    Args:
        streams: Where it is at work.
        pieces: Of the file.
        name: Of the file, in plain letters.
    """

    def __init__(self, streams: Streams, pieces: AsyncGenerator[bytes, None], name: str) -> None:
        self.background = None  # FastAPI asks every answer for it
        self._streams = streams
        self._pieces = pieces
        self._name = name

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file; one that could not be written to its end is cut off, not closed."""
        headers = [
            (b"content-type", b"application/json"),
            (b"content-disposition", f'attachment; filename="{self._name}"'.encode()),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if await self._streams.run(receive, self._write(send)) is Ending.WRITTEN:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _write(self, send: Send) -> None:
        async with aclosing(self._pieces) as pieces, BodyWriter(send) as body:
            async for piece in pieces:
                await body.write(piece)
