"""Grammars and schemas from a client to llama.cpp: kept, or refused without harm."""

from __future__ import annotations

import asyncio
import json
from datetime import date
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest

from tests.tiny_gguf import write_tiny_gguf
from webui.app import create_app
from webui.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

CHAT = "/v1/chat/completions"
HI = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 60}


# Each of them ended llama.cpp's process where nobody looked at it first.
HOSTILE = {
    "open parenthesis": "root ::= (",
    "left recursion": 'root ::= root "a"',
    "undefined rule": "root ::= thing",
    "no root": 'start ::= "a"',
    "repeated too often": 'root ::= "a"{100000}',
    "30k parentheses": "root ::= " + "(" * 30_000,
    "unknown token": "root ::= <no such token>",
    "30k nested parentheses, closed": "root ::= " + "(" * 30_000 + '"a"' + ")" * 30_000,
    "left recursion behind what may be empty": 'root ::= a root "b"\na ::= "x"*',
    "repeats of repeats": 'root ::= ((("a"{1000}){1000}){1000}){1000}',
    "endless nothing": 'root ::= (""*)*',
    "a zero character": 'root ::= "a\0b" (',
}
TRIGGER = {"type": 1, "value": "a"}
HOSTILE_SCHEMAS: dict[str, Any] = {
    "refers to itself": {"$ref": "#"},
    "refers to nothing": {"$ref": "#/$defs/nothing"},
    "pattern out of nothing": {"type": "string", "pattern": "^(" + "(" * 500 + "$"},
    "too many repeats": {"type": "string", "minLength": 10**9},
}
HOSTILE_TRIGGERS: dict[str, Any] = {
    "catastrophic pattern": [{"type": 2, "value": "(a+)+$"}],
    "pattern of the whole": [{"type": 3, "value": "(.*)*"}],
    "word that the grammar does not begin with": [{"type": 1, "value": "b"}],
    "empty word": [{"type": 1, "value": ""}],
    "long word": [{"type": 1, "value": "a" * 30_000}],
    "zero character": [{"type": 1, "value": "a\0"}],
    "token of no model": [{"type": 0, "token": 2**31 - 1, "value": ""}],
    "token beyond 64 bits": [{"type": 0, "token": 2**70, "value": ""}],
    "negative token": [{"type": 0, "token": -5, "value": ""}],
    "none": [],
    "too many": [TRIGGER] * 1000,
}


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    models = tmp_path / "models"
    models.mkdir()
    write_tiny_gguf(models / "tiny.gguf", context_length=512)
    settings = Settings(data_dir=tmp_path / "data", models_dir=models, ui=False, model="tiny.gguf")
    app = create_app(settings)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://localhost:7860", timeout=30
        ) as client,
    ):
        yield client


async def _said(client: httpx.AsyncClient, **body: Any) -> str:
    answer = await client.post(CHAT, json=HI | body)
    assert answer.status_code == 200, answer.text
    text: str = answer.json()["choices"][0]["message"]["content"]
    return text


def _children() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True)}


async def test_hostile_grammars_are_refused_and_the_worker_lives_on(
    client: httpx.AsyncClient,
) -> None:
    assert await _said(client, grammar='root ::= "well"') == "well"
    workers = _children()
    assert workers
    for name, grammar in HOSTILE.items():
        for stream in (False, True):
            answer = await client.post(CHAT, json=HI | {"grammar": grammar, "stream": stream})
            assert answer.status_code == 400, (name, answer.text)
            assert answer.json()["error"]["param"] == "grammar"
        lazy = {"grammar": grammar, "grammar_lazy": True, "grammar_triggers": [TRIGGER]}
        answer = await client.post(CHAT, json=HI | lazy)
        assert answer.status_code == 400, (name, answer.text)
        assert answer.json()["error"]["param"] == "grammar"
    for name, schema in HOSTILE_SCHEMAS.items():
        for more in ({}, {"grammar_lazy": True, "grammar_triggers": [TRIGGER]}):
            answer = await client.post(CHAT, json=HI | {"json_schema": schema} | more)
            assert answer.status_code == 400, (name, answer.text)
            assert answer.json()["error"]["param"] == "json_schema", (name, answer.text)
    for name, triggers in HOSTILE_TRIGGERS.items():
        lazy = {"grammar": 'root ::= "a" [b]*', "grammar_lazy": True, "grammar_triggers": triggers}
        answer = await client.post(CHAT, json=HI | lazy)
        assert answer.status_code == 400, (name, answer.text)
        assert answer.json()["error"]["param"].startswith("grammar_triggers")
    assert await _said(client, grammar='root ::= "well"') == "well"
    assert _children() == workers


