"""One grammar out of a grammar or a schema; what cannot be kept names its field."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.engine.gbnf_oracle import Grammar
from webui.engine.answer_grammar import MAX_SCHEMA_CHARS, answer_grammar
from webui.errors import InvalidRequest

GRAMMAR = 'root ::= "yes" | "no"'


def test_nothing_asked_is_no_grammar() -> None:
    assert answer_grammar("", "") == ""


def test_a_grammar_stays_as_it_is() -> None:
    assert answer_grammar(GRAMMAR, "") == GRAMMAR


def test_a_schema_becomes_a_grammar() -> None:
    grammar = Grammar(answer_grammar("", '{"enum": ["yes", 1]}'))
    assert [said for said in ('"yes"', "1", "yes", '"no"') if grammar.matches(said)] == [
        '"yes"',
        "1",
    ]


@pytest.mark.parametrize(
    ("grammar", "json_schema", "field", "said"),
    [
        (GRAMMAR, "true", "grammar", "not to both"),
        ("root ::= (", "", "grammar", "line 1, column 10"),
        ("", "{", "json_schema", "not JSON"),
        ("", '{"const": NaN}', "json_schema", "NaN is no number"),
        ("", "[" * 100_000, "json_schema", "not JSON"),
        ("", '{"const": ' + "9" * 5000 + "}", "json_schema", "not JSON"),
        ("", json.dumps({"title": "x" * MAX_SCHEMA_CHARS}), "json_schema", "are allowed"),
        ("", "[]", "json_schema", "expected an object"),
    ],
)
def test_what_cannot_be_kept_is_refused(
    grammar: str, json_schema: str, field: str, said: str
) -> None:
    with pytest.raises(InvalidRequest, match=said) as caught:
        answer_grammar(grammar, json_schema)
    assert caught.value.field == field
    assert caught.value.message.startswith(f"{field}: ")


@pytest.mark.parametrize("depth", [65, 400])
def test_a_deep_schema_is_refused(depth: int) -> None:
    schema: Any = True
    for _ in range(depth):
        schema = {"items": schema}
    with pytest.raises(InvalidRequest, match="nested"):
        answer_grammar("", json.dumps(schema))
