"""Texts that a chat model reads in parts, against those that llama.cpp pools in one pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.loaders.test_llama_cpp_embeddings import cosine, numbers
from webui.engine.embedder import TextRow
from webui.engine.interface import Pooling
from webui.loaders.llama_cpp.embedder import LlamaCppEmbedder
from webui.loaders.llama_cpp.options import LlamaCppOptions
from webui.loaders.llama_cpp.part_embedder import PartEmbedder
from webui.loaders.llama_cpp.runner import LlamaCppRunner

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration

TEXTS = ("The floor of a fireplace.", "x", "A river carries old stones past the garden. " * 5)


@pytest.fixture(scope="module")
def embedders(noise: Path) -> Iterator[tuple[LlamaCppEmbedder, PartEmbedder]]:
    """One that reads whole texts, and one that reads them in parts."""
    options = LlamaCppOptions(context_length=512, slots=1, threads=1)
    runner = LlamaCppRunner(noise, "noise", options, lambda _: None)
    whole = LlamaCppEmbedder(runner.model, options, None, runner.adapters, is_encoder=False)
    parts = PartEmbedder(runner.model, options, runner.adapters)
    yield whole, parts
    parts.close()
    whole.close()
    runner.close()


def rows_of(embedder: LlamaCppEmbedder, *, normalise: bool = False) -> list[TextRow]:
    return [TextRow(embedder.tokenize_text(text, None), normalise) for text in TEXTS]


@pytest.mark.parametrize("pooling", [None, *(p for p in Pooling if p is not Pooling.RANK)])
@pytest.mark.parametrize("max_tokens", [1, 7, 64, None])
def test_parts_come_to_what_one_pass_does(embedders, pooling, max_tokens) -> None:
    whole, parts = embedders
    rows = rows_of(parts)
    whole.begin(rows, pooling)
    expected = whole.read(None).vectors
    parts.begin(rows, pooling)
    num_read, vectors = 0, None
    while vectors is None:
        read = parts.read(max_tokens)
        assert 0 < read.num_tokens <= (max_tokens or parts.max_batch_tokens)
        num_read, vectors = num_read + read.num_tokens, read.vectors
    assert num_read == sum(len(row.tokens) for row in rows)
    for one, other in zip(vectors, expected, strict=True):
        left, right = numbers(one, parts.size), numbers(other, parts.size)
        assert len(left) == len(right)
        # The cache keeps half precision, and what stands in it depends on where a part ended.
        assert all(cosine(a, b) > 0.9999 for a, b in zip(left, right, strict=True))


def test_batch_that_is_left_leaves_nothing_behind(embedders) -> None:
    _, parts = embedders
    rows = rows_of(parts, normalise=True)
    parts.begin(rows, None)
    expected = parts.read(None).vectors
    parts.begin(rows[2:], Pooling.LAST)
    assert parts.read(9).vectors is None
    parts.begin(rows, None)
    assert parts.read(None).vectors == expected
