"""A regular expression of JSON Schema as GBNF, for the inside of a JSON string.

Takes what has the same meaning in a grammar: characters, classes, groups, alternatives and
repetitions, anchors at the ends of an alternative. What looks around, refers back or names a
property of Unicode is refused. Characters that JSON must escape are written escaped.

Source: ECMA-262, 22.2.1 Patterns, without its Unicode mode.
"""

from __future__ import annotations

import string
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, TypeAlias

from webui.engine.json_rules import quoted

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_DEPTH = 20
MAX_REPETITIONS = 2000
LAST = 0x10FFFF
PLAIN = frozenset(string.ascii_letters + string.digits)

Ranges: TypeAlias = list[tuple[int, int]]

DIGITS: Ranges = [(0x30, 0x39)]
WORDS: Ranges = [(0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)]
SPACES: Ranges = [(0x09, 0x0D), (0x20, 0x20), (0xA0, 0xA0), (0x2028, 0x2029), (0xFEFF, 0xFEFF)]
LINE_ENDS: Ranges = [(0x0A, 0x0A), (0x0D, 0x0D), (0x2028, 0x2029)]
CLASSES = {"d": DIGITS, "w": WORDS, "s": SPACES}
CONTROLS = {"t": 0x09, "n": 0x0A, "v": 0x0B, "f": 0x0C, "r": 0x0D, "0": 0}
# What JSON cannot hold as it is, and how it writes it; other control characters have no short way.
ESCAPES = {0x22: '\\"', 0x5C: "\\\\", 0x08: "\\b", 0x09: "\\t", 0x0A: "\\n", 0x0C: "\\f"} | {
    0x0D: "\\r"
}
UNWRITTEN: Ranges = [(0, 0x1F), (0x22, 0x22), (0x5C, 0x5C), (0x7F, 0x7F), (0xD800, 0xDFFF)]


class BadPattern(Exception):  # noqa: N818 - it says what is so, as the names in errors.py do
    """The pattern is none, or one that a grammar cannot say."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern, or a piece of one.

    Attributes:
        body: GBNF.
        shortest: Characters of the shortest string.
        longest: Characters of the longest one; None without end.
    """

    body: str
    shortest: int
    longest: int | None

    @property
    def is_empty(self) -> bool:
        """Whether it may stand for nothing."""
        return self.shortest == 0


def read_pattern(pattern: str) -> Pattern:
    """Read a regular expression; the GBNF is that of what it finds something in, with quotes.

    Raises:
        BadPattern: Says why.
    """
    reader = _Reader(pattern)
    part = reader.alternatives(is_top=True)
    if not reader.is_done:
        raise BadPattern(f"unexpected {pattern[reader.at]} at {reader.at + 1}")
    return Pattern(f'"\\"" ({part.body}) "\\""', part.shortest, part.longest)


ANYTHING = Pattern("char*", 0, None)
NOTHING = Pattern('""', 0, 0)


