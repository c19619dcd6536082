"""The words of JSON as rules of GBNF: literals, strings, numbers within bounds, any value.

Knows JSON and GBNF; knows no schema. Strings take one character, or one escape of it, for each
code point, so that a length counts what JSON Schema counts. What is written is a part of what
would be allowed: little white space, numbers that a double holds exactly.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_DIGITS = 15  # whole numbers that a double holds exactly
LARGEST = 10**MAX_DIGITS - 1
MAX_FRACTION_DIGITS = 6
MAX_HEADS = 16  # within each other: parentheses of a grammar may be nested 50 deep

# White space has an end: a model that may write it for ever does.
RULES = {
    "ws": r'" "? | "\n" [ \t]{0,20}',
    "hex": "[0-9a-fA-F]",
    "escape": r'"\\" (["\\/bfnrt] | "u" ([0-9a-cA-CefEF] hex hex hex | [dD] [0-7] hex hex))',
    "bare": r'[^"\\\x00-\x1f\x7f]',
    "char": "bare | escape",
    "string": r'"\"" char* "\""',
    "whole": '"0" | [1-9] [0-9]{0,14}',
    "integer": '"-"? whole',
    "number": 'integer ("." [0-9]{1,15})? ([eE] [-+]? [0-9]{1,2})?',
    "boolean": '"true" | "false"',
    "null": '"null"',
    "member": 'string ws ":" ws value',
    "object": '"{" ws (member (ws "," ws member)* ws)? "}"',
    "array": '"[" ws (value (ws "," ws value)* ws)? "]"',
    "value": "object | array | string | number | boolean | null",
    "date": (
        '[0-9]{3} [1-9] "-" (("0" [13578] | "1" [02]) "-" ("0" [1-9] | [12] [0-9] | "3" [01])'
        ' | ("0" [469] | "11") "-" ("0" [1-9] | [12] [0-9] | "30")'
        ' | "02-" ("0" [1-9] | "1" [0-9] | "2" [0-8]))'
    ),
    "zone": '"Z" | [-+] ([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9]',
    "time": '([01] [0-9] | "2" [0-3]) (":" [0-5] [0-9]){2} ("." [0-9]{1,6})? zone',
    "uuid": 'hex{8} "-" (hex{4} "-"){3} hex{12}',
}
FORMATS = {
    "date": r'"\"" date "\""',
    "time": r'"\"" time "\""',
    "date-time": r'"\"" date "T" time "\""',
    "uuid": r'"\"" uuid "\""',
}


@dataclass(frozen=True, slots=True)
class Bounds:
    """Between which whole numbers a number lies; None is no bound.

    Attributes:
        low: Least value.
        high: Largest value.
        is_above: `low` itself does not count.
        is_below: `high` itself does not count.
    """

    low: int | None = None
    high: int | None = None
    is_above: bool = False
    is_below: bool = False


Expression: TypeAlias = str
"""Right side of a rule; stands in parentheses where it is a part of another."""


class RuleBook:
    """The rules of one grammar; the same expression gets one name only."""

    def __init__(self) -> None:
        self._bodies: dict[str, str] = {}
        self._names: dict[str, str] = {}

    def add(self, body: Expression) -> str:
        """Return the name of a rule for an expression."""
        if body not in self._names:
            self._names[body] = self.reserve()
            self._bodies[self._names[body]] = body
        return self._names[body]

    def reserve(self) -> str:
        """Return a name whose expression comes later, with `define`."""
        name = f"r{len(self._bodies)}"
        self._bodies[name] = ""
        return name

    def define(self, name: str, body: Expression) -> None:
        """Give a name its expression."""
        self._bodies[name] = body

    def text(self, root: Expression) -> str:
        """Return the grammar."""
        rules = {"root": root} | self._bodies | RULES
        return "".join(f"{name} ::= {body}\n" for name, body in rules.items())


def quoted(text: str) -> Expression:
    """Return a literal of GBNF."""
    return '"' + "".join(_escaped(char) for char in text) + '"'


def _escaped(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    return char if char.isprintable() else f"\\U{ord(char):08X}"


def constant(value: object) -> str:
    """Return the one way in which a JSON value is written."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def one_of(texts: Iterable[str], depth: int = 0) -> Expression:
    """Return any of some texts; what several begin with is written once, else each is a way."""
    heads: dict[str, list[str]] = {}
    for text in dict.fromkeys(texts):
        heads.setdefault(text[:1], []).append(text)
    parts: list[Expression] = []
    for alike in heads.values():
        if len(alike) == 1 or depth == MAX_HEADS:
            parts += map(quoted, alike)
            continue
        head = _head(alike)
        parts.append(f"{quoted(head)} ({one_of((t[len(head) :] for t in alike), depth + 1)})")
    return " | ".join(parts)


