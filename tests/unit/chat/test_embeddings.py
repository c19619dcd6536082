from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from webui.actor import Actor, local_actor
from webui.chat.embeddings import (
    MAX_BYTES,
    MAX_QUERY_BYTES,
    MAX_TEXT_BYTES,
    MAX_TEXTS,
    Embeddings,
    VectorForm,
)
from webui.chat.running import Doing, ProgramRequests, Running, Task
from webui.engine.fake import FakeEngine
from webui.engine.fake_vectors import EMBEDDING_SIZE, vector
from webui.engine.interface import Pooling, Priority
from webui.errors import InvalidRequest, PermissionDenied

ME = local_actor()


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(100_000, context_length=100_000_000)


@pytest.fixture
def requests() -> ProgramRequests:
    return ProgramRequests(lambda: 7.0)


@pytest.fixture
def embeddings(engine: FakeEngine, requests: ProgramRequests) -> Embeddings:
    async def acquire(_timeout: float) -> FakeEngine:
        return engine

    pool: Any = SimpleNamespace(acquire=acquire, current_id="one.gguf")
    return Embeddings(pool, FreeQuotas(), requests)


class FreeQuotas:
    """Lets everybody in; remembers what was read, and who has not left."""

    def __init__(self) -> None:
        self.num_inside = 0
        self.num_tokens = 0

    def admission(self, actor: Actor) -> FreeQuotas:
        return self

    async def enter(self) -> FreeQuotas:
        self.num_inside += 1
        return self

    def read(self, num_tokens: int) -> None:
        self.num_tokens += num_tokens

    def spent(self, model: str) -> None: ...

    def leave(self, spent: None) -> None:
        self.num_inside -= 1


async def test_key_of_another_model_makes_no_vectors(embeddings: Embeddings) -> None:
    other, this = (replace(ME, models=frozenset({name})) for name in ("two.gguf", "one.gguf"))
    with pytest.raises(PermissionDenied, match=r"one\.gguf"):
        await embeddings.embed(other, ["a"])
    with pytest.raises(PermissionDenied, match=r"one\.gguf"):
        await embeddings.rank(other, "a", ["a"])
    assert (await embeddings.embed(this, ["a"])).num_tokens > 0


async def test_each_text_has_its_vector(embeddings: Embeddings) -> None:
    result = await embeddings.embed(ME, ["a b", "ü"], VectorForm(size=EMBEDDING_SIZE))
    assert result.vectors == (vector("a b"), vector("ü"))
    assert result.num_tokens > 2


async def test_documents_are_ranked_best_first_and_cut(embeddings: Embeddings) -> None:
    documents = ["nothing", "red stones", "a red river", "river red"]
    ranking = await embeddings.rank(ME, "red river", documents)
    assert [document.index for document in ranking.documents] == [2, 3, 1, 0]
    assert [document.score for document in ranking.documents] == [1, 1, 0.5, 0]
    best = await embeddings.rank(ME, "red river", documents, max_ranked=1)
    assert best.documents == ranking.documents[:1]
    assert best.num_tokens == ranking.num_tokens


@pytest.fixture
def asked(engine: FakeEngine) -> list[Any]:
    """What the engine is asked."""
    requests: list[Any] = []
    embed = engine.embed

    async def note(request: Any) -> Any:
        requests.append(request)
        return await embed(request)

    engine.embed = note  # type: ignore[method-assign]
    return requests


async def test_requests_are_the_owners(embeddings: Embeddings, asked: list[Any]) -> None:
    await embeddings.embed(ME, ["a"])
    await embeddings.rank(ME, "q", ["a"])
    assert {request.owner for request in asked} == {ME.user_id}
    assert len({request.request_id for request in asked}) == 2
    assert {request.priority for request in asked} == {Priority.API}
    embed, rank = asked
    assert (embed.pooling, embed.normalise, embed.truncate) == (None, True, False)
    assert (rank.pooling, rank.truncate) == (None, False)


async def test_form_and_priority_reach_the_engine(embeddings: Embeddings, asked: list[Any]) -> None:
    form = VectorForm(pooling=Pooling.NONE, normalise=False, truncate=True)
    result = await embeddings.embed(ME, ["a b"], form, is_background=True)
    await embeddings.rank(ME, "q", ["a"], truncate=True, is_background=True)
    assert len(result.vectors[0]) == 2 * 4 * EMBEDDING_SIZE
    embed, rank = asked
    assert (embed.pooling, embed.normalise, embed.truncate) == (Pooling.NONE, False, True)
    assert rank.truncate
    assert {request.priority for request in asked} == {Priority.BACKGROUND}


