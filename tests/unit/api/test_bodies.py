"""Whatever bytes arrive: the answer is a clean refusal, never a 500."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from fastapi import FastAPI

KIND = {"content-type": "application/json"}
PATHS = [
    ("POST", "/api/conversations"),
    ("PATCH", "/api/conversations/c1"),
    ("POST", "/api/conversations/c1/messages"),
    ("PUT", "/api/parameters"),
    ("POST", "/api/models/load"),
    ("POST", "/v1/chat/completions"),
]
MALFORMED = [
    b"{",
    b"nope",
    b'{"a":1,}',
    b"{'a':1}",
    b'{"title":"\xff\xfe"}',
    b'{"title":"\xed\xa0\x80"}',
    b'{"title":"\xc0\xaf"}',
    b'{"title":"\\ud800"}',
    b'{"title":"\\udc00"}',
    b'{"title":"a\\ud800b"}',
    b'{"title":"\\ud800\\ud800"}',
    b'{"\\ud800":1}',
    b'{"title":"\\u12"}',
    b'{"title":"\n"}',
    b"\xef\xbb\xbf{}",
    "{}".encode("utf-16"),
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b"\0",
    b"{}{}",
]


@pytest.mark.parametrize(("method", "path"), PATHS)
@pytest.mark.parametrize("raw", MALFORMED, ids=lambda raw: repr(raw[:24]))
async def test_malformed_json_is_400(client, method, path, raw) -> None:
    answer = await client.request(method, path, content=raw, headers=KIND)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "malformed_body"


async def test_half_character_in_a_message_is_400(client, runtime) -> None:
    for raw in (b'{"mode":"send","text":"\\ud83d"}', b'{"mode":"send","text":"\xed\xb0\x80"}'):
        answer = await client.post("/api/conversations/c1/messages", content=raw, headers=KIND)
        assert answer.status_code == 400
    whole = b'{"mode":"send","text":"\\ud83d\\ude42"}'
    await client.post("/api/conversations/c1/messages", content=whole, headers=KIND)
    assert runtime.conversations.calls == [("send", "c1", None, "🙂")]


FIELDS = (
    *("mode", "text", "title", "message_id", "parent_id", "model_id", "options", "messages"),
    *("role", "content", "type", "temperature", "stop", "seed", "stream", "max_tokens", "top_k"),
    *("model", "stream_options"),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(FIELDS) | st.text(max_size=5),
            inner,
            max_size=6,
        )
    ),
    max_leaves=12,
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.one_of(JSON.map(json.dumps).map(str.encode), st.binary(max_size=200)))
def test_no_body_ends_in_a_server_error(app: FastAPI, raw: bytes) -> None:
    async def ask_all() -> list[tuple[str, int]]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return [
                (path, (await client.request(method, path, content=raw, headers=KIND)).status_code)
                for method, path in PATHS
            ]

    answers: list[Any] = asyncio.run(ask_all())
    assert not [answer for answer in answers if answer[1] >= 500]
