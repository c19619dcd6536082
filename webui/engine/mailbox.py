"""What came for one request, kept until whoever asked for it reads on.

Knows the order of news and whether a request may be sent again; knows no requests and no text.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, TypeAlias, assert_never

from webui.engine.interface import Delta, Embedded, Finish, Queued, Shifted, Trimmed, VectorPart
from webui.engine.ipc import Begun, Outputs, RequestError, Waits
from webui.errors import (
    Busy,
    Conflict,
    ContextLengthExceeded,
    EngineDied,
    EngineError,
    GrammarTooAmbiguous,
    InvalidRequest,
    NothingAllowed,
    WebuiError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from webui.engine.child import WorkerProcess
    from webui.engine.ipc import OfRequests

News: TypeAlias = Delta | VectorPart | Embedded
LAST_WORDS = (Finish, Embedded)
WHILE_WAITING = (Queued, Trimmed, Shifted)


class Mailbox:
    """What came for one request; read by its generator alone."""

    __slots__ = (
        *("_items", "_waiter", "is_answered", "is_begun", "is_over", "is_started"),
        *("was_sent_again", "worker"),
    )

    def __init__(self) -> None:
        self.worker: WorkerProcess | None = None
        self.is_over = False  # the worker has nothing more to say
        self.is_answered = False  # and that is no error
        self.is_begun = False  # the worker is at it, and may end of it
        self.is_started = False  # something of the reply was told
        self.was_sent_again = False
        self._items: deque[News | WebuiError | None] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def put(self, item: News | WebuiError | None) -> None:
        """Append; None asks to send the request again."""
        kind = type(item)
        if item is None:
            self.was_sent_again = True
        elif kind not in WHILE_WAITING:
            self.is_started = True
            self.is_answered = kind in LAST_WORDS
            self.is_over = self.is_answered or isinstance(item, WebuiError)
        self._items.append(item)
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def note(self, message: RequestError | Begun | Waits) -> None:
        """Take what the worker says of the request, not of its reply."""
        match message:
            case RequestError():
                self.put(_as_error(message))
            case Begun():
                self.is_begun = True
            case Waits():
                self.is_begun = False
            case _:
                assert_never(message)

    def lose(self, error: EngineDied) -> bool:
        """Note that the worker died: sent again, once, if it surely was not the cause.

        Returns:
            Whether the request ends with the error.
        """
        if self.is_over:
            return False
        self.worker = None
        is_failed = self.is_begun or self.is_started or self.was_sent_again
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


def deliver(message: OfRequests, live: Mapping[str, Mailbox]) -> None:
    """Put what a worker says into the mailboxes it is for; those that are closed get nothing."""
    if isinstance(message, Outputs):
        for output in message.items:
            if (mailbox := live.get(output.request_id)) is not None:
                mailbox.put(output.delta)
        return
    request_ids = message.request_ids if isinstance(message, Begun) else (message.request_id,)
    for request_id in request_ids:
        if (mailbox := live.get(request_id)) is not None:
            mailbox.note(message)


def unloaded(*, is_replaced: bool = False) -> EngineDied:
    """Return what requests hear whose model is taken away, `is_replaced` by another one."""
    if is_replaced:
        return EngineDied(
            "The model was ended to make room for the one that is being loaded",
            "Send the message again: it waits for that one.",
            retry_after_s=1.0,
        )
    return EngineDied("The model was unloaded", "Load a model and send the message again.")


def _as_error(message: RequestError) -> WebuiError:
    if message.code == Busy.code:
        return Busy(message.message, message.hint, retry_after_s=message.retry_after_s)
    kind = _BY_CODE.get(message.code, EngineError)
    return kind(message.message, message.hint, field=message.field)


_BY_CODE: dict[str, type[WebuiError]] = {
    kind.code: kind
    for kind in (
        InvalidRequest,
        ContextLengthExceeded,
        NothingAllowed,
        GrammarTooAmbiguous,
        EngineError,
        Conflict,
    )
}
