from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import pytest

from tests.unit.api.fakes import FINISH, BugError
from webui.api.http_app import create_http_app
from webui.api.page import Page
from webui.chat.views import ModelStatus
from webui.engine.interface import Finish, FinishReason, Prefill, Queued, Text
from webui.errors import (
    Busy,
    ContextLengthExceeded,
    EngineDied,
    InvalidRequest,
    ModelNotLoaded,
)
from webui.messages import Message, Role
from webui.sampling_params import SamplingParams

PATH = "/v1/chat/completions"
HI = [{"role": "user", "content": "hi"}]
USAGE = {
    "prompt_tokens": 5,
    "completion_tokens": 2,
    "total_tokens": 7,
    "prompt_tokens_details": {"cached_tokens": 3},
    "completion_tokens_details": {
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}


async def _ask(client: Any, **body: Any) -> Any:
    return await client.post(PATH, json={"messages": HI, **body})


def _chunks(text: str) -> list[Any]:
    blocks = [b for b in text.split("\n\n") if b and not b.startswith(": queued ")]
    assert all(block.startswith("data: ") and "\n" not in block for block in blocks)
    assert blocks[-1] == "data: [DONE]"
    return [json.loads(block.removeprefix("data: ")) for block in blocks[:-1]]


async def test_completion_is_one_object(client) -> None:
    answer = await _ask(client)
    assert answer.status_code == 200
    body = answer.json()
    assert body.pop("id").startswith("chatcmpl-")
    assert body.pop("created") > 0
    assert body == {
        "object": "chat.completion",
        "model": "Tiny",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": USAGE,
    }


async def test_stream_is_a_role_the_text_a_reason_and_done(client, runtime) -> None:
    runtime.generations.script = [
        Queued(1),
        Prefill(5, 5),
        Text('a"\n\n\0\u2028', 1),
        Text("", 1),
        Text("🙂", 2),
        FINISH,
    ]
    answer = await _ask(client, stream=True)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    chunks = _chunks(answer.text)
    assert [chunk["choices"][0]["delta"] for chunk in chunks] == [
        {"role": "assistant", "content": ""},
        {"content": 'a"\n\n\0\u2028'},
        {"content": "🙂"},
        {},
    ]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, None, None, "stop"]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1
    assert not any("usage" in chunk for chunk in chunks)


async def test_stream_counts_tokens_when_asked(client) -> None:
    answer = await _ask(client, stream=True, stream_options={"include_usage": True, "x": 1})
    *chunks, last = _chunks(answer.text)
    assert all(chunk["usage"] is None for chunk in chunks)
    assert last["choices"] == []
    assert last["usage"] == USAGE


async def test_model_name_with_odd_characters_does_not_break_a_chunk(client, runtime) -> None:
    runtime.pool.current.info.name = 'a\0"b'
    assert _chunks((await _ask(client, stream=True)).text)[1]["choices"][0]["delta"] == {
        "content": "Hel"
    }


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("reason", "said"),
    [
        (FinishReason.STOP, "stop"),
        (FinishReason.LENGTH, "length"),
        (FinishReason.CONTEXT, "length"),
        (FinishReason.ABORT, "stop"),
    ],
)
async def test_finish_reason_is_the_dialects(client, runtime, stream, reason, said) -> None:
    runtime.generations.script = [Finish(reason, FINISH.usage, FINISH.timings)]
    answer = await _ask(client, stream=stream)
    last = _chunks(answer.text)[-1] if stream else answer.json()
    assert last["choices"][0]["finish_reason"] == said


async def test_all_fields_reach_the_engine(client, runtime) -> None:
    await _ask(
        client,
        model="Tiny",
        max_tokens=5,
        temperature=0,
        top_p=0.5,
        top_k=7,
        min_p=0.1,
        repeat_penalty=1.1,
        frequency_penalty=0.2,
        presence_penalty=-0.2,
        seed=3,
        stop=["a", "b"],
        ignore_eos=True,
        user="someone",
        tools=[],
        system_prompt="never bound",
        logit_bias={"1": 5},
    )
    messages, params, _ = runtime.generations.asked[0]
    assert messages == (Message(Role.USER, "hi"),)
    assert params == SamplingParams(
        max_tokens=5,
        temperature=0,
        top_p=0.5,
        top_k=7,
        min_p=0.1,
        repeat_penalty=1.1,
        frequency_penalty=0.2,
        presence_penalty=-0.2,
        seed=3,
        stop=("a", "b"),
        ignore_eos=True,
        logit_bias={1: 5},
    )


