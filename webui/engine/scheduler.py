"""Who runs, and what each step reads: decode first, prefill fills the rest.

Pure: no I/O, no clock, no model. Ties together the queue, the cells and the shares; the policy
stands in `fairness`, `waiting` and `yielding`. A sequence starts when its tokens and a reserve
for its reply fit into the cells; idle prefixes give way to it. It grows beyond its reserve while
cells are left, else it alone ends with `length`. Background work gives up its slot to anybody; so
does, at the end of a quantum, the surplus of one who runs more than those who wait.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING

from webui.engine.fairness import Ledger
from webui.engine.following import Following
from webui.engine.interface import Priority
from webui.engine.kv_pool import KVPool
from webui.engine.lanes import Lanes
from webui.engine.runner import Row, RowFailed, Verified
from webui.engine.sequence import Phase, Sequence
from webui.engine.waiting import AGING_S, WaitingQueue
from webui.engine.waiting_times import WaitingTimes
from webui.engine.yielding import QUANTUM_TOKENS, must_yield

if TYPE_CHECKING:
    from collections.abc import Sequence as Several

    from webui.engine.interface import ModelInfo, Queued
    from webui.engine.resident_slots import ResidentSlots
    from webui.engine.runner import RowResult
    from webui.engine.sequence import Vocabulary

RESERVED_REPLY_TOKENS = 256


@dataclass(frozen=True, slots=True)
class Admitted:
    """Who got a slot, and which slots were taken for it, with whom they were taken from."""

    placed: list[Sequence]
    vacated: dict[int, Sequence]


class Scheduler:
    """Sequences that wait and sequences that run.

    Args:
        info: Slots, context and cells of the model.
        max_batch_tokens: Tokens of a step, at least one for each slot.
        waiting: The queue.
        reserved_reply_tokens: So many of a reply must have cells before it starts, unless it
            is shorter.
        quantum_tokens: So many an owner's surplus may write before it gives up its slot.

    Attributes:
        following: Who lets another read.
    """

    def __init__(
        self,
        info: ModelInfo,
        *,
        max_batch_tokens: int,
        waiting: WaitingQueue | None = None,
        reserved_reply_tokens: int = RESERVED_REPLY_TOKENS,
        quantum_tokens: int = QUANTUM_TOKENS,
    ) -> None:
        assert 0 < info.num_slots <= max_batch_tokens
        self._max_batch_tokens = max_batch_tokens
        self._waiting = WaitingQueue() if waiting is None else waiting
        self._cells = KVPool(
            info.num_slots,
            info.kv_cells or info.context_length,
            is_shared=info.kv_cells is not None,
        )
        self._reserved_reply_tokens = reserved_reply_tokens
        self._quantum_tokens = quantum_tokens
        self._running: dict[int, Sequence] = {}  # by slot
        self._served = Ledger()
        self.following = Following()
        self._lanes = Lanes(self._reading_turn, self.following)
        self._times = WaitingTimes()

    @property
    def num_waiting(self) -> int:
        """Sequences without a slot."""
        return len(self._waiting)

    def waiting_by_priority(self) -> tuple[int, int, int]:
        """Return how many sequences wait for a slot, for each priority."""
        waiting = Counter(sequence.request.priority for sequence in self._waiting)
        return waiting[Priority.CHAT], waiting[Priority.API], waiting[Priority.BACKGROUND]

    @property
    def num_running(self) -> int:
        """Sequences with a slot."""
        return len(self._running)

    @property
    def num_runnable(self) -> int:
        """Sequences with a slot that wait for nothing from disk."""
        return sum(not sequence.is_held for sequence in self._running.values())

    @property
    def num_decoding(self) -> int:
        """Sequences whose next step makes a token."""
        return len(self.decoding)

    @property
    def residents(self) -> ResidentSlots:
        """What lies in the slots where nobody runs."""
        return self._cells.residents

    @property
    def everybody(self) -> list[Sequence]:
        """All that run or wait."""
        return [*self._running.values(), *self._waiting]

    @property
    def reading(self) -> list[Sequence]:
        """Those with a slot whose tokens are not read to the end."""
        return [s for s in self._running.values() if s.phase is Phase.PREFILL]

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence.

        Raises:
            Busy: The queue, or its owner's part of it, is full.
        """
        present = {s.owner for s in self._running.values()} | set(self._waiting.owners)
        self._waiting.add(sequence, self._times.next_s(self._running.values()))
        if sequence.owner not in present:
            self._served.settle(present)

    def abort(self, request_id: str) -> Sequence | None:
        """Take a sequence out wherever it stands; None when it is not there."""
        sequence = self._waiting.find(request_id)
        if sequence is not None:
            self._waiting.remove(sequence)
            sequence.drop()
            return sequence
        for sequence in self._running.values():
            if sequence.request_id == request_id:
                sequence.drop()
                self._vacate(sequence)
                return sequence
        return None

    def admit(self, now_s: float) -> Admitted:
        """Give slots to waiting sequences, free ones and those that others give up.

        Before the next step the caller drops the cells behind `num_read` of each that was
        placed, and those of the slots in `take_evicted`.
        """
        placed: list[Sequence] = []
        vacated: dict[int, Sequence] = {}
        skipped: set[str] = set()
        busy = Counter(sequence.owner for sequence in self._running.values())
        while self._waiting:
            sequence = self._waiting.next(busy, self._served, now_s, skipped)
            if sequence is None or (skipped and sequence.is_background):
                break
            num_cells = self._cells_for(sequence)
            victims = self._victims(sequence, num_cells, busy)
            if victims is None:
                if now_s - sequence.arrived_s >= AGING_S or not self._cells.num_free_slots:
                    break  # nobody overtakes who has waited long for room
                skipped.add(sequence.owner)
                continue
            for victim in victims:
                busy[victim.owner] -= 1
                vacated[victim.slot] = victim
                self._vacate(victim)
                victim.give_up_slot()
                self._waiting.put_back(victim)
            self._waiting.remove(sequence)
            slot, num_cached = self._cells.place(
                sequence.owner, sequence.tokens, num_cells, sequence.scales
            )
            sequence.place(slot, num_cached, now_s)
            self._running[slot] = sequence
            busy[sequence.owner] += 1
            placed.append(sequence)
        if placed:
            self._lanes.tidy(self._running.values())
            self.following.tidy(self._running.values())
        return Admitted(placed, vacated)

    def take_evicted(self) -> list[int]:
        """Return the slots whose cells must be dropped before the next step."""
        return self._cells.take_evicted()

    @property
    def decoding(self) -> list[Sequence]:
        """Those whose next step makes a token."""
        return [s for s in self._running.values() if s.phase is Phase.DECODE]

    def end_full(self, sequence: Sequence) -> None:
        """End a running sequence for which there is no room any more."""
        sequence.end_full()
        self._end(sequence)  # at once: its cells may be enough for the next one

    def grow(self) -> list[Sequence]:
        """Give those that decode the cell they read into next; return those that ended for none."""
        full: list[Sequence] = []
        for sequence in self.decoding:
            if not self._cells.grow(sequence.slot, sequence.owner, len(sequence.tokens)):
                self.end_full(sequence)
                full.append(sequence)
        return full

    def schedule(self, max_prefill_tokens: int, surplus_tokens: float = inf) -> list[Row]:
        """Return the rows of the next step: who decodes in it, then prompts up to the bound.

        Adapters work alike on all of them; sequences of other scales have their turn in another
        step. After a step that failed its sequences run one at a time until each has passed.

        Args:
            max_prefill_tokens: What may be read of prompts.
            surplus_tokens: What may be read in each step, on the average, of prompts that must
                not slow others; see `surplus`.
        """
        running = [sequence for sequence in self._running.values() if not sequence.is_held]
        doubted = [sequence for sequence in running if sequence.is_doubted]
        if doubted:
            running = doubted[:1]
        lanes = self._lanes.order(running)
        if len(lanes) > 1 and self.decoding:
            max_prefill_tokens = max(1, max_prefill_tokens // len(lanes))  # they share a gap
        for together in lanes:
            if rows := self._rows(together, running, max_prefill_tokens, surplus_tokens):
                self._lanes.begin(together, running)
                return rows
        return []

    def _rows(
        self,
        together: Several[Sequence],
        running: Several[Sequence],
        max_prefill_tokens: int,
        surplus_tokens: float,
    ) -> list[Row]:
        """Return the rows of a step of one lane."""
        lane = self._lanes.lane(together[0].scales)
        decoding = [sequence for sequence in together if sequence.phase is Phase.DECODE]
        owners = {sequence.owner for sequence in running if not sequence.is_background}
        is_crowded = len(together) < len(running) and len(owners) > 1
        picked = lane.shares.pick(decoding, is_crowded=is_crowded)
        rows = [Row(s.slot, s.tokens[-1:], s.num_read, sample=True) for s in picked]
        read = lane.reading.rows(
            [sequence for sequence in together if sequence.phase is Phase.PREFILL],
            decoding,
            num_decoding=len(rows),
            max_tokens=max_prefill_tokens,
            max_batch_tokens=self._max_batch_tokens,
            surplus_tokens=surplus_tokens,
        )
        for row in read:
            self._served.charge(self._running[row.slot].owner, len(row.tokens))
        return rows + read

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
            sequence.read(len(row.tokens) - row.num_draft)
            if isinstance(result, Verified):
                self._served.charge(sequence.owner, 1 + row.num_draft)
                sequence.take_verified(result.chosen, row.num_draft, vocabulary, now_s)
            elif result is not None:
                self._served.charge(sequence.owner, 1)
                sequence.take(result, vocabulary, now_s)
            self._times.note(sequence, now_s)
            if sequence.phase is Phase.ENDED:
                self._end(sequence)
            touched.append(sequence)
        return touched

    def sequences(self, rows: Several[Row]) -> list[Sequence]:
        """Return whose the rows of a step are, in order."""
        return [self._running[row.slot] for row in rows]

    def num_spare_cells(self, sequence: Sequence) -> int:
        """Return the cells a running sequence may use for guesses behind its tokens."""
        num_cells = self._cells.spare(sequence.slot, len(sequence.tokens))
        # A step makes one token more than are guessed; a context is shifted where it is full.
        return min(num_cells, sequence.num_places - 1)

    def lose_cells(self, slot: int) -> None:
        """Note that what was left in a slot is gone."""
        self._cells.clear(slot)

    def note_step(self, rows: Several[Row], step_s: float) -> None:
        """Learn how long a step took."""
        self._lanes.note(step_s)
        if all(row.sample and len(row.tokens) == 1 for row in rows):
            self._lanes.present.shares.note(len(rows), step_s)

    def doubt(self, rows: Several[Row]) -> list[Sequence]:
        """Let the sequences of a step that failed run one at a time; return them in order."""
        doubted = [self._running[row.slot] for row in rows]
        for row, sequence in zip(rows, doubted, strict=True):
            sequence.doubted_until = row.position + len(row.tokens) - row.num_draft
        return doubted

    def fail(self, rows: Several[Row]) -> list[Sequence]:
        """Take out the sequences of rows that failed; their cells are in doubt."""
        failed = [self._running[row.slot] for row in rows]
        for sequence in failed:
            sequence.drop()
            sequence.num_read = 0
            self._vacate(sequence)
        return failed

    def outlook(self, now_s: float) -> dict[str, Queued]:
        """Return of each waiting request its place, 1 being next, and when it gets a slot."""
        busy = Counter(sequence.owner for sequence in self._running.values())
        order = self._waiting.order(busy, self._served, now_s)
        return self._times.outlook(self._running.values(), order)

    def _cells_for(self, sequence: Sequence) -> int:
        """Return the cells without which a sequence does not start."""
        return len(sequence.tokens) + min(sequence.max_left, self._reserved_reply_tokens)

    def _victims(
        self, sequence: Sequence, num_cells: int, busy: Counter[str]
    ) -> list[Sequence] | None:
        """Return who must give up a slot so that a sequence can start; None when none would do."""
        victims: list[Sequence] = []
        num_more_cells = 0
        left = busy.copy()
        ranked = sorted(
            self._running.values(),
            key=lambda s: (not s.is_background, -busy[s.owner], s.would_break_seed, s.num_read),
        )
        while not self._cells.fits(
            num_cells, num_more_slots=len(victims), num_more_cells=num_more_cells
        ):
            victim = next((v for v in ranked if self._must_yield(v, sequence, left)), None)
            if victim is None:
                return None
            ranked.remove(victim)
            victims.append(victim)
            left[victim.owner] -= 1
            num_more_cells += self._cells.reserved(victim.slot)
        return victims

    def _must_yield(self, victim: Sequence, newcomer: Sequence, busy: Counter[str]) -> bool:
        return must_yield(
            victim,
            newcomer,
            busy,
            reader=self.following.reader(victim, self.reading),
            quantum_tokens=self._quantum_tokens,
        )

    def _reading_turn(self, sequence: Sequence) -> tuple[bool, int, int]:
        return sequence.is_background, self._served.of(sequence.owner), sequence.arrival

    def _end(self, sequence: Sequence) -> None:
        self._vacate(sequence)
        self._times.end(sequence)

    def _vacate(self, sequence: Sequence) -> None:
        del self._running[sequence.slot]
        self._times.leave(sequence)
        prefix = sequence.prefix()
        if prefix is not None and sequence.num_reply and sequence.phase is not Phase.ENDED:
            prefix = replace(prefix, is_unfinished=True, is_seeded=sequence.seed.is_asked)
        self._cells.leave(sequence.slot, prefix)
