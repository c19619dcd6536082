"""Adapters that are made up: each is refused in words, and none ends the worker."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.integration.loaders.conftest import opened, request_of, text_of
from tests.tiny_gguf import (
    EMBEDDING,
    NOISE_TOKENS,
    lora_pair,
    write_tiny_gguf,
    write_tiny_lora,
)
from webui.errors import LoadFailed

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

OUTPUT, QUERY, INPUT = "output.weight", "blk.0.attn_q.weight", "token_embd.weight"
SQUARE = (EMBEDDING, EMBEDDING)
WORDS = (NOISE_TOKENS, EMBEDDING)
SEED = 20
NUM_FUZZED, NUM_SAMPLED = 200, 12


def weights_of(name: str = QUERY, shape: tuple[int, int] = SQUARE) -> dict[str, np.ndarray]:
    return lora_pair(name, shape)


def changed(part: str, change: object, name: str = QUERY) -> dict[str, np.ndarray]:
    """Return a pair of which one half went through `change`."""
    weights = weights_of(name)
    weights[f"{name}.{part}"] = np.ascontiguousarray(change(weights[f"{name}.{part}"]))
    return weights


def spoilt(value: float, kind: type = np.float32) -> dict[str, np.ndarray]:
    weights = {name: data.astype(kind) for name, data in weights_of().items()}
    weights[f"{QUERY}.lora_b"][3, 1] = value
    return weights


def embedding(rank_down: int, rank_up: int) -> dict[str, np.ndarray]:
    """Return a pair for the embedding, whose halves stand the other way round."""
    ones = np.ones((NOISE_TOKENS, rank_down), np.float32), np.ones((EMBEDDING, rank_up), np.float32)
    return dict(zip((f"{INPUT}.lora_a", f"{INPUT}.lora_b"), ones, strict=True))


HOSTILE: dict[str, tuple[dict[str, object], str]] = {
    "alpha of 64 bits": ({"alpha_bits": 64}, "no number of 32 bits"),
    "alpha is no number": ({"alpha": float("nan")}, r"adapter\.lora\.alpha'? is nan"),
    "alpha without end": ({"alpha": float("inf")}, r"adapter\.lora\.alpha'? is inf"),
    "two parts": (
        {"weights": {name: np.stack([data, data]) for name, data in weights_of().items()}},
        "2 and 2 parts in place of 1",
    ),
    "one half of two parts": (
        {"weights": changed("lora_a", lambda data: np.stack([data, data]))},
        "2 and 1 parts in place of 1",
    ),
    "four dimensions": (
        {"weights": {name: np.stack([[data], [data]]) for name, data in weights_of().items()}},
        "parts in place of 1",
    ),
    "other columns": ({"weights": lora_pair(QUERY, (64, 48))}, "a model of another size"),
    "other rows": ({"weights": lora_pair(QUERY, (48, 64))}, "a model of another size"),
    "two ranks": ({"weights": changed("lora_b", lambda data: data[:, :1])}, "ranks 2 and 1"),
    "two ranks of the embedding": ({"weights": embedding(2, 3)}, "ranks 2 and 3"),
    "down without up": ({"weights": {f"{QUERY}.lora_a": np.ones((2, 64), np.float32)}}, "half of"),
    "up without down": ({"weights": {f"{QUERY}.lora_b": np.ones((64, 2), np.float32)}}, "half of"),
    "other weights": ({"weights": {QUERY: np.ones(SQUARE, np.float32)}}, "other weights than"),
    "NaN": ({"weights": spoilt(float("nan"))}, "lora_b holds what is no number"),
    "infinity": ({"weights": spoilt(float("-inf"))}, "lora_b holds what is no number"),
    "NaN of 16 bits": ({"weights": spoilt(float("nan"), np.float16)}, "holds what is no number"),
    "whole numbers": (
        {"weights": {name: data.astype(np.int32) for name, data in weights_of().items()}},
        "which no adapter has",
    ),
    "64 bits": (
        {"weights": {name: data.astype(np.float64) for name, data in weights_of().items()}},
        "which no adapter has",
    ),
    "another architecture": ({"architecture": "gemma"}, "another kind of model"),
    "unknown architecture": ({"architecture": "nonsense"}, "another kind of model"),
    "an embedding of control vectors": ({"kind": "control_vector"}, "only lora is known"),
}


@pytest.mark.parametrize("case", HOSTILE)
async def test_hostile_adapter_is_refused_in_words(noise: Path, tmp_path: Path, case: str) -> None:
    given, why = HOSTILE[case]
    path = write_tiny_lora(tmp_path / "odd.gguf", **given)
    with pytest.raises(LoadFailed, match=why) as refused:
        async with opened(noise, lora=[{"path": str(path)}]):
            pass
    assert "ended the engine" not in refused.value.message


async def test_embedding_is_changed_where_it_stands_alone(noise: Path, tmp_path: Path) -> None:
    path = write_tiny_lora(tmp_path / "words.gguf", weights=embedding(2, 2))
    said = []
    for scale in (0.0, 1.0):
        async with opened(noise, lora=[{"path": str(path), "scale": scale}]) as engine:
            said.append((await text_of(engine, request_of("Hi", temperature=0)))[0])
    assert said[0] != said[1]


async def test_embedding_is_not_changed_where_the_output_is_the_same(tmp_path: Path) -> None:
    tied = write_tiny_gguf(tmp_path / "tied.gguf", is_tied=True)
    path = write_tiny_lora(tmp_path / "words.gguf", weights=embedding(2, 2))
    with pytest.raises(LoadFailed, match="reads and writes words with the same weights"):
        async with opened(tied, lora=[{"path": str(path)}]):
            pass
    inner = write_tiny_lora(tmp_path / "inner.gguf", weights=weights_of())
    async with opened(tied, lora=[{"path": str(inner)}]) as engine:
        assert (await text_of(engine, request_of("Hi")))[1].usage.completion_tokens


async def test_all_adapters_that_are_allowed_work_at_once(noise: Path, tmp_path: Path) -> None:
    names = {f"blk.{layer}.attn_{part}.weight": SQUARE for layer in (0, 1) for part in "q"}
    names |= {f"blk.{layer}.attn_output.weight": SQUARE for layer in (0, 1)}
    names |= {OUTPUT: WORDS}
    lora = []
    for number in range(16):
        pairs = [lora_pair(name, shape, seed=number) for name, shape in names.items()]
        weights = {name: data for pair in pairs for name, data in pair.items()}
        path = write_tiny_lora(tmp_path / f"{number}.gguf", weights=weights)
        lora.append({"path": str(path), "scale": 0.01})
    async with opened(noise, lora=lora) as engine:
        assert (await text_of(engine, request_of("Hi")))[1].usage.completion_tokens


def mutated(random_: random.Random, path: Path) -> Path:
    """Write an adapter that is whole but for some random changes."""
    names = {QUERY: SQUARE, OUTPUT: WORDS, "blk.1.ffn_up.weight": (96, EMBEDDING)}
    weights: dict[str, np.ndarray] = {}
    for name, shape in names.items():
        weights |= lora_pair(name, shape, seed=random_.randrange(99))
    if random_.random() < 0.5:
        for name in random_.sample(sorted(weights), random_.randint(1, 2)):
            weights[name] = _bent(random_, weights[name])
        return write_tiny_lora(path, weights=weights)
    data = bytearray(write_tiny_lora(path, weights=weights).read_bytes())
    header_end = data.index(b"lora_b", 200) + 400
    for _ in range(random_.randint(1, 4)):
        place = random_.randrange(4, random_.choice((header_end, len(data))))
        data[place] = random_.choice((0, 1, 2, 7, 0x7F, 0x80, 0xFF, random_.randrange(256)))
    if random_.random() < 0.1:
        del data[random_.randrange(len(data)) :]
    path.write_bytes(data)
    return path


def _bent(random_: random.Random, data: np.ndarray) -> np.ndarray:
    rows, columns = data.shape
    shapes = [
        data.T,
        data[:1],
        data[:, :1],
        data.reshape(1, rows, columns),
        np.stack([data] * random_.randint(2, 3)),
        data.reshape(-1),
        np.tile(data, (1, 2)),
    ]
    kinds = (np.float32, np.float32, np.float16, np.float64, np.int8, np.int32)
    return np.ascontiguousarray(random_.choice(shapes)).astype(random_.choice(kinds))


async def fuzz(model: Path, folder: Path, numbers: range) -> tuple[int, list[str]]:
    """Load mutated adapters, each in a worker of its own.

    Returns:
        How many were taken, and for those that ended their worker what was said.
    """
    num_taken = 0
    ended: list[str] = []
    for number in numbers:
        path = mutated(random.Random(SEED + number), folder / f"{number}.gguf")
        try:
            async with opened(model, lora=[{"path": str(path)}], slots=1):
                num_taken += 1
        except LoadFailed as error:
            if "ended the engine" in error.message:
                ended.append(f"{number}: {error.message}")
        path.unlink()
    return num_taken, ended


async def test_mutated_adapter_never_ends_the_worker(noise: Path, tmp_path: Path) -> None:
    num_taken, ended = await fuzz(noise, tmp_path, range(NUM_SAMPLED))
    assert num_taken < NUM_SAMPLED
    assert not ended


@pytest.mark.soak
@pytest.mark.timeout(900)
async def test_200_mutated_adapters_never_end_the_worker(noise: Path, tmp_path: Path) -> None:
    num_taken, ended = await fuzz(noise, tmp_path, range(NUM_FUZZED))
    assert not ended
    assert 0 < num_taken < NUM_FUZZED / 2