async def test_null_stands_for_the_default(client, runtime) -> None:
    fields = ("model", "max_tokens", "temperature", "seed", "stop", "stream", "stream_options")
    await _ask(client, **dict.fromkeys(fields), ignore_eos=None)
    assert runtime.generations.asked[0][1] == SamplingParams()


async def test_newer_name_of_max_tokens_wins(client, runtime) -> None:
    await _ask(client, max_tokens=5, max_completion_tokens=9, stop="x")
    assert runtime.generations.asked[0][1].max_tokens == 9
    assert runtime.generations.asked[0][1].stop == ("x",)


async def test_roles_and_parts_become_our_messages(client, runtime) -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    messages = [
        {"role": "developer", "content": "d"},
        {"role": "system", "content": "s"},
        {"role": "user", "content": parts, "name": "ada"},
        {"role": "assistant", "content": None},
        {"role": "assistant"},
    ]
    await client.post(PATH, json={"messages": messages})
    assert runtime.generations.asked[0][0] == (
        Message(Role.SYSTEM, "d"),
        Message(Role.SYSTEM, "s"),
        Message(Role.USER, "ab"),
        Message(Role.ASSISTANT, ""),
        Message(Role.ASSISTANT, ""),
    )


@pytest.mark.parametrize(
    ("raw", "param"),
    [
        ('"temperature": NaN', "temperature"),
        ('"temperature": Infinity', "temperature"),
        ('"temperature": 3', "temperature"),
        ('"temperature": "hot"', "temperature"),
        ('"top_p": -0.1', "top_p"),
        ('"top_k": -1', "top_k"),
        ('"min_p": 1e999', "min_p"),
        ('"seed": 1e30', "seed"),
        ('"seed": 9223372036854775808', "seed"),
        ('"max_tokens": 0', "max_tokens"),
        ('"max_completion_tokens": 0', "max_completion_tokens"),
        ('"max_completion_tokens": 0, "max_tokens": 5', "max_completion_tokens"),
        ('"stop": ""', "stop.0"),
        ('"stop": 5', "stop"),
        ('"stop": ["a",""]', "stop.1"),
        ('"stream": "yes"', "stream"),
        ('"messages": []', "messages"),
        ('"messages": [{"role":"tool","content":"x"}]', "messages.0.role"),
        ('"messages": [{"role":"user","content":5}]', "messages.0.content"),
        ('"messages": [{"role":"user","content":[{"type":"image_url"}]}]', None),
        ('"messages": "hi"', "messages"),
    ],
)
async def test_value_out_of_range_is_400_naming_the_field(client, runtime, raw, param) -> None:
    body = '{"messages":[{"role":"user","content":"hi"}],' + raw + "}"
    kind = {"content-type": "application/json"}
    answer = await client.post(PATH, content=body, headers=kind)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert set(error) == {"message", "type", "param", "code"}
    if param is not None:
        assert error["param"] == param
    assert runtime.generations.asked == []


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"temperature": 5}, "temperature must be at most 2"),
        ({"max_completion_tokens": 0}, "max_completion_tokens must be at least 1"),
        ({"stop": 5}, "stop must be text or a list"),
        ({"messages": []}, "messages must not be empty"),
    ],
)
async def test_wrong_value_is_told_in_a_plain_sentence(client, body, said) -> None:
    answer = await _ask(client, **body)
    assert answer.json()["error"]["message"] == said


@pytest.mark.parametrize("model", ["", "Tiny", "tiny.gguf"])
async def test_loaded_model_answers_to_its_names(client, model) -> None:
    assert (await _ask(client, model=model)).json()["model"] == "Tiny"


@pytest.mark.parametrize("stream", [False, True])
async def test_other_model_is_404(client, stream) -> None:
    answer = await _ask(client, model="gpt-9", stream=stream)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"
    assert answer.json()["error"]["param"] == "model"


async def test_models_lists_the_loaded_one(client, runtime) -> None:
    listed = (await client.get("/v1/models")).json()
    assert listed["object"] == "list"
    assert [(entry["id"], entry["object"]) for entry in listed["data"]] == [("Tiny", "model")]
    assert listed["data"][0]["created"] == 0
    runtime.pool.current = None
    assert (await client.get("/v1/models")).json()["data"] == []


async def test_model_was_created_when_its_file_was_written(client, runtime, tmp_path) -> None:
    runtime.catalog.path = tmp_path / "tiny.gguf"
    runtime.catalog.path.touch()
    os.utime(runtime.catalog.path, (1_700_000_000.5, 1_700_000_000.5))
    listed = (await client.get("/v1/models")).json()
    assert listed["data"][0]["created"] == 1_700_000_000


