"""Copies what one sequence has read to others of its owner that would read the same.

Knows the runner and the scheduler's slots. It copies from who reads (`following`), from who writes
already, and from what one left behind for whom others waited. Copying takes from the time of
steps, but far less than reading does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from webui.engine.following import least_gain
from webui.engine.states import MIN_STATE_TOKENS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from webui.engine.prefill_budget import PrefillBudget
    from webui.engine.prefix_cache import CacheCounts
    from webui.engine.runner import ModelRunner
    from webui.engine.scheduler import Scheduler
    from webui.engine.sequence import Sequence

MAX_PAUSE_S = 0.1  # of the replies that are being written, after which copies wait for a step
MAX_COPIED = 8  # tokens, for each that is spared: on a graphics card reading is no dearer


@dataclass(frozen=True, slots=True)
class _Source:
    """Whose state is copied.

    Attributes:
        name: Of a request; empty where nobody runs.
        slot: Where its cells live.
        num_held: Tokens in them.
        num_tokens: So many of them serve.
    """

    name: str
    slot: int
    num_held: int
    num_tokens: int


@dataclass(frozen=True, slots=True)
class _Copy:
    data: memoryview
    num_held: int


class Handing:
    """Hands on what was read.

    Args:
        runner: The open model.
        scheduler: Whose slots they are.
        budget: Told how long the replies stood still.
        counts: What was not read anew counts there as found in a slot.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        runner: ModelRunner,
        scheduler: Scheduler,
        budget: PrefillBudget,
        counts: CacheCounts,
        clock: Callable[[], float],
    ) -> None:
        self._runner = runner
        self._scheduler = scheduler
        self._following = scheduler.following
        self._budget = budget
        self._counts = counts
        self._clock = clock
        self._copies: dict[str, _Copy] = {}  # by request, while somebody waits for one
        self._led: set[str] = set()  # the requests that somebody read for before this step

    def hand_on(self) -> None:
        """Give everybody who reads for themselves what others have read; called between steps.

        While replies are being written, those for whom that takes too long have it later.
        """
        reading = self._scheduler.reading
        running = [*reading, *self._scheduler.decoding]
        led: set[str] = set()
        postponed: set[str] = set()
        paused_s = 0.0
        for sequence in self._following.furthest_first(reading):
            name = sequence.request_id
            if sequence.is_held or sequence.num_reply or name in self._following.alone:
                continue
            if self._following.is_led(sequence, reading):
                led.add(name)
            elif (source := self._source(sequence, running)) is None:
                continue
            elif self._scheduler.num_decoding and paused_s > MAX_PAUSE_S:
                postponed.add(name)
            else:
                paused_s += self._hand(source, sequence)
        self._budget.pause(paused_s)
        self._led = led | postponed
        self._following.postponed = postponed
        self._following.alone &= {sequence.request_id for sequence in reading}
        if not postponed:
            self._copies.clear()

    def _source(self, sequence: Sequence, running: Iterable[Sequence]) -> _Source | None:
        """Return who spares a sequence most of its reading; None where it is not worth a copy."""
        sources = [self._from_running(other, sequence) for other in running]
        if sequence.request_id in self._led:  # who read for it may have left
            sources.append(self._from_resident(sequence))
        worth = [source for source in sources if self._is_worth(source, sequence)]
        return max(worth, key=self._value, default=None)

    def _value(self, source: _Source) -> tuple[int, bool, int]:
        return source.num_tokens, source.name in self._copies, -source.num_held

    def _is_worth(self, source: _Source, sequence: Sequence) -> bool:
        """Return whether a state can be cut to what serves, and is copied sooner than read."""
        gain = source.num_tokens - sequence.num_read
        can_take = self._following.can_cut or source.num_tokens == source.num_held
        is_long = gain >= least_gain(sequence, source.num_tokens, MIN_STATE_TOKENS)
        return can_take and is_long and source.num_held <= MAX_COPIED * gain

    def _from_running(self, other: Sequence, sequence: Sequence) -> _Source:
        name, num_held = other.request_id, other.num_read
        border = self._following.border(sequence, other)
        if (copy := self._copies.get(name)) is not None and copy.num_held >= border:
            num_held = copy.num_held
        return _Source(name, other.slot, num_held, min(border, num_held))

    def _from_resident(self, sequence: Sequence) -> _Source:
        prompt = sequence.tokens[:-1]
        slot, num_held, num = self._scheduler.residents.find(
            sequence.owner, prompt, sequence.scales
        )
        return _Source("", slot, num_held, num)

    def _hand(self, source: _Source, sequence: Sequence) -> float:
        """Copy, or leave the sequence alone from now on; return the seconds it took."""
        begun_s = self._clock()
        if not self._put(source, sequence):
            self._following.alone.add(sequence.request_id)
        return self._clock() - begun_s

    def _put(self, source: _Source, sequence: Sequence) -> bool:
        """Put a state in place of what a sequence has; False where that cannot be."""
        copy = self._copies.get(source.name)
        if copy is None or copy.num_held != source.num_held:
            data = self._runner.save_state(source.slot)
            if data is None:
                return False
            copy = _Copy(data, source.num_held)
            if source.name:
                self._copies[source.name] = copy
        num_before, num_own = sequence.num_read, sequence.num_read - sequence.num_cached
        if not self._runner.load_state(sequence.slot, copy.data, copy.num_held):
            self._drop(sequence)
            return False
        sequence.restore(source.num_tokens)
        is_cut = source.num_tokens < copy.num_held
        if is_cut and not self._runner.forget(sequence.slot, source.num_tokens):
            self._following.can_cut = False
            self._drop(sequence)
            return True
        sequence.num_cached -= num_own  # which it has read all the same
        self._counts.num_slot_tokens += source.num_tokens - num_before
        return True

    def _drop(self, sequence: Sequence) -> None:
        self._runner.forget(sequence.slot, 0)
        sequence.lose_cache()
