"""What clients of the OpenAI dialect take for granted: signs of life, plain refusals, many prompts."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.unit.api.fakes import FINISH
from webui.api.openai.answers import CompletionStream, Heading
from webui.api.openai.fan import numbered
from webui.api.openai.shapes import ChatShape
from webui.api.sse import KEEP_ALIVE, Streams
from webui.engine.interface import Text
from webui.errors import EngineDied, ModelNotLoaded

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
HI = [{"role": "user", "content": "hi"}]
KEEP_ALIVE_S = 0.01
HEADING = Heading(
    shape=ChatShape(),
    completion_id="chatcmpl-1",
    model="Tiny",
    num_choices=1,
    with_logprobs=False,
    with_usage=False,
)


class Wire:
    """The client's side of one answer."""

    def __init__(self) -> None:
        self.status = 0
        self.body = b""
        self.news = asyncio.Event()

    async def receive(self) -> Any:
        await asyncio.Event().wait()

    async def send(self, message: Any) -> None:
        self.status = message.get("status", self.status)
        self.body += message.get("body", b"")
        self.news.set()

    async def until(self, num_comments: int) -> None:
        while self.body.count(KEEP_ALIVE) < num_comments:
            self.news.clear()
            await self.news.wait()


def _answer(wire: Wire, deltas: Any) -> asyncio.Task[None]:
    stream = CompletionStream(Streams(), numbered([deltas]), HEADING, keep_alive_s=KEEP_ALIVE_S)
    return asyncio.create_task(stream({"path": CHAT}, wire.receive, wire.send))


def _data(body: bytes) -> list[Any]:
    blocks = body.decode().split("\n\n")
    return [json.loads(b[6:]) for b in blocks if b.startswith("data: ") and b[6:] != "[DONE]"]


async def test_stream_that_waits_writes_comments_behind_its_beginning() -> None:
    go_on = asyncio.Event()

    async def deltas() -> Any:
        await go_on.wait()
        yield Text("Hello", 1)
        yield FINISH

    wire = Wire()
    task = _answer(wire, deltas())
    await wire.until(2)
    assert wire.status == 200
    assert [chunk["choices"][0]["delta"] for chunk in _data(wire.body)] == [
        {"role": "assistant", "content": ""}
    ]
    go_on.set()
    await task
    texts = [chunk["choices"][0]["delta"].get("content") for chunk in _data(wire.body)]
    assert texts == ["", "Hello", None]
    assert wire.body.endswith(b"data: [DONE]\n\n")


async def test_error_behind_a_comment_is_told_in_the_stream() -> None:
    go_on = asyncio.Event()

    async def deltas() -> Any:
        await go_on.wait()
        raise EngineDied("gone", "again")
        yield

    wire = Wire()
    task = _answer(wire, deltas())
    await wire.until(1)
    go_on.set()
    await task
    assert wire.status == 200
    assert _data(wire.body)[-1]["error"]["code"] == "engine_died"


async def test_stream_that_writes_has_no_comments(client) -> None:
    answer = await client.post(CHAT, json={"messages": HI, "stream": True})
    assert KEEP_ALIVE not in answer.content


@pytest.mark.parametrize("path", [CHAT, TEXT])
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"tools": {}}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"function_call": {"name": "f"}}, "function_call"),
        ({"best_of": 2}, "best_of"),
        ({"best_of": "x"}, "best_of"),
        ({"best_of": True}, "best_of"),
    ],
    ids=str,
)
async def test_what_nobody_does_here_is_refused_by_name(client, runtime, path, body, field) -> None:
    answer = await client.post(path, json={"messages": HI, "prompt": "Once", **body})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, field)
    assert "not supported" in error["message"]
    assert runtime.generations.asked == []


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({"role": "tool", "content": "4", "tool_call_id": "1"}, "messages.1.role"),
        ({"role": "function", "content": "4", "name": "f"}, "messages.1.role"),
        ({"role": "assistant", "tool_calls": [{"id": "1"}]}, "messages.1.tool_calls"),
        ({"role": "assistant", "function_call": {"name": "f"}}, "messages.1.function_call"),
    ],
    ids=str,
)
async def test_turn_about_a_tool_is_refused(client, runtime, message, field) -> None:
    answer = await client.post(CHAT, json={"messages": [*HI, message]})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, field)
    assert "tool calls are not supported yet" in error["message"]
    assert runtime.generations.asked == []


