"""Vectors and ranking over HTTP: the made-up model, and small random networks in the worker."""

from __future__ import annotations

import asyncio
import base64
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest

from tests.bert_gguf import random_bert, write_bert_gguf
from webui.app import create_app
from webui.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

HI = {"messages": [{"role": "user", "content": "hi"}]}


@asynccontextmanager
async def _serving(folder: Path, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    models = folder / "models"
    models.mkdir(exist_ok=True)
    more = {"data_dir": folder / "data", "models_dir": models, "ui": False}
    app = create_app(Settings(**more | settings))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://localhost:7860", timeout=30
        ) as client,
    ):
        yield client


@pytest.fixture
async def fake(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with _serving(tmp_path, fake_engine=2000) as client:
        yield client


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A server whose first model, an encoder, is on its way."""
    (tmp_path / "models").mkdir()
    write_bert_gguf(tmp_path / "models" / "small.gguf", random_bert())
    async with _serving(tmp_path, model="small.gguf") as client:
        yield client


async def test_made_up_model_makes_vectors_and_ranks(fake) -> None:
    answer = await fake.post("/v1/embeddings", json={"input": ["red", "blue", "red"]})
    red, blue, again = (np.array(entry["embedding"]) for entry in answer.json()["data"])
    assert np.linalg.norm(red) == pytest.approx(1)
    assert (red == again).all()
    assert not np.allclose(red, blue)
    body = {"query": "red river", "documents": ["x", "a red one", "the red river"], "top_n": 2}
    results = (await fake.post("/v1/rerank", json=body)).json()["results"]
    assert [result["index"] for result in results] == [2, 1]
    assert results[0]["relevance_score"] > results[1]["relevance_score"]


async def test_encoder_makes_the_vectors_of_its_network(small) -> None:
    texts = ["a hearth", "stones, and rivers"]
    answer = await small.post("/v1/embeddings", json={"input": texts})
    assert answer.status_code == 200, answer.text
    coded = {"input": texts, "encoding_format": "base64", "dimensions": 64, "model": "small"}
    same = (await small.post("/v1/embeddings", json=coded)).json()
    for index, text in enumerate(texts):
        vector = np.array(answer.json()["data"][index]["embedding"])
        expected = random_bert().embed(text)
        assert vector @ expected / np.linalg.norm(expected) > 0.999
        data = base64.b64decode(same["data"][index]["embedding"])
        assert np.frombuffer(data, "<f4") == pytest.approx(vector, abs=1e-5)
    assert same["usage"]["prompt_tokens"] == sum(len(random_bert().tokenize(t)) + 2 for t in texts)


async def test_pooling_and_length_are_those_that_are_asked_for(small) -> None:
    text, network = "stones, and rivers", random_bert()
    for pooling in ("mean", "cls", "last", "none"):
        body = {"input": text, "pooling": pooling, "normalize": False}
        answer = await small.post("/v1/embeddings", json=body)
        assert answer.status_code == 200, answer.text
        given = np.array(answer.json()["data"][0]["embedding"])
        assert given == pytest.approx(network.embed(text, pooling), abs=0.02)
        unit = (await small.post("/v1/embeddings", json=body | {"normalize": True})).json()
        lengths = np.linalg.norm(np.atleast_2d(unit["data"][0]["embedding"]), axis=1)
        assert lengths == pytest.approx(np.ones(len(lengths)))


async def test_too_long_a_text_is_cut_if_that_is_asked_for(small) -> None:
    body = {"input": ["a", "b " * 100], "truncate": True}
    answer = (await small.post("/v1/embeddings", json=body)).json()
    same = (await small.post("/v1/embeddings", json={"input": "b " * 62})).json()
    assert answer["usage"]["prompt_tokens"] == 3 + 64
    cut, expected = answer["data"][1]["embedding"], same["data"][0]["embedding"]
    assert cut == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    ("path", "body", "param", "said"),
    [
        ("embeddings", {"input": "a", "dimensions": 32}, "dimensions", "must be 64"),
        ("embeddings", {"input": ["a", "b " * 100]}, "input", "Input 1 has 102 tokens"),
        ("rerank", {"query": "a", "documents": ["b"]}, None, "cannot rank documents"),
        ("chat/completions", HI, None, "makes embeddings; it cannot chat. Load a chat model"),
        ("chat/completions", HI | {"stream": True}, None, "makes embeddings; it cannot chat"),
        ("completions", {"prompt": "hi"}, None, "makes embeddings; it cannot chat"),
    ],
)
async def test_encoder_refuses_what_it_cannot_do(small, path, body, param, said) -> None:
    answer = await small.post(f"/v1/{path}", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (400, "invalid_request_error")
    assert error["param"] == param
    assert said in error["message"]


async def test_page_is_told_that_the_model_cannot_chat(small) -> None:
    created = (await small.post("/api/conversations")).json()["conversation"]
    path = f"/api/conversations/{created['id']}"
    sent = await small.post(
        f"{path}/messages", json={"mode": "send", "parent_id": None, "text": "hi"}
    )
    assert sent.status_code in {200, 202}
    async with asyncio.timeout(20):
        while (transcript := (await small.get(path)).json())["generation"]:  # noqa: ASYNC110 - asks over HTTP
            await asyncio.sleep(0.01)
    reply = transcript["messages"][-1]
    assert reply["status"] == "error"
    assert "makes embeddings; it cannot chat" in json.dumps(reply)


async def test_ranker_ranks_as_its_network_and_makes_no_vectors(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    write_bert_gguf(tmp_path / "models" / "ranker.gguf", random_bert(), pooling="rank")
    documents = ["a river", "the hearth", "x", "z z z"]
    async with _serving(tmp_path, model="ranker.gguf") as client:
        body = {"query": "which river?", "documents": documents}
        results = (await client.post("/v1/rerank", json=body)).json()["results"]
        refused = await client.post("/v1/embeddings", json={"input": "a"})
    assert sorted(result["index"] for result in results) == [0, 1, 2, 3]
    scores = [result["relevance_score"] for result in results]
    assert scores == sorted(scores, reverse=True)
    for result in results:
        expected = random_bert().rank("which river?", documents[result["index"]])
        assert result["relevance_score"] == pytest.approx(expected, abs=0.01)
    assert refused.status_code == 400
    assert "it makes no embeddings" in refused.json()["error"]["message"]
