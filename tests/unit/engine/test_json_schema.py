"""JSON Schema as grammars: what they write obeys; what cannot be kept is refused by name."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.engine.gbnf_oracle import Grammar
from tests.unit.engine.schema_oracle import TREE, obeys, random_schema, random_value
from webui.engine import json_scalars
from webui.engine.grammar_automaton import Automaton, State
from webui.engine.json_schema import schema_grammar
from webui.engine.library_patterns import FORMAT_OF
from webui.errors import InvalidRequest

CASES: list[tuple[Any, list[Any], list[Any]]] = [
    ({"type": "integer", "minimum": -12, "maximum": 105}, [-12, 0, 105], [-13, 106, 1.5, "1"]),
    ({"type": "integer", "exclusiveMinimum": 9, "exclusiveMaximum": 20}, [10, 19], [9, 20]),
    ({"type": "number", "minimum": 0, "maximum": 1}, [0, 0.5, 1, 0.0625], [1.1, -0.5]),
    ({"type": "number", "exclusiveMinimum": 0}, [0.5, 12.25], [0, -1]),
    ({"type": "number", "minimum": -3, "exclusiveMaximum": -1}, [-3, -1.5, -2], [-1, 0, -3.5]),
    ({"type": "string", "maxLength": 2}, ["", "é", '"\\'], ["abc", 1]),
    ({"type": "array", "items": False}, [[]], [[1]]),
    ({"items": [{"type": "null"}, True]}, [[None, 1]], [[1, 1]]),
    ({"type": "array", "minItems": 1, "maxItems": 1}, [[None]], [[], [1, 2]]),
    ({"properties": {"a": {"type": "null"}}, "required": ["a", "b"]}, [{"a": None, "b": 1}], [{}]),
    ({"type": "object"}, [{}, {"x": {"y": []}}], [[]]),
    ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"const": "x"}}}, ["x"], ["y"]),
    ({"$ref": "#/$defs/x", "maximum": 5, "$defs": {"x": {"type": "integer"}}}, [5], [6]),
    ({"type": "string", "enum": ["a", 1]}, ["a"], [1]),
    ({"oneOf": [{"type": "string"}, {"type": "null"}]}, ["", None], [1]),
    (True, [{"any": [1, "x", None]}], []),
    ({"type": "integer", "format": "int32", "enum": [0, 1]}, [0, 1], [2]),
    ({"type": "string", "format": "phone"}, ["+1 23", ""], [5]),
    ({"type": "string", "format": "uri", "minLength": 1, "maxLength": 2083}, ["https://a.b/c"], []),
    ({"type": "string", "format": "email", "maxLength": 3}, ["a@b"], ["a@b.de"]),
    ({"type": "string", "pattern": "^[a-z]+$", "minLength": 2, "maxLength": 3}, ["ab"], ["abcd"]),
    ({"type": "string", "pattern": "^[a-z]*$", "maxLength": 2}, ["", "ab"], ["abc", "A"]),
    ({"type": "string", "pattern": r"^\d{2}-\d$", "maxLength": 4, "minLength": 4}, ["12-3"], ["1"]),
    ({"type": "object", "minProperties": 1}, [{"a": 1}], [{}]),
    ({"properties": {"a": {}, "b": {}}, "minProperties": 1}, [{"a": 1}, {"b": 1}], [{}]),
    ({"properties": {"a": {}}, "required": ["a"], "minProperties": 1}, [{"a": 1}], [{}]),
    ({"type": "object", "maxProperties": 1}, [{}, {"x": 1}], [{"x": 1, "y": 2}]),
    ({"type": "object", "maxProperties": 0}, [{}], [{"x": 1}]),
    (
        {"propertyNames": {"enum": ["a", "b"]}, "additionalProperties": {"type": "null"}},
        [{}, {"a": None, "b": None}, {"b": None}],
        [{"c": None}, {"a": 1}],
    ),
    ({"propertyNames": {"pattern": "^x"}}, [{"xy": 1}], [{"y": 1}]),
    ({"patternProperties": {"^x": {"type": "null"}}}, [{"xy": None}], [{"y": 1}, {"xy": 1}]),
    ({"items": {"enum": ["a", "b", "c"]}, "uniqueItems": True}, [[], ["a", "c"]], [["a", "a"]]),
    (
        {"items": {"enum": [1, 1.0, 1e2, 100, True, 1.5]}, "uniqueItems": True},
        [[1, 100.0, True, 1.5], [1.5]],
        [[1, 1.0], [1.0, 1], [100.0, 100]],
    ),
    (
        {"items": {"enum": [{"a": 1, "b": [2]}, {"b": [2.0], "a": 1.0}, 0]}, "uniqueItems": True},
        [[{"a": 1, "b": [2]}, 0]],
        [[{"a": 1, "b": [2]}, {"b": [2.0], "a": 1.0}]],
    ),
    ({"items": {"type": "boolean"}, "uniqueItems": True, "minItems": 2}, [[False, True]], [[True]]),
    ({"items": {}, "uniqueItems": True, "maxItems": 1}, [[], [7]], [[7, 7]]),
    ({"type": "string", "nullable": True}, ["x", None], [1]),
    ({"type": "number", "minimum": 0, "exclusiveMinimum": True}, [0.5], [0]),
    ({"type": "integer", "maximum": 2**63 - 1, "minimum": 0.0}, [0, 5], [-1]),
    (
        {
            "title": "x",
            "deprecated": True,
            "readOnly": True,
            "contentMediaType": "a/b",
            "type": "null",
        },
        [None],
        [1],
    ),
    (
        {
            "oneOf": [
                {
                    "properties": {"A": {}},
                    "required": ["A"],
                    "additionalProperties": False,
                    "type": "object",
                },
                {
                    "properties": {"B": {}},
                    "required": ["B"],
                    "additionalProperties": False,
                    "type": "object",
                },
            ]
        },
        [{"A": 1}, {"B": 1}],
        [{"A": 1, "B": 1}, {}],
    ),
]


def _said(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@pytest.mark.parametrize("case", range(len(CASES)))
def test_a_schema_takes_what_obeys_and_nothing_else(case: int) -> None:
    schema, good, bad = CASES[case]
    grammar = Grammar(schema_grammar(schema))
    assert [value for value in good if not grammar.matches(_said(value))] == []
    assert [value for value in bad if grammar.matches(_said(value))] == []


@pytest.mark.parametrize("seed", range(60))
def test_random_schemas_and_their_grammars_mean_the_same(seed: int) -> None:
    rng = Random(seed)
    schema = random_schema(rng) | {"$defs": {"tree": TREE}}
    grammar = Grammar(schema_grammar(schema))
    for _ in range(8):
        text = grammar.write(rng)
        assert obeys(json.loads(text), schema, schema), f"{text} does not obey {schema}"
    for _ in range(4):
        value = random_value(schema, rng, schema)
        assert obeys(value, schema, schema), "the test's own generator"
        assert grammar.matches(_said(value)), f"{_said(value)} is refused by {schema}"
        stranger = random_value(random_schema(rng), rng, schema)
        if grammar.matches(_said(stranger)):
            assert obeys(stranger, schema, schema), f"{_said(stranger)} is taken by {schema}"


def test_recursion_ends_where_the_value_does() -> None:
    grammar = Grammar(schema_grammar({"$ref": "#/$defs/tree", "$defs": {"tree": TREE}}))
    assert grammar.matches('{"value": 1, "next": {"value": 2}}')
    assert not grammar.matches('{"next": {"value": 2}}')


def test_another_member_cannot_take_the_name_of_one_that_is_known() -> None:
    schema = {
        "properties": {"ab": {"type": "integer"}},
        "additionalProperties": {"type": "string"},
    }
    grammar = Grammar(schema_grammar(schema))
    assert grammar.matches('{"ab":1,"a":"x","abc":"y"}')
    assert not grammar.matches('{"ab":"x"}')
    assert not grammar.matches('{"\\u0061b":"x"}')


def test_all_of_closes_an_object_for_the_other_side() -> None:
    closed = {"properties": {"a": True}, "additionalProperties": False}
    grammar = Grammar(schema_grammar({"allOf": [closed, {"properties": {"b": True}}]}))
    assert grammar.matches('{"a":1}')
    assert not grammar.matches('{"b":1}')


BAD: list[tuple[Any, str, str]] = [
    ({"properties": {"a": {"multipleOf": 0.3}}}, "#/properties/a", "multipleOf"),
    ({"type": "integer", "multipleOf": 97}, "#", "a step of 97 takes too many"),
    ({"type": "integer", "multipleOf": 1234567}, "#", "too many rules"),
    ({"type": "integer", "multipleOf": 23, "minimum": 10**14}, "#", "too many rules"),
    ({"type": "integer", "multipleOf": 0}, "#", "above 0"),
    ({"type": "integer", "multipleOf": 7, "minimum": 1, "maximum": 6}, "#", "no number"),
    ({"type": "array", "uniqueItems": True}, "#", "uniqueItems"),
    ({"not": {}}, "#", "not is"),
    ({"if": {}, "then": {}}, "#", "if is"),
    ({"patternProperties": {"a": {}, "b": {}}}, "#", "patternProperties: one pattern"),
    ({"patternProperties": {"a": {}}, "required": ["b"]}, "#", "beside other names"),
    (
        {"allOf": [{"additionalProperties": False}, {"patternProperties": {"a": {}}}]},
        "#",
        "in allOf",
    ),
    ({"minProperties": 2}, "#", "minProperties: 2, but 0"),
    ({"properties": {"a": {}, "b": {}}, "maxProperties": 1}, "#", "maxProperties: 1, but 2"),
    ({"items": {"enum": [1, 2]}, "uniqueItems": True, "minItems": 3}, "#", "there are 2 values"),
    ({"type": "string", "pattern": "^(ab)*$", "maxLength": 5}, "#", "beside this pattern"),
    ({"type": "number", "minimum": float("1e999")}, "#", "minimum: expected a number"),
    ({"type": "integer", "minimum": 10**18}, "#", "no number of up to 15 digits"),
    ({"dependentRequired": {"a": ["b"]}}, "#", "dependentRequired is"),
    ({"minlength": 3}, "#", "minlength"),
    ({"pattern": "^(?=a)b$"}, "#", "looks around"),
    ({"pattern": "(a)\\1"}, "#", "\\1"),
    ({"pattern": "(a*)*"}, "#", "may be empty"),
    ({"pattern": "(" * 100}, "#", "nested more than"),
    ({"pattern": "a{5000}"}, "#", "more than 2000"),
    ({"pattern": "\\p{L}"}, "#", "\\p"),
    ({"pattern": "["}, "#", "ends too soon"),
    ({"pattern": ["a"]}, "#", "expected a text"),
    ({"pattern": next(iter(FORMAT_OF)), "maxLength": 9}, "#", "looks around"),
    ({"pattern": "a**"}, "#", "two repetitions"),
    ({"$ref": "https://example.org/x"}, "#", "does not point into"),
    ({"$ref": "#/$defs/none"}, "#", "nothing at"),
    ({"$ref": "#anchor"}, "#", "anchors"),
    ({"$ref": "#"}, "cannot be kept", "begins with itself"),
    ({"type": "strin"}, "#", "'strin'"),
    ({"type": "number", "minimum": "0.5"}, "#", "expected a number"),
    ({"type": "integer", "minimum": 5, "maximum": 4}, "#", "no number"),
    ({"type": "string", "minLength": 100_000}, "#", "2000 is the most"),
    ({"minItems": 3, "maxItems": 2}, "#", "less than"),
    ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "#", "several"),
    ({"enum": []}, "#", "enum"),
    ({"properties": {"a": False}, "required": ["a"]}, "#/properties/a", "allows nothing"),
    ({"allOf": [{"type": "string"}, {"type": "null"}]}, "#", "no type"),
    ("text", "#", "expected an object"),
    (False, "#", "allows nothing"),
    ({"allOf": [{"pattern": "a"}, {"pattern": "b"}]}, "#", "pattern twice"),
]


@pytest.mark.parametrize("case", range(len(BAD)))
def test_what_cannot_be_kept_is_refused_by_name_and_path(case: int) -> None:
    schema, path, reason = BAD[case]
    with pytest.raises(InvalidRequest) as caught:
        schema_grammar(schema)
    assert caught.value.field == "json_schema"
    assert path in caught.value.message
    assert reason in caught.value.message


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/$defs/d0", "$defs": {f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2}
                                         for i in range(60)} | {"d60": {"type": "null"}}},
        {"properties": {f"p{i}": {"properties": {f"q{j}": {} for j in range(60)}}
                        for i in range(400)}},
        json.loads('{"items":' * 200 + "{}" + "}" * 200),
        {"enum": [str(index) + "x" * 100 for index in range(2000)]},
    ],
)  # fmt: skip
def test_a_schema_that_would_grow_too_far_is_refused(schema: object) -> None:
    with pytest.raises(InvalidRequest, match="json_schema"):
        schema_grammar(schema)


@pytest.mark.parametrize(("low", "high"), [(0, 25), (3, 50), (19, 39), (0, 21), (20, 21)])
def test_long_strings_have_the_lengths_that_were_asked_for(
    low: int, high: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_scalars, "MAX_REPETITIONS", 20)
    monkeypatch.setattr(json_scalars, "BLOCK", 10)
    schema = {"type": "string", "minLength": low, "maxLength": high}
    grammar = Grammar(schema_grammar(schema))
    taken = [num for num in range(high + 30) if grammar.matches(_said("x" * num))]
    assert taken == list(range(low, high + 1))


def test_a_string_of_any_greatest_length_is_a_small_grammar() -> None:
    assert len(schema_grammar({"type": "string", "maxLength": 2**31})) < 4000


def test_values_that_begin_alike_are_read_once() -> None:
    values = [f"colour {number}" for number in range(200)] + ["colour", 'q"', "", None, 7, 70]
    grammar = Grammar(schema_grammar({"enum": values}))
    assert [value for value in values if not grammar.matches(_said(value))] == []
    assert not any(map(grammar.matches, ['"colour "', '"colour 200"', '"col', "77", "nul"]))
    assert grammar.num_ways('"colour 199"') == 1


def test_a_step_that_takes_many_rules_is_kept_for_shorter_numbers() -> None:
    grammar = Grammar(schema_grammar({"type": "integer", "multipleOf": 23}))
    assert grammar.matches("-230")
    assert grammar.matches(str(23 * 4_000_000))
    assert not grammar.matches("231")


@given(st.lists(st.text('ab"é', max_size=5), min_size=1, max_size=8))
def test_values_that_begin_alike_are_all_there_and_no_others(values: list[str]) -> None:
    grammar = Grammar(schema_grammar({"enum": values}))
    for text in {*values, *(value[:-1] for value in values), *(f"{value}a" for value in values)}:
        written = json.dumps(text, ensure_ascii=False)
        assert grammar.matches(written) == (text in values)


def test_what_many_values_begin_with_is_one_way() -> None:
    values = [f"https://example.com/item-{i:04}" for i in range(500)]
    automaton = Automaton(schema_grammar({"enum": values}))
    automaton.allow(20_000)
    state = automaton.after_bytes(automaton.start, b'"https://example.com/item-0')
    assert isinstance(state, State)
    assert len(state.items) <= 10
