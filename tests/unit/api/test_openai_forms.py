"""What a reply must look like, in the three ways that clients say it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.api.fakes import FINISH
from webui.engine.answer_form import AnswerForm
from webui.engine.interface import GrammarTrigger

ROUTES = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "hi"}]},
    "/v1/completions": {"prompt": "hi"},
}
SCHEMA = {"type": "object", "properties": {"b": {"type": "null"}, "a": {"type": "null"}}}
WRAPPED = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": SCHEMA}}
GRAMMAR = 'root ::= "a"'
WORD = {"type": 1, "value": "<a>"}
TOKEN = {"type": 0, "value": "<a>", "token": 7}
LAZY = {"grammar": GRAMMAR, "grammar_lazy": True}


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    ("body", "form"),
    [
        ({}, AnswerForm()),
        ({"response_format": None, "grammar": "", "json_schema": None}, AnswerForm()),
        ({"response_format": {"type": "text"}}, AnswerForm()),
        ({"grammar": GRAMMAR, "response_format": {"type": "text"}}, AnswerForm(GRAMMAR)),
        ({"response_format": {"type": "json_object"}}, AnswerForm("", '{"type": "object"}')),
        (
            {"response_format": {"type": "json_object", "schema": SCHEMA}},
            AnswerForm("", json.dumps(SCHEMA)),
        ),
        ({"response_format": WRAPPED}, AnswerForm("", json.dumps(SCHEMA))),
        ({"json_schema": SCHEMA}, AnswerForm("", json.dumps(SCHEMA))),
        ({"json_schema": {}}, AnswerForm("", "{}")),
        ({"grammar": GRAMMAR, "grammar_triggers": [WORD]}, AnswerForm(GRAMMAR)),
        (
            {"grammar": GRAMMAR, "grammar_lazy": True, "grammar_triggers": [WORD, TOKEN]},
            AnswerForm(GRAMMAR, "", (GrammarTrigger("<a>"), GrammarTrigger(token=7))),
        ),
        (
            {"json_schema": {}, "grammar_lazy": True, "grammar_triggers": [WORD]},
            AnswerForm("", "{}", (GrammarTrigger("<a>"),)),
        ),
    ],
)
async def test_form_reaches_the_engine(
    client: Any, runtime: Any, route: str, body: dict[str, Any], form: AnswerForm
) -> None:
    runtime.generations.script = [FINISH]
    answer = await client.post(route, json=ROUTES[route] | body)
    assert answer.status_code == 200
    assert runtime.generations.asked[0][2]["form"] == form


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"response_format": {"type": "yaml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
            "response_format.json_schema.schema",
        ),
        ({"grammar": 7}, "grammar"),
        (LAZY, "grammar_triggers"),
        (LAZY | {"grammar_triggers": []}, "grammar_triggers"),
        (LAZY | {"grammar_triggers": [{"type": 2, "value": "(a+)+$"}]}, "grammar_triggers"),
        (LAZY | {"grammar_triggers": [{"type": 3, "value": ".*"}]}, "grammar_triggers"),
        (LAZY | {"grammar_triggers": [{"type": 9, "value": "a"}]}, "grammar_triggers"),
        (LAZY | {"grammar_triggers": [{"type": 0, "value": "a"}]}, "grammar_triggers"),
        (LAZY | {"grammar_triggers": [WORD, TOKEN | {"token": 2**70}]}, "grammar_triggers.1.token"),
        (LAZY | {"grammar_triggers": [WORD] * 33}, "grammar_triggers"),
        ({"grammar": GRAMMAR, "json_schema": SCHEMA}, "response_format"),
        ({"response_format": WRAPPED, "json_schema": SCHEMA}, "response_format"),
    ],
)
async def test_form_that_is_none_is_refused(
    client: Any, runtime: Any, route: str, body: dict[str, Any], field: str
) -> None:
    answer = await client.post(route, json=ROUTES[route] | body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == field
    assert runtime.generations.asked == []
