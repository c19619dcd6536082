"""Requests that wait for one thread: owners take turns, and none has more than its part.

Pure: knows no thread and no clock.
"""

from __future__ import annotations

from bisect import insort
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from webui.errors import Busy

if TYPE_CHECKING:
    from webui.engine.interface import Priority

MAX_PER_OWNER = 128
MAX_REMEMBERED_OWNERS = 1024


class Request(Protocol):
    """What the queue asks of a request."""

    @property
    def request_id(self) -> str: ...

    @property
    def owner(self) -> str: ...

    @property
    def priority(self) -> Priority: ...


R = TypeVar("R", bound=Request)


class RequestsQueue(Generic[R]):
    """Gives out one request after the other, owner after owner.

    Who was served longest ago comes next, with the most urgent of its requests; among those of
    one priority with the one that came first.

    Args:
        max_per_owner: How many of one owner may wait.
    """

    def __init__(self, max_per_owner: int = MAX_PER_OWNER) -> None:
        self._max_per_owner = max_per_owner
        self._by_owner: dict[str, list[tuple[R, float]]] = {}  # each with when it came
        self._turns: dict[str, int] = {}  # when each owner had the latest
        self._num_turns = 0

    def __bool__(self) -> bool:
        return bool(self._by_owner)

    def add(self, request: R, arrived_s: float, request_s: float = 0.0) -> None:
        """Queue a request; one takes `request_s` or so.

        Raises:
            Busy: Its owner's part of the queue is full; says when to try again.
        """
        mine = self._by_owner.get(request.owner, [])
        if len(mine) >= self._max_per_owner:
            raise Busy.about(
                f"Your part of the queue is full: {len(mine)} requests wait to be read",
                "Try again when some of them are done.",
                len(mine) * request_s or None,
            )
        insort(self._by_owner.setdefault(request.owner, mine), (request, arrived_s), key=_urgency)

    def take(self) -> tuple[R, float]:
        """Take out the next request and when it came; there must be one."""
        owner = min(self._by_owner, key=lambda owner: self._turns.get(owner, 0))
        mine = self._by_owner[owner]
        first = mine.pop(0)
        if not mine:
            del self._by_owner[owner]
        self._num_turns += 1
        self._turns[owner] = self._num_turns
        if len(self._turns) > MAX_REMEMBERED_OWNERS:
            self._turns = {
                name: self._turns[name] for name in self._by_owner if name in self._turns
            }
        return first

    def drop(self, request_id: str) -> None:
        """Take out a request that nobody wants any more; others are ignored."""
        for owner, mine in self._by_owner.items():
            kept = [each for each in mine if each[0].request_id != request_id]
            if len(kept) < len(mine):
                self._by_owner[owner] = kept
                if not kept:
                    del self._by_owner[owner]
                return


def _urgency(each: tuple[Request, float]) -> int:
    return each[0].priority
