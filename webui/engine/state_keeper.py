"""Moves states between slots and the prefix cache.

Knows the runner, the scheduler's slots and the cache. Copying a state is the loop's work and
takes from the time of its steps; hashing and disk are another thread's.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from webui.engine.prefix_cache import num_usable
from webui.engine.sequence import Phase
from webui.engine.states import MIN_GAIN_TOKENS, MIN_STATE_TOKENS, SHARED_OWNER, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from collections.abc import Sequence as Several

    from webui.engine.prefill_budget import PrefillBudget
    from webui.engine.prefix_cache import PrefixCache
    from webui.engine.resident_slots import Displaced
    from webui.engine.runner import ModelRunner, Row
    from webui.engine.scheduler import Scheduler
    from webui.engine.sequence import Sequence
    from webui.engine.state_files import StateFile

IDLE_SAVE_S = 3.0  # without any work, until what lies in the slots is written to disk
MAX_PAUSE_S = 0.1  # of the replies that are being written, for states that are moved out
QUIT_SAVE_S = 3.0  # for what is not on disk yet when the model is closed
SPILL_S = 2.0  # while there is work: between two states that are written
SPILL_AGE_S = 30.0  # while there is work: what was used since may soon be outdated
NEW_SHARE = 0.5
FADE = 0.98


class StateKeeper:
    """Saves what is displaced, restores what is wanted again.

    Args:
        runner: The open model.
        scheduler: Whose slots they are.
        budget: Told how long the replies stood still.
        cache: Where states are kept.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        runner: ModelRunner,
        scheduler: Scheduler,
        budget: PrefillBudget,
        cache: PrefixCache,
        clock: Callable[[], float],
    ) -> None:
        self._runner = runner
        self._scheduler = scheduler
        self._budget = budget
        self._cache = cache
        self._clock = clock
        self._token_s = 0.0  # what saving one token takes
        self._spilt_s = clock()
        self._is_dirty = False  # there are states in memory that may not lie on disk

    @property
    def idle_s(self) -> float | None:
        """How long to be idle before `idle` has something to do; None if it has not."""
        if not self._cache.has_disk:
            return None
        return IDLE_SAVE_S if self._is_dirty or self._scheduler.residents.unkept() else None

    def file_for(self, sequence: Sequence) -> StateFile | None:
        """Return the state on disk that one with a slot should wait for, if that is worth it."""
        file, num_tokens = self._cache.find_file(sequence)
        least, gain = (1, 1) if sequence.num_reply else (MIN_STATE_TOKENS, MIN_GAIN_TOKENS)
        if file is None or num_tokens < least:
            return None
        at_hand = max(sequence.num_read, self._cache.find(sequence)[1])
        return file if num_tokens >= at_hand + gain else None

    def save(self, displaced: Iterable[Displaced]) -> None:
        """Keep what slots held before it is overwritten, as far as there is time for it.

        There always is for a reply whose seed was asked for, and would not hold without it.
        """
        paused_s = 0.0
        for resident in displaced:
            is_due = resident.prefix.is_seeded or self._is_soon_copied(resident, paused_s)
            if not is_due:
                self._token_s *= FADE  # one slow copy must not end it for good
                continue
            state, took_s = self._copy(resident)
            paused_s += took_s
            if state is not None:
                self._cache.keep(state)
                self._is_dirty = True
        self._budget.pause(paused_s)

    def move_out(self) -> None:
        """Take what lies idle out of a pool that all share, one at a time, while somebody writes.

        Attention runs up to the highest cell in use. What takes too long to copy stays until its
        cells are needed.
        """
        if self._runner.info.kv_cells is None or not self._scheduler.num_decoding:
            return
        for resident in self._scheduler.residents.idle():
            if not self._is_soon_copied(resident):
                continue
            if len(resident.prefix.tokens) >= MIN_STATE_TOKENS or resident.prefix.is_unfinished:
                self.save([resident])
            self._scheduler.lose_cells(resident.slot)
            self._runner.forget(resident.slot, 0)
            return

    def spill(self) -> None:
        """Write a state that was not used for a while to disk; called while others work.

        One at a time, so that little is left to write when the model is closed, or dies.
        """
        now_s = self._clock()
        if not self._cache.has_disk or self._cache.is_writing or now_s - self._spilt_s < SPILL_S:
            return
        self._spilt_s = now_s
        before_ns = time.time_ns() - int(SPILL_AGE_S * 1e9)
        for state in self._cache.in_ram:
            if state.prefix.used_ns <= before_ns and not self._cache.is_written(state.prefix):
                self._cache.write(state)
                return
        for resident in reversed(self._scheduler.residents.unkept()):
            if resident.prefix.used_ns <= before_ns and self._is_soon_copied(resident):
                self._budget.pause(self._write(resident))
                return

    def restore(self, sequence: Sequence, fetched: State | None = None) -> None:
        """Put the best state into the slot of a sequence, where that spares reading.

        The cells behind `num_read` are dropped.

        Args:
            sequence: Which has a slot.
            fetched: What came from disk for it.
        """
        state, num_tokens = self._cache.find(sequence)
        num_fetched = num_usable(sequence, fetched.prefix) if fetched else 0
        is_fetched = num_fetched > num_tokens
        if is_fetched:
            state, num_tokens = fetched, num_fetched
        least = 1 if sequence.num_reply else MIN_GAIN_TOKENS
        if state is None or num_tokens < sequence.num_read + least:
            self.cut(sequence, sequence.num_read)
            self._cache.counts.num_slot_tokens += sequence.num_read
            return
        self._load(sequence, state, num_tokens, is_fetched=is_fetched)

    def _load(self, sequence: Sequence, state: State, num_tokens: int, *, is_fetched: bool) -> None:
        """Put a state into a slot and let so many of its tokens serve; none if it does not fit."""
        begun_s = self._clock()
        is_restored = self._runner.load_state(sequence.slot, state.data, len(state.prefix.tokens))
        self._budget.pause(self._clock() - begun_s)
        if not is_restored:
            self._cache.lose(state)
            self._runner.forget(sequence.slot, 0)
            sequence.lose_cache()
            return
        sequence.restore(num_tokens)
        self.cut(sequence, num_tokens)
        if is_fetched:
            self._cache.keep(state)
        if not sequence.num_read:
            return  # it cannot be cut there
        counts = self._cache.counts
        if is_fetched:
            counts.num_disk_tokens += num_tokens
        else:
            counts.num_ram_tokens += num_tokens
        if state.prefix.owner == SHARED_OWNER:
            counts.num_shared_tokens += num_tokens

    def cut(self, sequence: Sequence, from_position: int) -> None:
        """Drop the cells of a sequence from a position on; all where they cannot be cut there."""
        if not self._runner.forget(sequence.slot, from_position):
            self._runner.forget(sequence.slot, 0)
            sequence.lose_cache()

    def drop_wrong_guesses(self, rows: Several[Row], sequences: Several[Sequence]) -> bool:
        """Drop the cells of guesses that did not hold, and those behind the end of one that ended.

        What ended with a stop string may have read tokens behind it, which were held back.

        Returns:
            Whether guesses could be dropped without the tokens before them.
        """
        could_all = True
        for row, sequence in zip(rows, sequences, strict=True):
            num_good = min(sequence.num_read, len(sequence.tokens))
            if num_good == row.position + len(row.tokens):
                continue
            if not row.num_draft and sequence.phase is not Phase.ENDED:
                continue
            if self._runner.forget(row.slot, num_good):
                continue
            could_all = could_all and not row.num_draft
            self._runner.forget(row.slot, 0)
            if sequence.phase is Phase.ENDED:
                self._scheduler.lose_cells(row.slot)
            else:
                sequence.lose_cache()
        return could_all

    def share(self, touched: Several[Sequence]) -> None:
        """Keep what everybody reads once somebody has read just that; others go on from there."""
        for sequence in touched:
            is_at_border = 0 < sequence.num_read == sequence.num_shared
            if not is_at_border or sequence.phase is not Phase.PREFILL:
                continue
            if sequence.num_shared < MIN_STATE_TOKENS or self._cache.has_shared(sequence):
                continue
            data = self._runner.save_state(sequence.slot)
            if data is None:
                continue
            self._cache.keep_shared(sequence, data)
            self._is_dirty = True
            reading = self._scheduler.reading
            for other in reading:
                is_behind = other.num_read < other.num_shared and other.scales == sequence.scales
                if is_behind and not self._scheduler.following.is_led(other, reading):
                    self.restore(other)

    def purge(self, owner: str, conversation_id: str | None) -> None:
        """Forget what was read for an owner, or only for one conversation.

        What is being read now will leave nothing behind.
        """
        for sequence in self._scheduler.everybody:
            if sequence.belongs_to(owner, conversation_id):
                sequence.keeps_state = False
        self._cache.purge(owner, conversation_id)
        for slot in self._scheduler.residents.purge(owner, conversation_id):
            self._runner.forget(slot, 0)

    def expire(self, before_ns: int) -> list[int]:
        """Forget what belongs to no conversation and was last used before a time; return its slots.

        What is left may have lain on disk in what is gone.
        """
        self._cache.expire(before_ns)
        slots = self._scheduler.residents.expire(before_ns)
        for slot in slots:
            self._runner.forget(slot, 0)
        self._scheduler.residents.doubt_kept(self._cache.is_written)
        self._is_dirty = bool(self._cache.in_ram)
        return slots

    def idle(self) -> None:
        """Write the next state to disk; called while nobody waits."""
        for resident in self._scheduler.residents.unkept()[:1]:
            self._write(resident)
            return
        self._is_dirty = not self._cache.write_all()

    def close(self) -> None:
        """Write to disk what is not there, as far as `QUIT_SAVE_S` allows: used latest first."""
        if not self._cache.has_disk:
            return
        end_s = self._clock() + QUIT_SAVE_S
        late = self._cache.hurry()  # of these may be what was used last
        items: list[Displaced | State] = [*self._scheduler.residents.unkept()]
        items += [*late, *self._cache.in_ram]
        for item in sorted(items, key=lambda item: -item.prefix.used_ns):
            state = item if isinstance(item, State) else self._copy(item)[0]
            if (left_s := end_s - self._clock()) <= 0:
                break
            if state is not None:
                self._cache.write(state, timeout_s=left_s)
        self._cache.close(max(0.0, end_s - self._clock()))

    def _is_soon_copied(self, resident: Displaced, paused_s: float = 0.0) -> bool:
        """Return whether replies that are being written can wait for a copy."""
        expected_s = paused_s + len(resident.prefix.tokens) * self._token_s
        return not self._scheduler.num_decoding or expected_s <= MAX_PAUSE_S

    def _copy(self, resident: Displaced) -> tuple[State | None, float]:
        """Return the state of a slot, None where the model gives none, and the seconds it took."""
        begun_s = self._clock()
        data = self._runner.save_state(resident.slot)
        took_s = self._clock() - begun_s
        self._token_s += NEW_SHARE * (took_s / len(resident.prefix.tokens) - self._token_s)
        return None if data is None else State(resident.prefix, data), took_s

    def _write(self, resident: Displaced) -> float:
        """Have the state of a slot written; return the seconds that copying it took."""
        state, took_s = self._copy(resident)
        if state is None or self._cache.write(state):
            self._scheduler.residents.mark_kept(resident.slot)
        return took_s