async def test_model_that_failed_to_load_is_not_said_to_be_loaded(client, runtime) -> None:
    runtime.pool.current = runtime.pool.current_id = None
    runtime.pool.status = ModelStatus(state="failed", model_id="tiny.gguf", name="Tiny")
    runtime.generations.script = [ModelNotLoaded("Tiny cannot be loaded: damaged")]
    answer = await _ask(client, model="another")
    assert answer.status_code == 503
    assert answer.json()["error"]["message"] == "Tiny cannot be loaded: damaged"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (ModelNotLoaded("none"), 503, "server_error"),
        (ContextLengthExceeded("9 > 8"), 400, "invalid_request_error"),
        (InvalidRequest("template"), 400, "invalid_request_error"),
        (Busy("full", retry_after_s=4), 429, "rate_limit_error"),
    ],
)
async def test_error_before_the_first_word_has_its_status(
    client, runtime, stream, error, status, kind
) -> None:
    runtime.generations.script = [error]
    answer = await _ask(client, stream=stream)
    assert answer.status_code == status
    assert answer.json()["error"]["type"] == kind
    assert answer.json()["error"]["code"] == error.code
    assert runtime.generations.is_closed.is_set()
    assert answer.headers.get("retry-after") == ("4" if status == 429 else None)


async def test_error_in_mid_stream_is_told_in_the_stream(client, runtime) -> None:
    runtime.generations.script = [Text("He", 1), EngineDied("the worker ended", "Try again.")]
    answer = await _ask(client, stream=True)
    assert answer.status_code == 200
    chunks = _chunks(answer.text)
    assert chunks[1]["choices"][0]["delta"] == {"content": "He"}
    assert chunks[-1]["error"] == {
        "message": "the worker ended. Try again.",
        "type": "server_error",
        "param": None,
        "code": "engine_died",
    }


async def test_error_in_mid_reply_fails_the_whole_object(client, runtime) -> None:
    runtime.generations.script = [Text("He", 1), EngineDied("the worker ended")]
    assert (await _ask(client)).status_code == 503


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("script", [[], [Text("He", 1)]])
async def test_engine_that_says_no_reason_is_an_error(client, runtime, stream, script) -> None:
    runtime.generations.script = script
    answer = await _ask(client, stream=stream)
    assert "engine_error" in answer.text


async def test_bug_in_mid_stream_is_logged_once_and_told_without_details(
    client, runtime, caplog
) -> None:
    runtime.generations.script = [Text("He", 1), BugError("/home/zoe")]
    answer = await _ask(client, stream=True)
    assert _chunks(answer.text)[-1]["error"]["code"] == "internal_error"
    assert "zoe" not in answer.text
    assert len([record for record in caplog.records if record.exc_info]) == 1


async def _serve(app: Any, messages: asyncio.Queue[Any], *, stream: bool) -> tuple[Any, list[Any]]:
    """Begin a completion on a connection that the test holds in its hands."""
    body = json.dumps({"messages": HI, "stream": stream}).encode()
    messages.put_nowait({"type": "http.request", "body": body})
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": PATH,
        "raw_path": PATH.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [
            (b"host", b"localhost"),
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ],
    }
    return asyncio.create_task(app(scope, messages.get, send)), sent


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("begun", [False, True])
async def test_gone_client_ends_the_completion(app, runtime, stream, begun) -> None:
    never = asyncio.Event()
    runtime.generations.script = [Text("He", 1), never] if begun else [never]
    messages: asyncio.Queue[Any] = asyncio.Queue()
    serving, sent = await _serve(app, messages, stream=stream)
    await runtime.generations.is_begun.wait()
    messages.put_nowait({"type": "http.disconnect"})
    async with asyncio.timeout(1):
        await runtime.generations.is_closed.wait()
        await serving
    assert not any(b"DONE" in message.get("body", b"") for message in sent)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("begun", [False, True])
async def test_end_of_the_server_is_told_and_ends_the_completion(
    ui_folder, runtime, stream, begun
) -> None:
    app = create_http_app(runtime, Page(ui_folder))
    never = asyncio.Event()
    runtime.generations.script = [Text("He", 1), never] if begun else [never]
    serving, sent = await _serve(app, asyncio.Queue(), stream=stream)
    await runtime.generations.is_begun.wait()
    while begun and stream and not sent:  # noqa: ASYNC110 - turns of the loop, no time
        await asyncio.sleep(0)
    app.state.streams.close()
    async with asyncio.timeout(1):
        await serving
    assert runtime.generations.is_closed.is_set()
    assert sent[0]["status"] == (200 if begun and stream else 503)
    assert b"server_ending" in b"".join(message.get("body", b"") for message in sent)
    assert not sent[-1].get("more_body", False)
