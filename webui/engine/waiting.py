"""Sequences without a slot: who comes next, and who must be turned away.

Pure. Owners take turns: who runs least comes first, then who is urgent, then who was served
least, then who waited longest. Chat goes before API until a request has waited `AGING_S`, from
then on it is as urgent as a chat. Background work comes when nobody else waits, however long
that takes.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from itertools import chain
from typing import TYPE_CHECKING

from webui.engine.interface import Priority
from webui.errors import Busy

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Collection, Iterator

    from webui.engine.fairness import Ledger
    from webui.engine.sequence import Sequence

MAX_WAITING = 256
MAX_WAITING_PER_OWNER = 64
AGING_S = 10.0


class WaitingQueue:
    """A bounded queue that is shared by owner.

    Args:
        max_waiting: Bound in all.
        max_waiting_per_owner: Bound for one owner.
    """

    def __init__(
        self, max_waiting: int = MAX_WAITING, max_waiting_per_owner: int = MAX_WAITING_PER_OWNER
    ) -> None:
        self._max_waiting = max_waiting
        self._max_waiting_per_owner = max_waiting_per_owner
        self._by_owner: dict[str, list[Sequence]] = {}
        self._num_arrived = 0

    def __len__(self) -> int:
        return sum(map(len, self._by_owner.values()))

    def __iter__(self) -> Iterator[Sequence]:
        return chain.from_iterable(self._by_owner.values())

    def __bool__(self) -> bool:
        return bool(self._by_owner)

    @property
    def owners(self) -> Collection[str]:
        """Those who wait for something."""
        return self._by_owner.keys()

    def add(self, sequence: Sequence, wait_s: float | None) -> None:
        """Queue a sequence; a slot is free in about `wait_s`, None is not known.

        Raises:
            Busy: The queue, or its owner's part of it, is full; says when to try again.
        """
        num, num_mine = len(self), len(self._by_owner.get(sequence.owner, ()))
        if num >= self._max_waiting:
            full = f"The queue is full: {num} replies are waiting"
        elif num_mine >= self._max_waiting_per_owner:
            full = f"Your part of the queue is full: {num_mine} replies are waiting"
        else:
            self._num_arrived += 1
            sequence.arrival = self._num_arrived
            self.put_back(sequence)
            return
        raise Busy.about(full, "Try again when some of them are done.", wait_s)

    def put_back(self, sequence: Sequence) -> None:
        """Let one wait again that had a slot; it keeps the place of its arrival."""
        self._by_owner.setdefault(sequence.owner, []).append(sequence)

    def remove(self, sequence: Sequence) -> None:
        """Take a sequence out."""
        mine = self._by_owner[sequence.owner]
        mine.remove(sequence)
        if not mine:
            del self._by_owner[sequence.owner]

    def find(self, request_id: str) -> Sequence | None:
        """Return the sequence of a request that waits."""
        for mine in self._by_owner.values():
            for sequence in mine:
                if sequence.request_id == request_id:
                    return sequence
        return None

    def next(
        self, running: Counter[str], served: Ledger, now_s: float, skipped: Collection[str] = ()
    ) -> Sequence | None:
        """Return whose turn it is, of the owners that are not skipped; it stays in the queue."""
        heads = [
            min(mine, key=lambda sequence: _urgency(sequence, now_s))
            for owner, mine in self._by_owner.items()
            if owner not in skipped
        ]
        return min(heads, key=lambda head: _turn(head, running, served, now_s), default=None)

    def order(self, running: Counter[str], served: Ledger, now_s: float) -> list[Sequence]:
        """Return all who wait in the order in which they would come, did nobody else."""
        running = running.copy()
        queues = {
            owner: sorted(mine, key=lambda sequence: _urgency(sequence, now_s), reverse=True)
            for owner, mine in self._by_owner.items()
        }
        turns = [(_turn(mine[-1], running, served, now_s), owner) for owner, mine in queues.items()]
        heapify(turns)
        order: list[Sequence] = []
        while turns:
            _, owner = heappop(turns)
            order.append(queues[owner].pop())
            running[owner] += 1
            if queues[owner]:
                heappush(turns, (_turn(queues[owner][-1], running, served, now_s), owner))
        return order


def _urgency(sequence: Sequence, now_s: float) -> tuple[int, int]:
    """Return what sorts the sequences of one owner."""
    priority = sequence.request.priority
    if priority is Priority.API and now_s - sequence.arrived_s >= AGING_S:
        priority = Priority.CHAT
    return priority, sequence.arrival


def _turn(
    head: Sequence, running: Counter[str], served: Ledger, now_s: float
) -> tuple[bool, int, int, int, int]:
    """Return what sorts the owners by the first of their sequences."""
    priority, arrival = _urgency(head, now_s)
    owner = head.owner
    return head.is_background, running[owner], priority, served.of(owner), arrival
