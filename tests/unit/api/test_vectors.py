from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest

from tests.unit.api.fakes import VECTOR
from webui.chat.embeddings import VectorForm
from webui.engine.interface import EmbedResult, Pooling
from webui.errors import Busy, ContextLengthExceeded, InvalidRequest, ModelNotLoaded

EMBEDDINGS, RERANK = "/v1/embeddings", "/v1/rerank"
DOCUMENTS = {"query": "q", "documents": ["a", "b"]}


async def test_vectors_are_a_list_of_numbers_with_usage(client, runtime) -> None:
    answer = await client.post(EMBEDDINGS, json={"input": ["a", "ü"], "model": "Tiny"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    (first, second) = answer.json().pop("data")
    assert first == {"object": "embedding", "index": 0, "embedding": [0.5, -0.25]}
    assert (second["index"], len(second["embedding"])) == (1, 2)
    assert answer.json()["usage"] == {"prompt_tokens": 9, "total_tokens": 9}
    assert (answer.json()["object"], answer.json()["model"]) == ("list", "Tiny")
    assert runtime.embeddings.calls == [("embed", ["a", "ü"], VectorForm())]


async def test_base64_is_the_bytes_of_float32(client) -> None:
    answer = await client.post(EMBEDDINGS, json={"input": "a", "encoding_format": "base64"})
    assert base64.b64decode(answer.json()["data"][0]["embedding"]) == VECTOR


async def test_one_text_and_dimensions_reach_the_use_case(client, runtime) -> None:
    await client.post(EMBEDDINGS, json={"input": "a", "dimensions": 2, "user": "x"})
    assert runtime.embeddings.calls == [("embed", ["a"], VectorForm(size=2))]


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        ({}, "input", "input is missing"),
        ({"input": None}, "input", "input must be text or a list of texts"),
        ({"input": {"a": 1}}, "input", "input must be text or a list of texts"),
        ({"input": [1, 2]}, "input", "lists of token ids are not supported. Send the texts"),
        ({"input": [[1, 2]]}, "input", "lists of token ids are not supported"),
        ({"input": ["a", {}]}, "input.1", "input.1 must be text"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format", "'float' or 'base64'"),
        ({"input": "a", "dimensions": 0}, "dimensions", "must be at least 1"),
        ({"input": "a", "pooling": "rank"}, "pooling", "'none', 'mean', 'cls' or 'last'"),
        ({"input": "a", "normalize": 1}, "normalize", "must be true or false"),
        ({"input": "a", "truncate": "yes"}, "truncate", "must be true or false"),
        ({"input": "a", "service_tier": "fast"}, "service_tier", "'flex' or 'priority'"),
    ],
)
async def test_wrong_embeddings_body_is_400_and_names_the_field(
    client, runtime, body: Any, param: str, message: str
) -> None:
    answer = await client.post(EMBEDDINGS, json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, param)
    assert error["type"] == "invalid_request_error"
    assert message in error["message"]
    assert runtime.embeddings.calls == []


async def test_form_of_the_vectors_reaches_the_use_case(client, runtime) -> None:
    asked = {"input": "a", "pooling": "cls", "normalize": False, "truncate": True}
    await client.post(EMBEDDINGS, json=asked)
    await client.post(EMBEDDINGS, json={"input": "a"} | dict.fromkeys(asked.keys() - {"input"}))
    form = VectorForm(pooling=Pooling.CLS, normalise=False, truncate=True)
    assert [call[2] for call in runtime.embeddings.calls] == [form, VectorForm()]


async def test_vectors_of_tokens_are_lists_of_vectors(client, runtime) -> None:
    made = EmbedResult(vectors=(VECTOR + VECTOR[::-1] + VECTOR, VECTOR, b""), num_tokens=4)
    runtime.embeddings.answers["embed"] = made
    asked = {"input": ["a b c", "d", ""], "pooling": "none"}
    data = (await client.post(EMBEDDINGS, json=asked)).json()["data"]
    first = data[0]["embedding"]
    assert (len(first), first[0], first[2]) == (3, [0.5, -0.25], [0.5, -0.25])
    assert [entry["embedding"] for entry in data[1:]] == [[[0.5, -0.25]], []]
    asked["encoding_format"] = "base64"
    data = (await client.post(EMBEDDINGS, json=asked)).json()["data"]
    assert [base64.b64decode(each) for each in data[0]["embedding"]] == [
        VECTOR,
        VECTOR[::-1],
        VECTOR,
    ]


@pytest.mark.parametrize(
    ("tier", "told"),
    [(None, {}), ("auto", {}), ("priority", {}), ("flex", {"is_background": True})],
)
async def test_flex_is_background_work(client, runtime, tier, told) -> None:
    await client.post(EMBEDDINGS, json={"input": "a", "service_tier": tier})
    await client.post(RERANK, json=DOCUMENTS | {"service_tier": tier, "truncate": True})
    embed, rank = runtime.embeddings.calls
    assert embed[3:] == ((told,) if told else ())
    assert rank[3] == {"truncate": True, **told}


async def test_ranking_is_results_best_first_with_usage(client, runtime) -> None:
    body = {"query": "q", "documents": ["a", {"text": "b"}], "top_n": 2}
    answer = await client.post(RERANK, json=body)
    assert answer.json() == {
        "object": "list",
        "model": "Tiny",
        "results": [
            {"index": 1, "relevance_score": 2.5},
            {"index": 0, "relevance_score": -1.0},
        ],
        "usage": {"prompt_tokens": 12, "total_tokens": 12},
    }
    assert runtime.embeddings.calls == [("rank", "q", ["a", "b"], {"max_ranked": 2})]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"query": None}, "query"),
        ({"query": ["q"]}, "query"),
        ({"documents": "a"}, "documents"),
        ({"documents": ["a", 1]}, "documents.1"),
        ({"top_n": 0}, "top_n"),
        ({"truncate": 1}, "truncate"),
        ({"service_tier": "scale"}, "service_tier"),
    ],
)
async def test_wrong_rerank_body_is_400_and_names_the_field(client, change, param: str) -> None:
    answer = await client.post(RERANK, json=DOCUMENTS | change)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidRequest("Tiny makes no embeddings", field="input"), 400),
        (ContextLengthExceeded("Input 0 has 600 tokens"), 400),
        (Busy("The queue is full", retry_after_s=3), 429),
        (ModelNotLoaded("No model is loaded"), 503),
    ],
)
@pytest.mark.parametrize(("path", "body"), [(EMBEDDINGS, {"input": "a"}), (RERANK, DOCUMENTS)])
async def test_errors_have_the_shape_of_the_dialect(
    client, runtime, path: str, body: Any, error: Any, status: int
) -> None:
    runtime.embeddings.error = error
    answer = await client.post(path, json=body)
    assert answer.status_code == status
    told = answer.json()["error"]
    assert (told["code"], told["param"]) == (error.code, error.field)
    assert told["message"].startswith(error.message)
    assert answer.headers.get("retry-after") == ("3" if status == 429 else None)


@pytest.mark.parametrize(("path", "body"), [(EMBEDDINGS, {"input": "a"}), (RERANK, DOCUMENTS)])
async def test_another_model_is_not_found(client, path: str, body: Any) -> None:
    answer = await client.post(path, json=body | {"model": "gpt"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


async def test_end_of_the_server_cuts_the_work_off(client, app, runtime) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def embed(*_: Any, **__: Any) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    runtime.embeddings.embed = embed
    streams, app.state.streams = app.state.streams, type(app.state.streams)()
    try:
        asking = asyncio.create_task(client.post(EMBEDDINGS, json={"input": "a"}))
        await begun.wait()
        app.state.streams.close()
        answer = await asking
    finally:
        app.state.streams = streams
    assert ended.is_set()
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "server_ending")
