"""Who runs, and what each step reads: decode first, prefill fills the rest.

Pure: no I/O, no clock, no model. Waiting and reading are shared round-robin by owner, so that
eight requests of one person get one person's share.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter
from typing import TYPE_CHECKING

from webui.engine.prefix_cache import ResidentSlots
from webui.engine.runner import Row, RowFailed
from webui.engine.sequence import Phase, Sequence
from webui.errors import Busy

if TYPE_CHECKING:
    from collections.abc import Sequence as Several

    from webui.engine.runner import RowResult
    from webui.engine.sequence import Vocabulary

MAX_WAITING = 256
MAX_WAITING_PER_OWNER = 64
MAX_REMEMBERED_OWNERS = 1024
NEW_SERVICE_SHARE = 0.25  # weight of the latest reply in the mean length of replies


class Scheduler:
    """Sequences that wait and sequences that run.

    Args:
        num_slots: Sequences that may run at once.
        max_batch_tokens: Tokens of a step, at least `num_slots`.
        max_waiting: Bound of the queue in all.
        max_waiting_per_owner: Bound of the queue for one owner.
    """

    def __init__(
        self,
        *,
        num_slots: int,
        max_batch_tokens: int,
        max_waiting: int = MAX_WAITING,
        max_waiting_per_owner: int = MAX_WAITING_PER_OWNER,
    ) -> None:
        assert 0 < num_slots <= max_batch_tokens
        self._num_slots = num_slots
        self._max_batch_tokens = max_batch_tokens
        self._max_waiting = max_waiting
        self._max_waiting_per_owner = max_waiting_per_owner
        self._slots = ResidentSlots(num_slots)
        self._waiting: dict[str, list[Sequence]] = {}  # by owner, next one first
        self._running: dict[int, Sequence] = {}  # by slot
        self._arrivals: dict[str, int] = {}
        self._num_arrived = 0
        self._admitted = _Turns()
        self._prefilled = _Turns()
        self._service_s: float | None = None

    @property
    def num_waiting(self) -> int:
        """Sequences without a slot."""
        return sum(map(len, self._waiting.values()))

    @property
    def num_running(self) -> int:
        """Sequences with a slot."""
        return len(self._running)

    @property
    def num_decoding(self) -> int:
        """Sequences whose next step makes a token."""
        return sum(s.phase is Phase.DECODE for s in self._running.values())

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence.

        Raises:
            Busy: The queue, or its owner's part of it, is full.
        """
        mine = self._waiting.get(sequence.owner, [])
        if self.num_waiting >= self._max_waiting:
            full, num = "The queue is full", self.num_waiting
        elif len(mine) >= self._max_waiting_per_owner:
            full, num = "Your part of the queue is full", len(mine)
        else:
            full, num = "", 0
        if full:
            raise Busy(
                f"{full}: {num} replies are waiting",
                "Try again when some of them are done.",
                retry_after_s=self.eta_s(1) or 1.0,
            )
        self._num_arrived += 1
        self._arrivals[sequence.request_id] = self._num_arrived
        insort(self._waiting.setdefault(sequence.owner, []), sequence, key=self._rank)

    def abort(self, request_id: str) -> Sequence | None:
        """Take a sequence out wherever it stands; None when it is not there."""
        for waiting in self._waiting.values():
            for index, sequence in enumerate(waiting):
                if sequence.request_id == request_id:
                    del waiting[index]
                    self._forget(sequence)
                    sequence.drop()
                    return sequence
        for sequence in self._running.values():
            if sequence.request_id == request_id:
                sequence.drop()
                self._release(sequence)
                return sequence
        return None

    def admit(self, now_s: float) -> list[Sequence]:
        """Give free slots to waiting sequences; return those that got one.

        The caller drops the cells behind `num_cached` of each before the next step.
        """
        placed: list[Sequence] = []
        busy = Counter(sequence.owner for sequence in self._running.values())
        while self._slots.num_free and (owner := self._next_owner(self._waiting, busy)):
            sequence = self._waiting[owner].pop(0)
            if not self._waiting[owner]:
                del self._waiting[owner]
            slot, num_cached = self._slots.take(owner, sequence.tokens)
            sequence.place(slot, num_cached, now_s)
            self._running[slot] = sequence
            self._admitted.take(owner)
            busy[owner] += 1
            placed.append(sequence)
        return placed

    def schedule(self, max_prefill_tokens: int) -> list[Row]:
        """Return the rows of the next step: all that decode, then prompts up to the bound."""
        rows = [
            Row(slot, sequence.tokens[-1:], sequence.num_read, sample=True)
            for slot, sequence in self._running.items()
            if sequence.phase is Phase.DECODE
        ]
        room = min(max(1, max_prefill_tokens), self._max_batch_tokens - len(rows))
        reading = [s for s in self._running.values() if s.phase is Phase.PREFILL]
        reading.sort(key=lambda s: (self._prefilled.of(s.owner), self._arrivals[s.request_id]))
        for sequence in reading:
            if room <= 0:
                break
            begin = sequence.num_read
            chunk = sequence.tokens[begin : begin + room]
            is_last = begin + len(chunk) == len(sequence.tokens)
            rows.append(Row(sequence.slot, chunk, begin, sample=is_last))
            self._prefilled.take(sequence.owner)
            room -= len(chunk)
        return rows

    def update(
        self,
        rows: Several[Row],
        results: Several[RowResult],
        vocabulary: Vocabulary,
        now_s: float,
    ) -> list[Sequence]:
        """Take what a step made; return its sequences, those that ended already without slot.

        Those whose row failed are left alone: the caller takes them out with `fail`.
        """
        touched: list[Sequence] = []
        for row, result in zip(rows, results, strict=True):
            if isinstance(result, RowFailed):
                continue
            sequence = self._running[row.slot]
            sequence.read(len(row.tokens))
            if result is not None:
                sequence.take(result, vocabulary, now_s)
            if sequence.phase is Phase.ENDED:
                self._note_service(sequence)
                self._release(sequence)
            touched.append(sequence)
        return touched

    def fail(self, rows: Several[Row]) -> list[Sequence]:
        """Take out the sequences of a step that failed; their cells are in doubt."""
        failed = [self._running[row.slot] for row in rows]
        for sequence in failed:
            sequence.drop()
            sequence.num_read = 0
            self._release(sequence)
        return failed

    def places(self) -> dict[str, int]:
        """Return the place of each waiting request; 1 is next."""
        queues = {owner: list(waiting) for owner, waiting in self._waiting.items()}
        busy = Counter(sequence.owner for sequence in self._running.values())
        turns = self._admitted.copy()
        order: dict[str, int] = {}
        while owner := self._next_owner(queues, busy, turns):
            order[queues[owner].pop(0).request_id] = len(order) + 1
            if not queues[owner]:
                del queues[owner]
            turns.take(owner)
            busy[owner] += 1
        return order

    def eta_s(self, place: int) -> float | None:
        """Guess when the request at a place gets a slot, from how long replies took so far."""
        if self._service_s is None:
            return None
        return round(self._service_s * place / self._num_slots, 1)

    def _next_owner(
        self, queues: dict[str, list[Sequence]], busy: Counter[str], turns: _Turns | None = None
    ) -> str | None:
        """Return whose turn it is: who runs least, then what is urgent, then who waited longest."""
        turns = turns or self._admitted
        return min(
            queues,
            key=lambda owner: (
                busy[owner],
                queues[owner][0].request.priority,
                turns.of(owner),
                self._arrivals[queues[owner][0].request_id],
            ),
            default=None,
        )

    def _rank(self, sequence: Sequence) -> tuple[int, int]:
        return sequence.request.priority, self._arrivals[sequence.request_id]

    def _release(self, sequence: Sequence) -> None:
        del self._running[sequence.slot]
        read = sequence.tokens[: sequence.num_read]
        self._slots.leave(sequence.slot, sequence.owner, read)
        self._forget(sequence)

    def _forget(self, sequence: Sequence) -> None:
        del self._arrivals[sequence.request_id]
        self._waiting = {owner: waiting for owner, waiting in self._waiting.items() if waiting}
        live = {s.owner for s in self._running.values()} | set(self._waiting)
        self._admitted.prune(live)
        self._prefilled.prune(live)

    def _note_service(self, sequence: Sequence) -> None:
        timings = sequence.timings()
        took_s = timings.prefill_s + timings.decode_s
        if self._service_s is None:
            self._service_s = took_s
        else:
            self._service_s += NEW_SERVICE_SHARE * (took_s - self._service_s)


class _Turns:
    """When each owner had its latest turn."""

    def __init__(self, last: dict[str, int] | None = None, num: int = 0) -> None:
        self._last = last or {}
        self._num = num

    def of(self, owner: str) -> int:
        return self._last.get(owner, 0)

    def take(self, owner: str) -> None:
        self._num += 1
        self._last.pop(owner, None)
        self._last[owner] = self._num

    def copy(self) -> _Turns:
        return _Turns(dict(self._last), self._num)

    def prune(self, live: set[str]) -> None:
        """Forget who had the oldest turns and has nothing here any more."""
        if len(self._last) > MAX_REMEMBERED_OWNERS:
            gone = [owner for owner in self._last if owner not in live]
            for owner in gone[: len(self._last) - MAX_REMEMBERED_OWNERS]:
                del self._last[owner]
