"""Numbers within bounds, and multiples: all that is written fits, all that fits is taken."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from random import Random
from typing import Any

import pytest

from tests.unit.engine.gbnf_oracle import Grammar
from webui.engine.json_schema import schema_grammar
from webui.errors import InvalidRequest

LARGEST = 10**15 - 1


def _random_bounds(rng: Random, kind: str) -> dict[str, Any]:
    places = rng.choice([0, 1, 2, 5]) if kind == "number" else rng.choice([0, 0, 1])
    size = 10 ** rng.randint(0, 9)
    low = round(rng.uniform(-size, size), places)
    high = round(low + rng.uniform(0, 10 ** rng.randint(-places, 9)), places)
    schema: dict[str, Any] = {"type": kind}
    if rng.random() < 0.8:
        schema[rng.choice(["minimum", "exclusiveMinimum"])] = low
    if rng.random() < 0.8:
        schema[rng.choice(["maximum", "exclusiveMaximum"])] = high
    if rng.random() < 0.4:
        steps = [2, 3, 5, 7, 12, 60, 100, 1000, 2.5]
        steps = [2, 7, 25, 100, 0.1, 0.01, 0.5, 0.25, 0.05, 0.125] if kind == "number" else steps
        schema["multipleOf"] = rng.choice(steps)
    return schema


def _fits(text: str, schema: dict[str, Any]) -> bool:
    """Ask the standard, once as it is written and once as the doubles that a program sees."""
    exact, double = Fraction(text), float(text)
    for value, read in ((exact, lambda x: Fraction(repr(x))), (double, float)):
        if "minimum" in schema and value < read(schema["minimum"]):
            return False
        if "maximum" in schema and value > read(schema["maximum"]):
            return False
        if "exclusiveMinimum" in schema and value <= read(schema["exclusiveMinimum"]):
            return False
        if "exclusiveMaximum" in schema and value >= read(schema["exclusiveMaximum"]):
            return False
    if "multipleOf" in schema and exact % Fraction(repr(schema["multipleOf"])) != 0:
        return False
    return schema["type"] == "number" or exact.denominator == 1


def _edges(schema: dict[str, Any], rng: Random) -> list[Fraction]:
    """Return values around the bounds, and some between them."""
    low = Fraction(repr(schema.get("minimum", schema.get("exclusiveMinimum", -LARGEST))))
    high = Fraction(repr(schema.get("maximum", schema.get("exclusiveMaximum", LARGEST))))
    step = Fraction(repr(schema.get("multipleOf", 1)))
    found = [Fraction(0)]
    for end in (low, high, low + (high - low) * rng.randint(0, 1000) / 1000):
        found += [end, end // 1, -(-end // 1), round(end, 1), round(end, 4)]
        found += [end // step * step + step * times for times in range(-2, 3)]
        found += [end + Fraction(rng.choice([-1, 1]), 10**places) for places in range(5)]
    return [value for value in found if value * 10**5 % 1 == 0 and abs(value) <= LARGEST]


def _written(value: Fraction) -> str:
    text = f"{Decimal(value.numerator) / Decimal(value.denominator):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _grammar(schema: dict[str, Any]) -> Grammar | None:
    """Return the grammar; None where it was said that there is no such number."""
    try:
        return Grammar(schema_grammar(schema))
    except InvalidRequest as error:
        if "no number" not in error.message:
            raise
        return None


@pytest.mark.parametrize("kind", ["integer", "number"])
@pytest.mark.parametrize("seed", range(80))
def test_random_bounds_and_steps_are_kept_and_all_within_is_taken(kind: str, seed: int) -> None:
    rng = Random(seed)
    schema = _random_bounds(rng, kind)
    texts = [_written(value) for value in _edges(schema, rng)]
    grammar = _grammar(schema)
    if grammar is None:
        assert not any(_fits(text, schema) for text in texts), schema
        return
    for _ in range(40):
        text = grammar.write(rng, budget=60)
        assert _fits(text, schema), f"{text} is written by {schema}"
    for text in texts:
        assert grammar.matches(text) == _fits(text, schema), f"{text} and {schema}"


@pytest.mark.parametrize("step", range(1, 51))
def test_a_whole_step_allows_its_multiples_and_nothing_else(step: int) -> None:
    schema = {"type": "integer", "multipleOf": step, "minimum": -120, "maximum": 120}
    grammar = Grammar(schema_grammar(schema))
    said = [value for value in range(-130, 131) if grammar.matches(str(value))]
    assert said == [value for value in range(-120, 121) if value % step == 0]


@pytest.mark.parametrize("schema", [
    {"type": "number", "minimum": 0},
    {"type": "number", "exclusiveMinimum": 0, "maximum": 1.5},
    {"type": "integer", "minimum": -12, "maximum": 1050},
    {"type": "integer", "multipleOf": 7},
])  # fmt: skip
def test_a_number_is_written_in_one_way(schema: dict[str, Any]) -> None:
    grammar = Grammar(schema_grammar(schema))
    assert grammar.num_ways("0.7" if schema["type"] == "number" else "14") == 1


def test_no_number_begins_with_zeros() -> None:
    grammar = Grammar(schema_grammar({"type": "number", "minimum": 0, "maximum": 100}))
    assert [text for text in ("00", "01", "-0", ".5", "5.", "+5") if grammar.matches(text)] == []


def test_an_exclusive_bound_is_kept_in_doubles() -> None:
    schema = {"type": "number", "exclusiveMinimum": 999_999_999_998, "exclusiveMaximum": 10**12}
    grammar = Grammar(schema_grammar(schema))
    assert grammar.matches("999999999999.5")
    assert not grammar.matches("999999999999.99999999")
    for seed in range(200):
        assert 999_999_999_998 < float(grammar.write(Random(seed), budget=60)) < 10**12
