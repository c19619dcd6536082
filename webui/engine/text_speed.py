"""How long texts that wait will take, from how long those before them took.

Replies that are written between them slow texts down, and so they count. Pure but for the clock
it is given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

KEPT_WEIGHT = 0.9  # of what was measured before, at each new pass


class TextSpeed:
    """What was learned so far.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since_s: float | None = None  # nothing is measured while there is no text
        self._measured_s = self._num_measured = 0.0  # weighted sums

    def begin(self) -> None:
        """Note that there are texts to read, after a time without any."""
        self._since_s = self._clock()

    def note(self, num_tokens: int, *, has_more: bool) -> None:
        """Learn from a pass that read so many tokens."""
        now_s = self._clock()
        if self._since_s is not None:
            self._measured_s = KEPT_WEIGHT * self._measured_s + now_s - self._since_s
            self._num_measured = KEPT_WEIGHT * self._num_measured + num_tokens
        self._since_s = now_s if has_more else None

    def expected_s(self, num_tokens: int) -> float | None:
        """Return how long so many tokens will take; None is not known."""
        if not self._num_measured:
            return None
        return num_tokens * self._measured_s / self._num_measured
