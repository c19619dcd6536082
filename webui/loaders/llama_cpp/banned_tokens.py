"""Tokens by what they say: which hold a banned string, and how many meet a breaker of DRY.

The first are never chosen, so that none is taken back; where a string needs several tokens, that is
found out while the reply is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class SpelledTokens:
    """What all tokens of a vocabulary say, one behind the other.

    Args:
        spelled: What each says.
    """

    def __init__(self, spelled: Sequence[bytes]) -> None:
        self._text = np.frombuffer(b"".join(spelled), np.uint8)
        self._ends = np.cumsum(np.fromiter(map(len, spelled), np.int64, len(spelled)))

    def holding(self, strings: Sequence[str]) -> frozenset[int]:
        """Return the tokens in which one of some strings stands."""
        found = np.zeros(len(self._ends), np.bool_)
        for string in strings:
            found[self._holding(string.encode())] = True
        return frozenset(np.flatnonzero(found).tolist())

    def meeting(self, string: bytes) -> tuple[int, int]:
        """Return how often a token holds a string, and how often one ends in its beginning."""
        begins = np.flatnonzero(self._text == string[0])
        ends = self._ends[np.searchsorted(self._ends, begins, side="right")]
        num_begun = 0
        for index, byte in enumerate(string[1:], 1):
            is_at_end = begins + index == ends
            num_begun += int(np.count_nonzero(is_at_end))
            begins, ends = begins[~is_at_end], ends[~is_at_end]
            goes_on = self._text[begins + index] == byte
            begins, ends = begins[goes_on], ends[goes_on]
        return len(begins), num_begun

    def _holding(self, string: bytes) -> NDArray[np.int64]:
        num = max(0, len(self._text) - len(string) + 1)
        begins = np.flatnonzero(self._text[:num] == string[0])
        for index, byte in enumerate(string[1:], 1):
            begins = begins[self._text[begins + index] == byte]
        tokens = np.searchsorted(self._ends, begins, side="right")
        # What goes on in the next token is not in this one.
        return np.asarray(tokens[begins + len(string) <= self._ends[tokens]], np.int64)
