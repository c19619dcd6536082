"""Whether a reply is still what its seed would give.

Tokens that were sampled one after the other and are read again in one piece do not give the same
bits. Knows counts of tokens, no sequence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from webui.engine.interface import GenerateRequest


class SeedWatch:
    """Notes when a seed ceases to hold.

    Args:
        request: Whose seed it is; where it has none there is nothing to note.

    Attributes:
        is_asked: Whether the seed was asked for, not drawn.
    """

    def __init__(self, request: GenerateRequest) -> None:
        self._has_seed = request.params.seed >= 0
        self.is_asked = self._has_seed and not request.is_seed_drawn
        self._num_lost = 0  # tokens that were read once and may have to be read again
        self._is_broken = self._is_untold = False

    def lose(self, num_read: int, *, is_shifted: bool) -> None:
        """Note that so many tokens, which were read, may have to be read again.

        Args:
            num_read: From the beginning.
            is_shifted: Whether others stood before them when they were read: the bits differ.
        """
        self._num_lost = max(self._num_lost, num_read)
        if is_shifted:
            self._break()

    def read(self, start: int, stop: int, num_prompt: int) -> None:
        """Note that tokens are read; those behind the prompt are the reply's own."""
        if max(start, num_prompt) < min(stop, self._num_lost):
            self._break()
        if stop >= self._num_lost:
            self._num_lost = 0

    def take_news(self) -> bool:
        """Return whether it ceased to hold since the last call."""
        is_untold, self._is_untold = self._is_untold, False
        return is_untold

    def _break(self) -> None:
        self._is_untold = self._is_untold or (self._has_seed and not self._is_broken)
        self._is_broken = True
