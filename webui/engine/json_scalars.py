"""Strings and numbers as a schema wants them, in GBNF.

Knows the keywords of these types; numbers by digits are `json_numbers`', formats `json_formats`'.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, TypeAlias

from webui.engine.json_formats import FORMATS, rules_for
from webui.engine.json_numbers import BadStep, Bounds, integer_between, number_between
from webui.engine.json_pattern import BadPattern, read_pattern
from webui.engine.json_rules import MAX_DIGITS, repeated
from webui.engine.schema_words import bad_schema

if TYPE_CHECKING:
    from collections.abc import Callable

    from webui.engine.json_pattern import Pattern
    from webui.engine.json_rules import Expression, RuleBook

MAX_REPETITIONS = 2000
NUMBER_WORDS = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "multipleOf")
LENGTHS = ("minLength", "maxLength")
# How pydantic says a decimal number as text: a sign, and digits that are not all left out.
DECIMAL = re.compile(
    r"\^\(\?!\^\[-\+\.\]\*\$\)\[\+-\]\?0\*\\d(\*|\{0,\d+\})\\\.\?\\d(\*|\{0,\d+\})(?:0\*)?\$"
)
ONE_CLASS = re.compile(r"\^(\[(?:\\.|[^\]\\])+\]|\\[dwsDWS]|\.)([+*])\$")

Schema: TypeAlias = dict[str, Any]


def string_rule(schema: Schema, path: str, book: RuleBook) -> Expression:
    """Return the strings that a schema allows.

    A format gives way to a pattern, and to lengths that not all its texts have.

    Raises:
        InvalidRequest: They cannot be kept; names the keyword.
    """
    if "pattern" in schema:
        return _matching(schema, path)
    form = FORMATS.get(str(schema.get("format")))
    if form is not None and form.fits(*sizes(schema, *LENGTHS, path, most_allowed=None)):
        book.include(rules_for(form.body))
        return f'"\\"" ({form.body}) "\\""'
    return f'"\\"" {repeated("char", *sizes(schema, *LENGTHS, path))} "\\""'


def _matching(schema: Schema, path: str) -> Expression:
    low, high = sizes(schema, *LENGTHS, path, most_allowed=None)
    pattern = str(schema["pattern"])
    if decimal := DECIMAL.fullmatch(pattern):
        whole, fraction = (times.replace("{0,", "{1,").replace("*", "+") for times in decimal[1, 2])
        pattern = rf"^[+-]?\d{whole}(\.\d{fraction})?$"
        pattern = pattern.replace(r"(\.\d{1,0})?", "").replace(r"\d{1,0}", "0")
    try:
        found = read_pattern(pattern)
        if not _fits(found, low, high) and (same := ONE_CLASS.fullmatch(pattern)):
            least = max(low, int(same[2] == "+"))
            found = read_pattern(f"^{same[1]}{{{least},{'' if high is None else high}}}$")
    except BadPattern as error:
        raise bad_schema(path, f"pattern is not supported: {error}") from error
    if not _fits(found, low, high):
        raise bad_schema(
            path,
            "minLength and maxLength beside this pattern are not supported",
            "Say the length in the pattern, as in ^[a-z]{2,10}$.",
        )
    return found.body


def _fits(pattern: Pattern, low: int, high: int | None) -> bool:
    is_short = high is None or (pattern.longest is not None and pattern.longest <= high)
    return low <= pattern.shortest and is_short


def sizes(
    schema: Schema, least: str, most: str, path: str, *, most_allowed: int | None = MAX_REPETITIONS
) -> tuple[int, int | None]:
    """Return the least and the largest number of something; None is no limit.

    Raises:
        InvalidRequest: They are no such numbers.
    """
    low, high = schema.get(least, 0), schema.get(most)
    for word, value in ((least, low), (most, high)):
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
            raise bad_schema(path, f"{word}: expected a whole number of 0 or more")
        if value < 0:
            raise bad_schema(path, f"{word}: expected a whole number of 0 or more")
        if most_allowed is not None and value > most_allowed:
            raise bad_schema(path, f"{word}: {value}, but {most_allowed} is the most")
    if high is not None and high < low:
        raise bad_schema(path, f"{most} is less than {least}")
    return int(low), None if high is None else int(high)


def integer_rule(schema: Schema, path: str, book: RuleBook) -> Expression:
    """Return the whole numbers that a schema allows.

    Raises:
        InvalidRequest: They cannot be kept; names the keyword.
    """
    bounds = _bounds(schema, path)
    if bounds == Bounds():
        return "integer"
    return _between(bounds, path, book, integer_between)


def number_rule(schema: Schema, path: str, book: RuleBook) -> Expression:
    """Return the numbers that a schema allows.

    Raises:
        InvalidRequest: They cannot be kept; names the keyword.
    """
    bounds = _bounds(schema, path)
    if bounds == Bounds():
        return "number"
    return _between(bounds, path, book, number_between)


def _between(
    bounds: Bounds, path: str, book: RuleBook, write: Callable[[Bounds, RuleBook], Expression]
) -> Expression:
    try:
        found = write(bounds, book)
    except BadStep as error:
        raise bad_schema(
            path, f"multipleOf is not supported: {error}", "Leave it out, or set nearer bounds."
        ) from error
    if not found:
        raise bad_schema(path, f"no number of up to {MAX_DIGITS} digits lies between these bounds")
    return found


def _bounds(schema: Schema, path: str) -> Bounds:
    """Return the bounds of a number; what lies beyond all that is written is none."""
    said = {word: schema[word] for word in NUMBER_WORDS if word in schema}
    # As it was written before 2019: true, and the value stands beside it.
    for word, beside in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(said.get(word), bool) and said.pop(word) and beside in said:
            said[word] = said.pop(beside)
    values = {word: _value(value, word, path) for word, value in said.items()}
    bounds = Bounds(step=values.pop("multipleOf", None))
    if bounds.step is not None and bounds.step <= 0:
        raise bad_schema(path, "multipleOf: expected a number above 0")
    for word, value in values.items():
        is_exclusive = word.startswith("exclusive")
        if word.endswith("inimum"):
            if (value, is_exclusive) > (bounds.low, bounds.is_above):
                bounds = replace(bounds, low=value, is_above=is_exclusive)
        elif (value, not is_exclusive) < (bounds.high, not bounds.is_below):
            bounds = replace(bounds, high=value, is_below=is_exclusive)
    return bounds


def _value(value: object, word: str, path: str) -> Fraction:
    if isinstance(value, int) and not isinstance(value, bool):
        return Fraction(value)
    if isinstance(value, float) and math.isfinite(value):
        return Fraction(repr(value))  # what was written, not its double
    raise bad_schema(path, f"{word}: expected a number")
