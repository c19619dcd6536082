"""The requests of one engine that are on their way, so many in all and of each owner.

Knows mailboxes and bounds; knows neither workers nor what is asked.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

from webui.engine.mailbox import Mailbox
from webui.engine.turnover import Turnover
from webui.engine.waiting import MAX_WAITING, MAX_WAITING_PER_OWNER
from webui.errors import Busy, Conflict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

AGAIN = "Try again when some of them are done."


class LiveRequests:
    """Mailboxes by request.

    Args:
        max_requests: In all.
        max_per_owner: Of one owner, who thus leaves room for others.
        clock: Monotonic seconds.

    Attributes:
        mailboxes: Those that are open.
    """

    def __init__(
        self,
        max_requests: int,
        max_per_owner: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_requests = max_requests
        self._max_per_owner = max_per_owner
        self._clock = clock
        self._turnover = Turnover()
        self._num_of: Counter[str] = Counter()
        self._replies: dict[str, str] = {}  # owners by request
        self._idle = asyncio.Event()
        self._idle.set()
        self.mailboxes: dict[str, Mailbox] = {}

    def check_room(self, owner: str) -> None:
        """Check that one more reply of an owner has room here, and in the worker's queue.

        That queue is known by what it was given: what nothing was told of yet may be waiting.

        Raises:
            Busy: It has not.
        """
        self._check_bounds(owner)
        waiting = [of for name, of in self._replies.items() if not self.mailboxes[name].is_started]
        if (num := len(waiting)) >= MAX_WAITING:
            full = f"The queue is full: {num} replies are waiting"
            raise Busy.about(full, AGAIN, self._turnover.next_s(len(self.mailboxes)))
        if (num := waiting.count(owner)) >= MAX_WAITING_PER_OWNER:
            full = f"Your part of the queue is full: {num} replies are waiting"
            raise Busy.about(full, AGAIN, self._turnover.next_s(len(self.mailboxes)))

    @contextmanager
    def opened(self, request_id: str, owner: str, *, is_reply: bool = True) -> Iterator[Mailbox]:
        """Keep a mailbox for a request as long as somebody reads it.

        Raises:
            Conflict: There is one already.
            Busy: There are too many, or too many of this owner; says when one of them may end.
        """
        if request_id in self.mailboxes:
            raise Conflict(f"The request {request_id} is already running")
        self._check_bounds(owner)
        mailbox = self.mailboxes[request_id] = Mailbox()
        self._num_of[owner] += 1
        if is_reply:
            self._replies[request_id] = owner
        self._idle.clear()
        opened_s = self._clock()
        try:
            yield mailbox
        finally:
            if mailbox.is_answered:
                self._turnover.note(self._clock() - opened_s)
            del self.mailboxes[request_id]
            self._replies.pop(request_id, None)
            self._num_of -= Counter([owner])
            if not self.mailboxes:
                self._idle.set()

    async def drained(self) -> None:
        """Wait until there is none."""
        await self._idle.wait()

    def _check_bounds(self, owner: str) -> None:
        if (num := len(self.mailboxes)) >= self._max_requests:
            full = f"The queue is full: {num} requests are on their way"
            raise Busy.about(full, AGAIN, self._turnover.next_s(num))
        if (num := self._num_of[owner]) >= self._max_per_owner:
            full = f"Your part of the queue is full: {num} requests are on their way"
            raise Busy.about(full, AGAIN, self._turnover.next_s(num))
