"""How many threads the next step takes, and how much of the prompts it reads with them.

Ties together the choice of threads and the budget, which measures each number of threads apart.
Knows no sequences and no runner; clock and other processes are looked at by others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from webui.engine.reading_threads import ReadStep
from webui.engine.surplus import SURPLUS_SHARE
from webui.engine.threads import StepKind, ThreadChoice

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Sequence as Several

    from webui.engine.interface import ModelInfo
    from webui.engine.prefill_budget import PrefillBudget
    from webui.engine.runner import Row

# A step that waits at every barrier for a core that somebody took lasts ten times as long or more.
MAX_READING_FACTOR = 2.5
MAX_DECODE_FACTOR = 4.0
MIN_LIMIT_S = 0.2


class Pace:
    """Plans each step by what the steps before it took.

    Args:
        info: Of the open model.
        budget: How much of the prompts a step may read.
        num_free_cores: Says how many cores other processes leave; None is not known.
    """

    def __init__(
        self,
        info: ModelInfo,
        budget: PrefillBudget,
        num_free_cores: Callable[[], float | None],
    ) -> None:
        self._info = info
        self._budget = budget
        self._num_free_cores = num_free_cores
        self._threads = ThreadChoice(info.num_threads, info.max_threads)
        self._num_threads = info.num_threads
        self._has_choice = info.max_threads > 1
        self._reading = StepKind.PROMPT  # as it was last planned

    @property
    def threads(self) -> tuple[int, int]:
        """The threads of steps that decode, and of those that read prompts."""
        decode, prompt = self._threads.present
        return decode, self._info.num_prompt_threads or prompt

    def plan(self, *, num_decoding: int) -> tuple[int, float]:
        """Return what the next step may read of prompts, beside so many rows that decode.

        Returns:
            Tokens at most, and what surplus may read of them on the average.
        """
        self._reading = StepKind.MIXED if num_decoding else StepKind.PROMPT
        num_threads = self._threads.threads(self._reading)
        surplus = self._budget.tokens_in(SURPLUS_SHARE, num_threads)
        # A trial compares steps of its own; they are short whatever is known of this number.
        num_tokens = self._threads.trial_tokens(self._reading)
        if num_tokens is not None:
            return max(1, num_tokens - num_decoding), surplus
        return self._budget.tokens(num_decoding=num_decoding, num_threads=num_threads), surplus

    def change_threads(self, rows: Several[Row]) -> int | None:
        """Return the threads for a step where they are not those of the step before."""
        num_threads = self._threads.threads(self._kind(rows))
        if num_threads == self._num_threads:
            return None
        self._num_threads = num_threads
        return num_threads

    def limit_s(self, rows: Several[Row]) -> float | None:
        """Return after what time a step is sooner made anew with fewer threads; None is never."""
        if not self._has_choice or self._num_threads == 1:
            return None
        kind = self._kind(rows)
        num_tokens = sum(len(row.tokens) for row in rows)
        if kind is StepKind.DECODE:
            usual_s = self._threads.decode_s(num_tokens)
            factor = MAX_DECODE_FACTOR
        else:
            usual_s = self._budget.expected_s(num_tokens, self._threads.settled(kind))
            factor = MAX_READING_FACTOR
        return None if usual_s is None else max(factor * usual_s, MIN_LIMIT_S)

    def note_broken(self, rows: Several[Row], step_s: float, now_s: float) -> None:
        """Learn from a step that was broken off at its limit."""
        self._note_threads(rows, step_s, now_s, is_broken=True)

    def note(self, rows: Several[Row], step_s: float, now_s: float) -> None:
        """Learn from a step.

        Args:
            rows: What it was made of.
            step_s: How long this model took for it.
            now_s: When it ended.
        """
        self._note_threads(rows, step_s, now_s, is_broken=False)
        num_tokens = sum(len(row.tokens) for row in rows)
        if not any(row.num_draft for row in rows):
            self._budget.note(num_tokens, step_s, self._num_threads)

    def _note_threads(
        self, rows: Several[Row], step_s: float, now_s: float, *, is_broken: bool
    ) -> None:
        if not self._has_choice:
            return
        if (num_cores := self._num_free_cores()) is not None:
            self._threads.note_room(num_cores)
        kind = self._kind(rows)
        num_tokens = sum(len(row.tokens) for row in rows)
        if kind is StepKind.DECODE:
            note = self._threads.note_broken_decode if is_broken else self._threads.note_decode
            note(num_tokens, step_s)
            return
        before = self._threads.candidate(kind)
        chunks = [row for row in rows if not row.sample]
        num_read = sum(len(row.tokens) for row in chunks)
        step = ReadStep(
            num_tokens,
            sum(row.position * len(row.tokens) for row in chunks) / num_read,
            step_s,
            now_s,
            self._budget.expected_s(num_tokens, self._threads.settled(kind)),
            is_late=kind is StepKind.MIXED and step_s > self._budget.max_gap_s,
            is_broken=is_broken,
        )
        self._threads.note_reading(kind, step)
        candidate = self._threads.candidate(kind)
        if candidate is not None and candidate != before:
            self._budget.forget(candidate)

    def _kind(self, rows: Several[Row]) -> StepKind:
        is_reading = any(not row.sample for row in rows)
        return self._reading if is_reading else StepKind.DECODE