async def test_more_vectors_of_tokens_than_an_answer_holds_are_refused(
    embeddings: Embeddings,
) -> None:
    form = VectorForm(pooling=Pooling.NONE)
    with pytest.raises(InvalidRequest, match="8,388,608 are allowed") as caught:
        await embeddings.embed(ME, ["a " * 140_000] * 2, form)
    assert caught.value.field == "pooling"


async def test_it_is_seen_who_waits_and_whose_texts_are_read(
    embeddings: Embeddings, engine: FakeEngine, requests: ProgramRequests
) -> None:
    seen: list[Running] = []
    acquire, embed = embeddings._pool.acquire, engine.embed

    async def note_waiting(timeout_s: float) -> Any:
        seen.extend(requests.running())
        return await acquire(timeout_s)

    async def note_reading(request: Any) -> Any:
        seen.extend(requests.running())
        return await embed(request)

    embeddings._pool.acquire = note_waiting  # type: ignore[method-assign]
    engine.embed = note_reading  # type: ignore[method-assign]
    await embeddings.embed(ME, ["a"])
    await embeddings.rank(ME, "q", ["a"])
    assert [(one.owner, one.is_api, one.task, one.doing, one.since_s) for one in seen] == [
        (ME.user_id, True, task, doing, 0.0)
        for task in (Task.EMBED, Task.RERANK)
        for doing in (Doing.WAITING, Doing.READING)
    ]
    with pytest.raises(InvalidRequest):
        await embeddings.embed(ME, ["a"], VectorForm(size=EMBEDDING_SIZE + 1))
    assert requests.running() == []


async def test_other_dimensions_than_the_models_are_refused(embeddings: Embeddings) -> None:
    with pytest.raises(InvalidRequest, match=f"dimensions must be {EMBEDDING_SIZE}") as caught:
        await embeddings.embed(ME, ["a"], VectorForm(size=EMBEDDING_SIZE + 1))
    assert caught.value.field == "dimensions"


@pytest.mark.parametrize(
    ("texts", "field", "message"),
    [
        ([], "input", "at least 1"),
        (["a"] * (MAX_TEXTS + 1), "input", r"2,049 texts; 2,048 are"),
        (["a", "ü" * (MAX_TEXT_BYTES // 2) + "x"], "input.1", r"524,289 bytes; 524,288"),
        (["x" * MAX_TEXT_BYTES] * 4 + ["x"], "input", r"2,097,153 bytes in all; 2,097,152"),
    ],
)
async def test_too_much_text_is_refused(
    embeddings: Embeddings, texts: list[str], field: str, message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message) as caught:
        await embeddings.embed(ME, texts)
    assert caught.value.field == field


async def test_as_much_text_as_allowed_is_taken(embeddings: Embeddings, engine: FakeEngine) -> None:
    result = await embeddings.embed(ME, ["x" * MAX_TEXT_BYTES] * (MAX_BYTES // MAX_TEXT_BYTES))
    assert len(result.vectors) == MAX_BYTES // MAX_TEXT_BYTES


async def test_query_is_bounded_and_counts_for_each_document(embeddings: Embeddings) -> None:
    longest = "q" * MAX_QUERY_BYTES
    assert len((await embeddings.rank(ME, longest, ["a"])).documents) == 1
    with pytest.raises(InvalidRequest, match=r"query has 16,385 bytes; 16,384 are") as caught:
        await embeddings.rank(ME, longest + "q", ["a"])
    assert caught.value.field == "query"
    with pytest.raises(InvalidRequest, match="the query counted for each; 2,097,152") as caught:
        await embeddings.rank(ME, longest, ["a"] * (MAX_BYTES // MAX_QUERY_BYTES))
    assert caught.value.field == "documents"


async def test_one_who_may_not_chat_is_refused(embeddings: Embeddings) -> None:
    nobody = Actor("x", "X", frozenset())
    with pytest.raises(PermissionDenied):
        await embeddings.embed(nobody, ["a"])
    with pytest.raises(PermissionDenied):
        await embeddings.rank(nobody, "q", ["a"])
