"""What came for one request, kept until whoever asked for it reads on.

Knows the order of news and whether a request may be sent again; knows no requests and no text.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, TypeAlias

from webui.engine.interface import Delta, Embedded, Finish, Queued, Shifted, Trimmed, VectorPart
from webui.errors import EngineDied, WebuiError

if TYPE_CHECKING:
    from webui.engine.child import WorkerProcess

News: TypeAlias = Delta | VectorPart | Embedded
LAST_WORDS = (Finish, Embedded)


class Mailbox:
    """What came for one request; read by its generator alone."""

    __slots__ = ("_items", "_waiter", "has_waited", "is_over", "is_started", "worker")

    def __init__(self) -> None:
        self.worker: WorkerProcess | None = None
        self.is_over = False  # the worker has nothing more to say
        self.has_waited = False  # its prompt is made and it has a place in the queue
        self.is_started = False  # it does not only wait any more, or was sent again
        self._items: deque[News | WebuiError | None] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def put(self, item: News | WebuiError | None) -> None:
        """Append; None asks to send the request again."""
        kind = type(item)
        if kind is Queued:
            self.has_waited = True
        elif kind is not Trimmed and kind is not Shifted:
            self.is_started = True
            self.is_over = kind in LAST_WORDS or isinstance(item, WebuiError)
        self._items.append(item)
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def lose(self, error: EngineDied) -> bool:
        """Note that the worker died: sent again if it surely was not the cause.

        Returns:
            Whether the request ends with the error.
        """
        if self.is_over:
            return False
        self.worker = None
        is_failed = self.is_started or not self.has_waited
        self.put(error if is_failed else None)
        return is_failed

    async def get(self) -> News | None:
        """Return the next delta, or None to send again.

        Raises:
            WebuiError: The request ended so.
        """
        while not self._items:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        item = self._items.popleft()
        if isinstance(item, WebuiError):
            raise item
        return item
