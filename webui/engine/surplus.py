"""How fast prompts may be read that nobody must read at once.

Whoever comes with one prompt has it read as fast as the step allows. An owner whose reply is
already being written has its next prompts read in a small share of the time as long as others
write too, else eight requests of one owner would slow everybody with their reading alone; but a
chat does not give way to what a program of the same owner has written. The share grows for
who waits long. Background work is read so while anybody writes.

Pure: knows sequences and counts of tokens, no clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Sequence as Several

    from webui.engine.interface import Priority
    from webui.engine.sequence import Sequence

SURPLUS_SHARE = 0.05  # of the time of steps; further replies may take theirs beyond that
LEAST_TOKENS = 16  # a chunk of fewer costs hardly less
MAX_CREDIT_TOKENS = 512.0
GROWTH_STEPS = 256  # after which the share grows with every step that somebody waits
MAX_GROWTH = 2.0  # then others still keep 0.8 of their rate


class SurplusReading:
    """Saves up small shares of steps until they are worth a chunk."""

    def __init__(self) -> None:
        self._credit_tokens = 0.0
        self._num_steps = 0  # in which somebody waited for such a prompt

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
        most_urgent: dict[str, Priority] = {}
        for sequence in writing:
            priority = sequence.request.priority
            most_urgent[sequence.owner] = min(priority, most_urgent.get(sequence.owner, priority))
        urgent = [sequence for sequence in unread if not _is_surplus(sequence, most_urgent)]
        if all(sequence.is_background for sequence in unread):
            self._num_steps = 0
        if urgent or not unread:
            return urgent, max_tokens
        self._num_steps += 1
        tokens_per_step *= min(max(1.0, self._num_steps / GROWTH_STEPS), MAX_GROWTH)
        self._credit_tokens = min(self._credit_tokens + tokens_per_step, MAX_CREDIT_TOKENS)
        num_tokens = min(int(self._credit_tokens), max_tokens)
        if num_tokens < min(LEAST_TOKENS, max_tokens):
            return [], 0
        self._credit_tokens -= num_tokens
        return list(unread), num_tokens


def _is_surplus(sequence: Sequence, most_urgent: Mapping[str, Priority]) -> bool:
    """Return whether a prompt gives way to replies, of which the most urgent of each owner count."""
    if sequence.is_background:
        return bool(most_urgent)
    own = most_urgent.get(sequence.owner)
    return own is not None and own <= sequence.request.priority and len(most_urgent) > 1
