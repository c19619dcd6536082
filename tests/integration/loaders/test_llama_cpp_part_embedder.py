"""Texts that a chat model reads in parts, against those that llama.cpp pools in one pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

import llama_cpp
import psutil
import pytest

from tests.integration.loaders.test_llama_cpp_embeddings import cosine, numbers
from webui.engine.embedder import TextRow
from webui.engine.interface import Pooling
from webui.errors import EngineError
from webui.loaders.llama_cpp.embedder import LlamaCppEmbedder
from webui.loaders.llama_cpp.options import LlamaCppOptions
from webui.loaders.llama_cpp.part_embedder import PartEmbedder
from webui.loaders.llama_cpp.runner import LlamaCppRunner

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration

TEXTS = ("The floor of a fireplace.", "x", "A river carries old stones past the garden. " * 5)
LONG = "A river carries old stones past the garden. " * 10
KINDS = [pooling for pooling in Pooling if pooling is not Pooling.RANK]
OPTIONS = LlamaCppOptions(context_length=512, slots=1, threads=1)


@pytest.fixture(scope="module")
def runner(noise: Path) -> Iterator[LlamaCppRunner]:
    runner = LlamaCppRunner(noise, "noise", OPTIONS, lambda _: None)
    yield runner
    runner.close()


@pytest.fixture(scope="module")
def parts(runner: LlamaCppRunner) -> Iterator[PartEmbedder]:
    parts = PartEmbedder(runner.model, OPTIONS, runner.adapters)
    yield parts
    parts.close()


def rows_of(embedder: LlamaCppEmbedder, *texts: str, normalise: bool = False) -> list[TextRow]:
    return [TextRow(embedder.tokenize_text(text, None), normalise) for text in texts or TEXTS]


def read_all(parts: PartEmbedder, max_tokens: int | None) -> tuple[list[int], list[bytes]]:
    """Return how many tokens each pass read, and the vectors."""
    reads: list[int] = []
    while True:
        read = parts.read(max_tokens)
        reads.append(read.num_tokens)
        if read.vectors is not None:
            return reads, read.vectors


def whole(runner: LlamaCppRunner, rows: list[TextRow], pooling: Pooling) -> list[bytes]:
    """Return what llama.cpp makes of texts in one pass, its own pooling being that one."""
    options = OPTIONS.model_copy(update={"ubatch_size": 1024})
    embedder = LlamaCppEmbedder(runner.model, options, pooling, runner.adapters, is_encoder=False)
    embedder.begin(rows, pooling)
    vectors = embedder.read(None).vectors
    embedder.close()
    assert vectors is not None
    return vectors


def assert_alike(parts: PartEmbedder, vectors: list[bytes], expected: list[bytes]) -> None:
    for one, other in zip(vectors, expected, strict=True):
        left, right = numbers(one, parts.size), numbers(other, parts.size)
        assert len(left) == len(right)
        # The cache keeps half precision, and what stands in it depends on where a part ended.
        assert all(cosine(a, b) > 0.9999 for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize("pooling", KINDS)
@pytest.mark.parametrize("max_tokens", [1, 7, 64, None])
def test_parts_come_to_what_one_pass_does(runner, parts, pooling, max_tokens) -> None:
    rows = rows_of(parts)
    parts.begin(rows, pooling)
    reads, vectors = read_all(parts, max_tokens)
    assert all(0 < num <= (max_tokens or parts.max_batch_tokens) for num in reads)
    assert sum(reads) == sum(len(row.tokens) for row in rows)
    assert_alike(parts, vectors, whole(runner, rows, pooling))


def test_model_without_a_pooling_takes_the_mean(parts) -> None:
    rows = rows_of(parts)
    vectors = []
    for pooling in (None, Pooling.MEAN):
        parts.begin(rows, pooling)
        vectors.append(parts.read(None).vectors)
    assert vectors[0] == vectors[1]


@pytest.mark.parametrize("pooling", KINDS)
def test_text_as_long_as_the_context_is_read_in_steps_of_a_micro_batch(runner, pooling) -> None:
    options = OPTIONS.model_copy(update={"ubatch_size": 64})
    parts = PartEmbedder(runner.model, options, runner.adapters)
    assert (parts.max_text_tokens, parts.max_batch_tokens) == (512, 64)
    short = rows_of(parts, "x")
    parts.begin(short, pooling)
    expected = parts.read(None).vectors
    (long,) = rows_of(parts, LONG)
    assert 400 < len(long.tokens) <= 512
    parts.begin([long], pooling)
    reads, vectors = read_all(parts, None)
    assert reads == [64] * (len(long.tokens) // 64) + [len(long.tokens) % 64]
    assert_alike(parts, vectors, whole(runner, [long], pooling))
    parts.begin(short, pooling)
    assert_alike(parts, parts.read(None).vectors, expected)
    parts.close()


def test_context_grows_with_the_texts_and_not_before(runner, monkeypatch) -> None:
    made = []
    real = llama_cpp.llama_init_from_model

    def note(model, params):
        made.append((params.n_ctx, params.n_ubatch))
        return real(model, params)

    monkeypatch.setattr(llama_cpp, "llama_init_from_model", note)
    options = OPTIONS.model_copy(update={"ubatch_size": 64})
    parts = PartEmbedder(runner.model, options, runner.adapters)
    assert made == []
    for text in ("x", "y", LONG, "z", LONG):
        parts.begin(rows_of(parts, text), None)
        read_all(parts, None)
    assert made == [(64, 64), (448, 64)]
    parts.close()


@pytest.mark.skipif(llama_cpp.llama_supports_gpu_offload(), reason="the cache lies on a card")
def test_text_that_the_memory_does_not_hold_is_refused_and_the_next_one_is_read(
    runner, monkeypatch
) -> None:
    parts = PartEmbedder(runner.model, OPTIONS, runner.adapters)
    free = psutil.virtual_memory()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free._replace(available=1000))
    with pytest.raises(EngineError, match=r"Texts of \d+ tokens take 0.0 GiB"):
        parts.begin(rows_of(parts, LONG), None)
    monkeypatch.undo()
    parts.begin(rows_of(parts), None)
    assert parts.read(None).vectors is not None
    parts.close()


def test_batch_that_is_left_leaves_nothing_behind(parts) -> None:
    rows = rows_of(parts, normalise=True)
    parts.begin(rows, None)
    expected = parts.read(None).vectors
    parts.begin(rows[2:], Pooling.LAST)
    assert parts.read(9).vectors is None
    parts.begin(rows, None)
    assert parts.read(None).vectors == expected
