"""How fast prompts may be read that nobody must read at once.

Whoever comes with one prompt has it read as fast as the step allows. An owner whose reply is
already being written has its next prompts read in a small share of the time as long as others
write too, else eight requests of one owner would slow everybody with their reading alone. So has
background work while anybody writes.

Pure: knows sequences and counts of tokens, no clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence as Several

    from webui.engine.sequence import Sequence

SURPLUS_SHARE = 0.05  # of the time of steps; further replies may take theirs beyond that
LEAST_TOKENS = 16  # a chunk of fewer costs hardly less
MAX_CREDIT_TOKENS = 512.0


class SurplusReading:
    """Saves up small shares of steps until they are worth a chunk."""

    def __init__(self) -> None:
        self._credit_tokens = 0.0

    def bound(
        self,
        unread: Several[Sequence],
        writing: Several[Sequence],
        *,
        max_tokens: int,
        tokens_per_step: float,
    ) -> tuple[list[Sequence], int]:
        """Return who may read in the next step, and how many tokens in all.

        Args:
            unread: All who have something to read.
            writing: All whose next step makes a token and for whom somebody waits.
            max_tokens: The bound of reading that is no surplus.
            tokens_per_step: What surplus may read in each step on the average.
        """
        owners = {sequence.owner for sequence in writing}
        urgent = [sequence for sequence in unread if not _is_surplus(sequence, owners)]
        if urgent or not unread:
            return urgent, max_tokens
        self._credit_tokens = min(self._credit_tokens + tokens_per_step, MAX_CREDIT_TOKENS)
        num_tokens = min(int(self._credit_tokens), max_tokens)
        if num_tokens < min(LEAST_TOKENS, max_tokens):
            return [], 0
        self._credit_tokens -= num_tokens
        return list(unread), num_tokens


def _is_surplus(sequence: Sequence, owners: set[str]) -> bool:
    """Return whether a prompt gives way to the replies of these owners."""
    if sequence.is_background:
        return bool(owners)
    return sequence.owner in owners and len(owners) > 1
