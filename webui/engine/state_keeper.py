"""Moves states between slots and the prefix cache.

Knows the runner, the scheduler's slots and the cache. Copying a state is the loop's work and
takes from the time of its steps; hashing and disk are another thread's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from webui.engine.sequence import Phase
from webui.engine.states import MIN_GAIN_TOKENS, MIN_STATE_TOKENS, SHARED_OWNER, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from collections.abc import Sequence as Several

    from webui.engine.prefill_budget import PrefillBudget
    from webui.engine.prefix_cache import PrefixCache
    from webui.engine.resident_slots import Displaced
    from webui.engine.runner import ModelRunner
    from webui.engine.scheduler import Scheduler
    from webui.engine.sequence import Sequence
    from webui.engine.state_files import StateFile

IDLE_SAVE_S = 3.0  # without any work, until what lies in the slots is written to disk
MAX_PAUSE_S = 0.1  # of the replies that are being written, for states that are moved out
QUIT_SAVE_S = 3.0  # for what is not on disk yet when the model is closed
NEW_SHARE = 0.5


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
        self._is_dirty = False  # there are states in memory that may not lie on disk

    @property
    def idle_s(self) -> float | None:
        """How long to be idle before `idle` has something to do; None if it has not."""
        if not self._cache.has_disk:
            return None
        return IDLE_SAVE_S if self._is_dirty or self._scheduler.residents.unkept() else None

    def file_for(self, sequence: Sequence) -> StateFile | None:
        """Return the state on disk that a newcomer should wait for, if that is worth it."""
        file, num_tokens = self._cache.find_file(sequence)
        if file is None or num_tokens < MIN_STATE_TOKENS:
            return None
        at_hand = self._scheduler.residents.find(sequence.owner, sequence.tokens)
        at_hand = max(at_hand, self._cache.find(sequence)[1])
        return file if num_tokens >= at_hand + MIN_GAIN_TOKENS else None

    def save(self, displaced: Iterable[Displaced]) -> None:
        """Keep what slots held before it is overwritten, as far as there is time for it."""
        paused_s = 0.0
        for resident in displaced:
            num_tokens = len(resident.prefix.tokens)
            expected_s = paused_s + num_tokens * self._token_s
            if self._scheduler.num_decoding and expected_s > MAX_PAUSE_S:
                continue
            begun_s = self._clock()
            data = self._runner.save_state(resident.slot)
            took_s = self._clock() - begun_s
            paused_s += took_s
            self._token_s += NEW_SHARE * (took_s / num_tokens - self._token_s)
            if data is not None:
                self._cache.keep(State(resident.prefix, data))
                self._is_dirty = True
        self._budget.pause(paused_s)

    def restore(self, sequence: Sequence) -> None:
        """Put the best state into the slot of a sequence, where that spares reading.

        The caller drops the cells behind `num_read` afterwards.
        """
        state, num_tokens = self._cache.find(sequence)
        is_fetched = self._cache.forget_fetched(sequence.request_id)
        counts = self._cache.counts
        if state is None or num_tokens < sequence.num_read + MIN_GAIN_TOKENS:
            counts.num_slot_tokens += sequence.num_read
            return
        begun_s = self._clock()
        is_restored = self._runner.load_state(sequence.slot, state.data)
        self._budget.pause(self._clock() - begun_s)
        if not is_restored:
            self._runner.forget(sequence.slot, 0)
            sequence.lose_cache()
            return
        sequence.restore(num_tokens)
        if is_fetched:
            counts.num_disk_tokens += num_tokens
            self._cache.keep(state)
        else:
            counts.num_ram_tokens += num_tokens
        if state.prefix.owner == SHARED_OWNER:
            counts.num_shared_tokens += num_tokens

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
            for other in self._scheduler.reading:
                if other.num_read < other.num_shared:
                    self.restore(other)
                    if not self._runner.forget(other.slot, other.num_read):
                        self._runner.forget(other.slot, 0)
                        other.lose_cache()

    def purge(self, owner: str, conversation_id: str | None) -> None:
        """Forget what was read for an owner, or only for one conversation."""
        self._cache.purge(owner, conversation_id)
        for slot in self._scheduler.residents.purge(owner, conversation_id):
            self._runner.forget(slot, 0)

    def idle(self) -> None:
        """Write the next state to disk; called while nobody waits."""
        for resident in self._scheduler.residents.unkept()[:1]:
            self._write(resident)
            return
        self._cache.write_all()
        self._is_dirty = False

    def close(self) -> None:
        """Write to disk what is not there, as far as `QUIT_SAVE_S` allows."""
        if not self._cache.has_disk:
            return
        end_s = self._clock() + QUIT_SAVE_S
        for resident in self._scheduler.residents.unkept():
            if self._clock() >= end_s:
                break
            self._write(resident)
        self._cache.write_all()
        self._cache.close(max(0.0, end_s - self._clock()))

    def _write(self, resident: Displaced) -> None:
        data = self._runner.save_state(resident.slot)
        if data is not None:
            self._cache.write(State(resident.prefix, data))
        self._scheduler.residents.mark_kept(resident.slot)
