"""What the worker's loop needs of a second model that guesses for the first.

Knows tokens and slots, as `runner` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class DraftRow:
    """A sequence whose next tokens a draft model is to guess.

    Attributes:
        slot: As in `Row`; the draft model has as many.
        tokens: The whole sequence so far, at least one.
        max_tokens: Guesses that are wanted, at least one.
    """

    slot: int
    tokens: Sequence[int]
    max_tokens: int


class Drafter(Protocol):
    """A second model, small and fast, that guesses what the first will say.

    All calls block; the loop is their only caller. It remembers what each slot of its own has
    read, finds by itself where a row goes on from there, and drops the rest: nobody tells it what
    was taken back. It is told to forget when a slot serves another owner, or must leave no trace.
    """

    @property
    def context_length(self) -> int:
        """Tokens a row may have together with its guesses."""
        ...

    def num_missing(self, row: DraftRow) -> int:
        """Return how many tokens before its last one are still to be read."""
        ...

    def read(self, rows: Sequence[DraftRow], max_tokens: int) -> int:
        """Read what is missing, rows in their order.

        Args:
            rows: Of different slots.
            max_tokens: Of all rows together.

        Returns:
            How many were read.

        Raises:
            EngineError: The step failed; what its rows have read is in doubt.
        """
        ...

    def propose(self, rows: Sequence[DraftRow]) -> list[list[int]]:
        """Read all that is missing and guess the likeliest tokens, in one pass for each.

        Returns:
            For each row at most `max_tokens` ids that the first model knows, up to one that would
            end the reply.

        Raises:
            EngineError: As for `read`.
        """
        ...

    def forget(self, slot: int) -> None:
        """Drop all that a slot has read."""
        ...

    def set_threads(self, decode: int, batch: int) -> None:
        """Set the compute threads as `ModelRunner.set_threads` does."""
        ...