def _head(texts: Sequence[str]) -> str:
    """Return what all of some texts begin with: what the first and the last in order do."""
    first, last = min(texts), max(texts)
    unlike = (i for i, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1])
    return first[: next(unlike, len(first))]


def repeated(item: Expression, low: int, high: int | None) -> Expression:
    """Return an item, a name or in parentheses, from `low` to `high` times."""
    if high == 0:
        return '""'
    bounds = f"{low},{'' if high is None else high}"
    return item + ({"0,": "*", "1,": "+", "0,1": "?", "1,1": ""}.get(bounds, f"{{{bounds}}}"))


def listed(item: str, low: int, high: int | None) -> Expression:
    """Return items with commas between them, from `low` to `high` of them."""
    if high == 0:
        return '""'
    rest = repeated(f'(ws "," ws {item})', max(0, low - 1), None if high is None else high - 1)
    return f"({item} {rest})?" if low == 0 else f"{item} {rest}"


def integer_between(bounds: Bounds) -> Expression:
    """Return the whole numbers within bounds; empty when there are none."""
    low = -LARGEST if bounds.low is None else bounds.low + bounds.is_above
    high = LARGEST if bounds.high is None else bounds.high - bounds.is_below
    parts: list[str] = []
    if low < 0 and low <= high:
        parts.append(f'"-" ({_natural(max(1, -high), -low)})')
    if high >= 0 and low <= high:
        parts.append(_natural(max(0, low), high))
    return " | ".join(parts)


def number_between(bounds: Bounds) -> Expression:
    """Return the numbers within bounds, without exponents; empty when there are none."""
    low = -LARGEST if bounds.low is None else bounds.low
    high = LARGEST if bounds.high is None else bounds.high
    parts: list[str] = []
    if low < 0:
        is_below = bounds.is_below and high <= 0
        least = Bounds(max(0, -high), -low, is_above=is_below, is_below=bounds.is_above)
        parts += [f'"-" ({part})' for part in _positive(least)]
    if high >= 0:
        above = Bounds(max(0, low), high, bounds.is_above and low >= 0, bounds.is_below)
        parts += _positive(above)
    return " | ".join(parts)


def _positive(bounds: Bounds) -> list[Expression]:
    """Return the ways to write a number that is not negative; both bounds are given."""
    assert bounds.low is not None
    assert bounds.high is not None
    low, high = bounds.low, bounds.high
    any_fraction = f'("." [0-9]{{1,{MAX_FRACTION_DIGITS}}})?'
    parts: list[str] = []
    if bounds.is_above and low < high:
        parts.append(f'"{low}." [0-9]{{0,{MAX_FRACTION_DIGITS - 1}}} [1-9]')
    first = low + bounds.is_above
    if first < high:
        parts.append(f"({_natural(first, high - 1)}) {any_fraction}")
    if first <= high and not bounds.is_below:
        parts.append(f'"{high}" ("." "0"{{1,{MAX_FRACTION_DIGITS}}})?')
    return parts


def _natural(low: int, high: int) -> Expression:
    """Return the whole numbers from `low`, not negative, to `high`, length by length."""
    parts: list[str] = []
    while low <= high:
        last = min(high, 10 ** len(str(low)) - 1)
        parts.append(_same_length(str(low), str(last)))
        low = last + 1
    return " | ".join(parts)


def _same_length(low: str, high: str) -> Expression:
    """Return the strings of digits between two of one length."""
    if low == high:
        return f'"{low}"'
    if low[0] == high[0]:
        return f'"{low[0]}" ({_same_length(low[1:], high[1:])})'
    rest = len(low) - 1
    if rest == 0:
        return f"[{low}-{high}]"
    first, last = int(low[0]), int(high[0])
    zeros, nines = "0" * rest, "9" * rest
    parts: list[str] = []
    if low[1:] != zeros:
        parts.append(f'"{first}" ({_same_length(low[1:], nines)})')
        first += 1
    if high[1:] != nines:
        parts.append(f'"{last}" ({_same_length(zeros, high[1:])})')
        last -= 1
    if first <= last:
        parts.append(f"[{first}-{last}] [0-9]{{{rest}}}")
    return " | ".join(parts)