@pytest.mark.parametrize(
    "body",
    [
        {"tools": [], "tool_choice": "auto", "functions": [], "function_call": "none"},
        {"tools": None, "tool_choice": "none", "best_of": 1},
        {"tool_choice": None, "best_of": None},
    ],
    ids=str,
)
async def test_fields_that_ask_for_nothing_are_let_through(client, body) -> None:
    assert (await client.post(CHAT, json={"messages": HI, **body})).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
async def test_several_prompts_are_answered_one_behind_the_other(client, runtime, stream) -> None:
    options = {"stream_options": {"include_usage": True}} if stream else {}
    body = {"prompt": ["a", "b"], "n": 2, "seed": 5, "echo": True, "stream": stream, **options}
    answer = await client.post(TEXT, json=body)
    asked = [(more["plain_text"], params.seed) for _, params, more in runtime.generations.asked]
    assert asked == [("a", 5), ("a", 6), ("b", 5), ("b", 6)]
    assert runtime.generations.admissions == [4] * 4
    parts = _data(answer.content) if stream else [answer.json()]
    texts = ["", "", "", ""]
    for choice in (choice for part in parts for choice in part["choices"]):
        texts[choice["index"]] += choice["text"]
    assert texts == ["aHello", "aHello", "bHello", "bHello"]
    assert parts[-1]["usage"]["prompt_tokens"] == 10  # of two prompts, not of four replies
    assert parts[-1]["usage"]["completion_tokens"] == 8
    assert parts[-1]["usage"]["prompt_tokens_details"]["cached_tokens"] == 6


@pytest.mark.parametrize("path", [CHAT, "/api/parameters"])
async def test_body_that_is_nested_too_deep_hears_how_deep_it_may_be(client, path) -> None:
    deep = '{"a":' * 201 + "1" + "}" * 201
    kind = {"content-type": "application/json"}
    method = client.post if path == CHAT else client.put
    answer = await method(path, content=f'{{"json_schema": {deep}}}', headers=kind)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "malformed_body")
    assert "nested too deep; 200 levels are read" in error["message"]


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (EngineDied("gone", "later", retry_after_s=41.2), "42"),
        (ModelNotLoaded("leaving", "later", retry_after_s=3), "3"),
        (EngineDied("gone", "again"), None),
    ],
    ids=str,
)
async def test_model_that_comes_back_says_when(client, runtime, error, seconds) -> None:
    runtime.generations.script = [error]
    answer = await client.post(CHAT, json={"messages": HI})
    assert (answer.status_code, answer.headers.get("retry-after")) == (503, seconds)


async def test_list_of_one_prompt_is_that_prompt(client, runtime) -> None:
    assert (await client.post(TEXT, json={"prompt": ["a"]})).status_code == 200
    assert [more["plain_text"] for _, _, more in runtime.generations.asked] == ["a"]


@pytest.mark.parametrize(
    ("body", "field", "said"),
    [
        ({"prompt": [1, 2]}, "prompt", "token ids"),
        ({"prompt": [[1, 2]]}, "prompt", "token ids"),
        ({"prompt": ["a", None]}, "prompt.1", "must be text"),
        ({"prompt": []}, "prompt", "empty"),
        ({"prompt": None}, "prompt", "must be text"),
        ({"prompt": {"a": 1}}, "prompt", "must be text"),
        ({"prompt": ["a"] * 17}, "prompt", "16"),
        ({"prompt": ["a"] * 9, "n": 2}, "n", "16"),
        ({}, "prompt", "missing"),
    ],
    ids=str,
)
async def test_prompts_that_are_none_or_too_many_are_refused(
    client, runtime, body, field, said
) -> None:
    answer = await client.post(TEXT, json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, field)
    assert said in error["message"]
    assert runtime.generations.asked == []
