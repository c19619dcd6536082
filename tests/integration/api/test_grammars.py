"""Grammars and schemas from a client to llama.cpp: kept, or refused without harm."""

from __future__ import annotations

import json
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
    schema = {"$ref": "#"}
    answer = await client.post(CHAT, json=HI | {"json_schema": schema})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "json_schema")
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
