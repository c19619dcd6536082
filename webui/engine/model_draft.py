"""Asks a draft model for guesses: what it may read now, what that took, and what if it fails.

Knows rows of tokens and the cost of steps; knows neither sequences nor the model that checks the
guesses. A draft model that fails is not asked again: nobody's reply depends on it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from webui.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from webui.engine.drafter import Drafter, DraftRow
    from webui.engine.speculation import SpeculationControl

# So few are read in the same pass as the last token; for more there is a budget.
LATE_TOKENS = 4

_log = logging.getLogger(__name__)


class ModelDraft:
    """The draft model of one engine.

    Args:
        drafter: Makes the guesses.
        clock: Monotonic seconds.

    Attributes:
        reading_s: Of the present step, spent on what it had not read yet.
        guessing_s: Of the present step, spent on guesses.
    """

    def __init__(self, drafter: Drafter, clock: Callable[[], float]) -> None:
        self._drafter = drafter
        self._clock = clock
        self._is_on = True
        self.reading_s = 0.0
        self.guessing_s = 0.0

    def begin_step(self) -> None:
        """Count the seconds of another step."""
        self.reading_s = self.guessing_s = 0.0

    def room(self, num_tokens: int) -> int:
        """Return how many tokens it could guess behind so many; 0 when it is off."""
        return max(0, self._drafter.context_length - num_tokens) if self._is_on else 0

    def propose(
        self,
        rows: Sequence[DraftRow],
        control: SpeculationControl,
        *,
        num_rows: int,
        is_shared: bool,
    ) -> dict[int, list[int]]:
        """Return guesses by slot; a row of which too much is still to be read gets none.

        Args:
            rows: Those of the step that want guesses.
            control: Says how much may be read, and is told what it took.
            num_rows: Of the whole step.
            is_shared: Whether the step is for several owners.
        """
        try:
            ready = self._caught_up(rows, control, num_rows=num_rows, is_shared=is_shared)
            return self._guess(ready, control, num_rows) if ready else {}
        except Exception as error:  # noqa: BLE001 - whatever fails here, replies go on without it
            self._is_on = False
            reason = error.message if isinstance(error, EngineError) else type(error).__name__
            _log.warning("The draft model guesses no more until it is loaded anew: %s", reason)
            return {}

    def forget(self, slot: int) -> None:
        """Drop all that it has read for a slot."""
        self._drafter.forget(slot)

    def set_threads(self, decode: int, batch: int) -> None:
        """Let it compute with as many threads as the model that checks it."""
        self._drafter.set_threads(decode, batch)

    def _caught_up(
        self,
        rows: Sequence[DraftRow],
        control: SpeculationControl,
        *,
        num_rows: int,
        is_shared: bool,
    ) -> list[DraftRow]:
        """Read a piece of what is missing; return the rows of which hardly anything is."""
        missing = {row.slot: self._drafter.num_missing(row) for row in rows}
        behind = [row for row in rows if missing[row.slot] > LATE_TOKENS]
        num_missing = sum(missing[row.slot] for row in behind)
        if behind and (num := control.readable(num_rows, num_missing, is_shared=is_shared)):
            begun_s = self._clock()
            num_read = self._drafter.read(behind, num)
            self.reading_s = self._clock() - begun_s
            control.note_reading(num_rows, num_read, self.reading_s)
            missing |= {row.slot: self._drafter.num_missing(row) for row in behind}
        return [row for row in rows if missing[row.slot] <= LATE_TOKENS]

    def _guess(
        self, rows: Sequence[DraftRow], control: SpeculationControl, num_rows: int
    ) -> dict[int, list[int]]:
        begun_s = self._clock()
        guesses = self._drafter.propose(rows)
        self.guessing_s = self._clock() - begun_s
        num_passes = max(len(tokens) for tokens in guesses) or 1
        control.note_guessing(num_rows, num_passes, self.guessing_s)
        return {row.slot: tokens for row, tokens in zip(rows, guesses, strict=True)}
