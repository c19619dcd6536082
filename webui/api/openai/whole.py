"""An answer that is made while its client waits, and given up when that goes.

Knows how to make a response, and that the server may end meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response
from typing_extensions import override

from webui.api.errors import ServerEnding, error_response
from webui.api.sse import Ending
from webui.errors import WebuiError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import Receive, Scope, Send

    from webui.api.sse import Streams


class WholeAnswer(Response):
    """An ASGI answer that is sent when all of it is there.

    Args:
        streams: Where it is at work.
        make: Makes the response; cancelled when the client or the server goes.
    """

    def __init__(self, streams: Streams, make: Callable[[], Awaitable[Response]]) -> None:
        self.background = None  # FastAPI asks every answer for it
        self._streams = streams
        self._make = make

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Make the answer and send it."""
        answer: list[Response] = []
        if await self._streams.run(receive, self._read(scope, answer)) is Ending.SERVER_ENDS:
            answer.append(error_response(server_ending(), scope))
        for response in answer:
            await response(scope, receive, send)

    async def _read(self, scope: Scope, answer: list[Response]) -> None:
        try:
            answer.append(await self._make())
        except WebuiError as error:
            answer.append(error_response(error, scope))


def server_ending() -> ServerEnding:
    """Return what clients hear whose answer the end of the server cuts off."""
    return ServerEnding("the server is being stopped", "Try again when it is back.")
