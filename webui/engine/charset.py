"""A set of characters that is asked often whether it has one, or all of some."""

from __future__ import annotations

from bisect import bisect_right
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from webui.engine.gbnf import Chars

LAST = 0x10FFFF
SPACE = 0x20


class Charset:
    """The characters of an element of a grammar; two are the same only if they are one object.

    Args:
        chars: As they stand in the grammar.

    Attributes:
        only: The one character there is; None where there are more.
    """

    def __init__(self, chars: Chars) -> None:
        self._is_negated = chars.is_negated
        self._begins: list[int] = []  # of the ranges that are named, which do not touch
        self._ends: list[int] = []  # behind each
        for low, high in sorted(chars.ranges):
            if self._ends and low <= self._ends[-1]:
                self._ends[-1] = max(self._ends[-1], high + 1)
            else:
                self._begins.append(low)
                self._ends.append(high + 1)
        ranges = [] if chars.is_negated else list(zip(self._begins, self._ends, strict=True))
        is_one = len(ranges) == 1 and ranges[0][1] - ranges[0][0] == 1
        self.only = ranges[0][0] if is_one else None

    def has(self, code: int) -> bool:
        """Return whether a character is in it."""
        index = bisect_right(self._begins, code) - 1
        return (index >= 0 and code < self._ends[index]) != self._is_negated

    def share(self, low: int, high: int) -> bool | None:
        """Return whether the characters from `low` to `high` are in it; None where only some are."""
        index = bisect_right(self._begins, low) - 1
        if index >= 0 and low < self._ends[index]:
            return None if high >= self._ends[index] else not self._is_negated
        is_touched = index + 1 < len(self._begins) and self._begins[index + 1] <= high
        return None if is_touched else self._is_negated

    def some(self, num: int) -> Iterator[int]:
        """Return characters of it, one of each of its first ranges, at most `num`."""
        if not self._is_negated:
            return islice(self._begins, num)
        begins = (SPACE, *islice(self._ends, num))
        return islice((code for code in begins if code <= LAST and self.has(code)), num)
