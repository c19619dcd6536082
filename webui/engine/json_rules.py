"""The words of JSON as rules of GBNF: literals, strings, numbers, lists, any value.

Knows JSON and GBNF; knows no schema. Strings take one character, or one escape of it, for each
code point, so that a length counts what JSON Schema counts. What is written is a part of what
would be allowed: little white space, numbers that a double holds exactly.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MAX_DIGITS = 15  # whole numbers that a double holds exactly
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
}

Expression: TypeAlias = str
"""Right side of a rule; stands in parentheses where it is a part of another."""


class RuleBook:
    """The rules of one grammar; the same expression gets one name only."""

    def __init__(self) -> None:
        self._bodies: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._words: dict[str, str] = {}

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

    def include(self, rules: Mapping[str, Expression]) -> None:
        """Take rules under their own names, which are none of `RULES` and of those made here."""
        self._words |= rules

    def text(self, root: Expression) -> str:
        """Return the grammar."""
        rules = {"root": root} | self._bodies | RULES | self._words
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


def distinct(values: Iterable[object]) -> list[str]:
    """Return how values are written, those that are equal once: 1 and 1.0 are, 1 and true not."""
    found: dict[str, str] = {}
    for text in map(constant, values):
        found.setdefault(_by_value(text), text)
    return list(found.values())


def _by_value(text: str) -> str:
    """Return the same for the same JSON value, whatever its numbers and members look like."""
    return json.dumps(json.loads(text, parse_float=_shortest), sort_keys=True)


def _shortest(digits: str) -> int | float:
    number = float(digits)
    return int(number) if number.is_integer() else number


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