class _Reader:
    """One reading of one pattern."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._depth = 0
        self.at = 0

    @property
    def is_done(self) -> bool:
        return self.at == len(self._pattern)

    def alternatives(self, *, is_top: bool) -> Pattern:
        parts = [self._sequence(is_top=is_top)]
        while self._take("|"):
            parts.append(self._sequence(is_top=is_top))
        body = " | ".join(part.body for part in parts)
        longest = [part.longest for part in parts if part.longest is not None]
        return Pattern(
            body,
            min(part.shortest for part in parts),
            max(longest) if len(longest) == len(parts) else None,
        )

    def _sequence(self, *, is_top: bool) -> Pattern:
        is_anchored = is_top and self._take("^")
        parts: list[Pattern] = [] if is_anchored or not is_top else [ANYTHING]
        is_ended = False
        while not self.is_done and self._peek() not in "|)":
            if is_top and self._take("$"):
                is_ended = True
                break
            parts.append(self._quantified())
        if is_ended and not self.is_done and self._peek() != "|":
            self._bad("$ before the end")
        if is_top and not is_ended:
            parts.append(ANYTHING)
        body = " ".join(part.body for part in parts) or '""'
        longest = [part.longest for part in parts if part.longest is not None]
        return Pattern(
            body,
            sum(part.shortest for part in parts),
            sum(longest) if len(longest) == len(parts) else None,
        )

    def _quantified(self) -> Pattern:
        part = self._atom()
        low, high = self._times()
        if (low, high) == (1, 1):
            return part
        self._take("?")  # lazy or not, the strings are the same
        if not self.is_done and self._peek() in "*+?{":
            self._bad("two repetitions at once")
        if part.is_empty and high is None:
            self._bad("what is repeated without end may be empty")
        if high == 0:
            return NOTHING
        bounds = f"{{{low}}}" if low == high else f"{{{low},{'' if high is None else high}}}"
        longest = None if high is None or part.longest is None else part.longest * high
        return Pattern(f"({part.body}){bounds}", part.shortest * low, longest)

    def _times(self) -> tuple[int, int | None]:
        if self.is_done:
            return 1, 1
        if self._take("*"):
            return 0, None
        if self._take("+"):
            return 1, None
        if self._take("?"):
            return 0, 1
        if not self._take("{"):
            return 1, 1
        close = self._pattern.find("}", self.at)
        low, comma, high = self._pattern[self.at : max(close, self.at)].partition(",")
        if not low.isdecimal() or not (high.isdecimal() or not high):
            self._bad("{ without numbers")
        self.at = close + 1
        least = _number(low)
        most = _number(high) if high else (None if comma else least)
        if most is not None and most < least:
            self._bad("a repetition that ends before it begins")
        return least, most

    def _atom(self) -> Pattern:
        char = self._next()
        match char:
            case "(":
                return self._group()
            case "[":
                return self._class()
            case ".":
                return self._of(_without(LINE_ENDS))
            case "\\":
                return self._of(self._escape(in_class=False))
            case "^" | "$":
                self._bad(f"{char} inside the pattern")
            case "*" | "+" | "?" | "{":
                self._bad("nothing to repeat")
            case "]" | "}":
                self._bad(f"{char} without its beginning")
            case _:
                pass
        return self._of([(ord(char), ord(char))])

    def _group(self) -> Pattern:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._bad(f"groups nested more than {MAX_DEPTH} deep")
        if self._take("?"):
            if self._take("<") and self._peek() not in "=!":
                close = self._pattern.find(">", self.at)
                if not self._pattern[self.at : max(close, self.at)].isidentifier():
                    self._bad("a group without a name")
                self.at = close + 1
            elif not self._take(":"):
                self._bad("a group that looks around or sets flags")
        part = self.alternatives(is_top=False)
        if not self._take(")"):
            self._bad("a group that is not closed")
        self._depth -= 1
        return Pattern(f"({part.body})", part.shortest, part.longest)

    def _class(self) -> Pattern:
        is_negated = self._take("^")
        ranges: Ranges = []
        while not self._take("]"):
            low = self._class_char()
            is_range = self._peek() == "-" and self._pattern[self.at + 1 : self.at + 2] != "]"
            if not is_range:
                ranges += low
                continue
            self.at += 1
            high = self._class_char()
            if len(low) != 1 or len(high) != 1 or low[0][0] != low[0][1] or high[0][0] < low[0][0]:
                self._bad("a range that ends before it begins")
            ranges.append((low[0][0], high[0][1]))
        return self._of(_without(ranges) if is_negated else ranges)

    def _class_char(self) -> Ranges:
        char = self._next()
        return self._escape(in_class=True) if char == "\\" else [(ord(char), ord(char))]

    def _escape(self, *, in_class: bool) -> Ranges:
        char = self._next()
        if char.lower() in CLASSES:
            ranges = CLASSES[char.lower()]
            return ranges if char.islower() else _without(ranges)
        if char in "xu":
            num = 2 if char == "x" else 4
            digits = self._pattern[self.at : self.at + num]
            if len(digits) < num or not set(digits) <= set(string.hexdigits):
                self._bad(f"\\{char} without its digits")
            self.at += num
            code = int(digits, 16)
        elif char in CONTROLS:
            code = CONTROLS[char]
        elif char == "b" and in_class:
            code = 0x08
        elif char.isalnum():
            self._bad(f"\\{char}")
        else:
            code = ord(char)
        return [(code, code)]

    def _of(self, ranges: Ranges) -> Pattern:
        """Return one character out of some, as JSON writes it."""
        bare = _intersection(ranges, _without(UNWRITTEN))
        parts = [f"[{''.join(map(_range, bare))}]"] if bare else []
        for code, escape in ESCAPES.items():
            if any(low <= code <= high for low, high in ranges):
                parts.append(quoted(escape))
        if not parts:
            self._bad("a class of no character that is written")
        return Pattern(parts[0] if len(parts) == 1 else f"({' | '.join(parts)})", 1, 1)

    def _peek(self) -> str:
        if self.is_done:
            self._bad("the pattern ends too soon")
        return self._pattern[self.at]

    def _next(self) -> str:
        char = self._peek()
        self.at += 1
        return char

    def _take(self, char: str) -> bool:
        is_there = self._pattern.startswith(char, self.at)
        self.at += is_there
        return is_there

    def _bad(self, reason: str) -> NoReturn:
        raise BadPattern(f"{reason}, at character {self.at}")


def _number(digits: str) -> int:
    if len(digits) > len(str(MAX_REPETITIONS)) or int(digits) > MAX_REPETITIONS:
        raise BadPattern(f"more than {MAX_REPETITIONS} repetitions")
    return int(digits)


def _range(ends: tuple[int, int]) -> str:
    low, high = (chr(code) if chr(code) in PLAIN else f"\\U{code:08X}" for code in ends)
    return low if low == high else f"{low}-{high}"


def _without(ranges: Ranges) -> Ranges:
    """Return all characters but these."""
    found: Ranges = []
    begin = 0
    for low, high in sorted(ranges):
        if begin < low:
            found.append((begin, low - 1))
        begin = max(begin, high + 1)
    return [*found, (begin, LAST)] if begin <= LAST else found


def _intersection(some: Iterable[tuple[int, int]], others: Ranges) -> Ranges:
    """Return what lies in both."""
    found = (
        (max(low, other_low), min(high, other_high))
        for low, high in some
        for other_low, other_high in others
    )
    return sorted({(low, high) for low, high in found if low <= high})