async def test_answer_is_the_json_that_was_asked_for(client: httpx.AsyncClient) -> None:
    schema = {
        "type": "object",
        "properties": {"on": {"type": "boolean"}, "side": {"enum": ["left", "right"]}},
        "required": ["on", "side"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "lamp", "schema": schema}}
    value = json.loads(await _said(client, response_format=wanted, temperature=1, seed=3))
    assert set(value) == {"on", "side"}
    assert isinstance(value["on"], bool)
    assert value["side"] in {"left", "right"}


async def test_answer_keeps_bounds_steps_and_formats(client: httpx.AsyncClient) -> None:
    schema = {
        "title": "Reading",
        "type": "object",
        "properties": {
            "level": {"type": "number", "minimum": 0, "exclusiveMaximum": 0.75},
            "step": {"type": "integer", "multipleOf": 7, "minimum": -70, "maximum": 700},
            "day": {"type": "string", "format": "date"},
            "kinds": {"type": "array", "items": {"enum": ["a", "b"]}, "uniqueItems": True},
        },
        "required": ["level", "step", "day", "kinds"],
    }
    for seed in range(3):
        text = await _said(client, json_schema=schema, temperature=2, seed=seed, max_tokens=400)
        value = json.loads(text)
        assert list(value) == ["level", "step", "day", "kinds"]
        assert 0 <= value["level"] < 0.75
        assert value["step"] % 7 == 0
        assert -70 <= value["step"] <= 700
        assert date.fromisoformat(value["day"])
        assert value["kinds"] in ([], ["a"], ["b"], ["a", "b"])
    refused = await client.post(CHAT, json=HI | {"json_schema": {"not": {"type": "null"}}})
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "json_schema"
    assert "not is not supported" in refused.text
    assert "enum, type, pattern or bounds" in refused.text


CONTRADICTIONS: dict[str, Any] = {
    "strings": {"grammar": 'root ::= "yes" | "no"', "banned_strings": ["e", "no"]},
    "strings in a schema": {"json_schema": {"const": "yes"}, "banned_strings": ["yes"]},
    "tokens": {"grammar": "root ::= [ab]+", "banned_tokens": [*b"ab"]},
    "biases": {"grammar": 'root ::= "a"', "logit_bias": [[ord("a"), False]]},
    "a token that is never written": {"grammar": "root ::= <|im_start|>"},
    "tokens behind the first": {"grammar": 'root ::= "x" [ab]', "banned_tokens": [*b"ab"]},
}


async def test_contradiction_is_the_client_s_and_harms_nobody(client: httpx.AsyncClient) -> None:
    assert await _said(client, grammar='root ::= "well"') == "well"
    workers = _children()
    for name, body in CONTRADICTIONS.items():
        beside = asyncio.create_task(_said(client, grammar='root ::= "well" "!"{30}'))
        answer = await client.post(CHAT, json=HI | body)
        assert answer.status_code == 400, (name, answer.text)
        assert answer.json()["error"]["code"] == "nothing_allowed", name
        assert await beside == "well" + "!" * 30
    for name, body in CONTRADICTIONS.items():
        streamed = await client.post(CHAT, json=HI | body | {"stream": True})
        assert streamed.status_code == (200 if name == "tokens behind the first" else 400), name
    assert '"content":"x"' in streamed.text
    assert '"code":"nothing_allowed"' in streamed.text
    assert streamed.text.endswith("data: [DONE]\n\n")
    assert _children() == workers
