"""LoRA adapters on a real model: what they change, and which are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.integration.loaders.conftest import opened, request_of, text_of
from tests.tiny_gguf import write_tiny_gguf, write_tiny_lora
from webui.engine.adapters import Adapter
from webui.engine.runner import Row, TextRow
from webui.errors import LoadFailed
from webui.loaders.llama_cpp import LlamaCppOptions
from webui.loaders.llama_cpp.embedder import LlamaCppEmbedder
from webui.loaders.llama_cpp.runner import LlamaCppRunner

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

BASE = {"context_length": 256, "slots": 2, "batch_size": 64, "threads": 1}
PROMPT = list(range(65, 81))
Chosen = list[tuple["Path", float]]


def load(path: Path, chosen: Chosen) -> LlamaCppRunner:
    lora = [{"path": str(adapter), "scale": scale} for adapter, scale in chosen]
    options = LlamaCppOptions.model_validate({**BASE, "lora": lora})
    return LlamaCppRunner(path, "model", options, lambda _: None)


def logits_of(path: Path, chosen: Chosen) -> np.ndarray:
    """Return what the model thinks of the next token; shape (vocab_size,)."""
    runner = load(path, chosen)
    try:
        runner.forward([Row(0, PROMPT[:-1], 0, sample=False)])
        runner.open_sampler(0, request_of("x").params, PROMPT)
        runner.forward([Row(0, PROMPT[-1:], len(PROMPT) - 1, sample=True)])
        return runner._logits(0).copy()
    finally:
        runner.close()


@pytest.fixture
def poet(tmp_path: Path) -> Path:
    return write_tiny_lora(tmp_path / "poet.gguf")


def test_adapter_moves_logits_by_its_scale(noise: Path, poet: Path) -> None:
    plain = logits_of(noise, [])
    full, half = (logits_of(noise, [(poet, scale)]) - plain for scale in (1.0, 0.5))
    assert np.abs(full).max() > 1
    np.testing.assert_allclose(half, full / 2, atol=1e-3)
    back = logits_of(noise, [(poet, -1.0)]) - plain
    np.testing.assert_allclose(back, -full, atol=1e-3)


def test_adapter_of_scale_0_changes_nothing(noise: Path, poet: Path) -> None:
    assert np.array_equal(logits_of(noise, [(poet, 0.0)]), logits_of(noise, []))


def test_two_adapters_add_up(noise: Path, poet: Path, tmp_path: Path) -> None:
    other = write_tiny_lora(tmp_path / "other.gguf", seed=8)
    plain = logits_of(noise, [])
    apart = [logits_of(noise, [one]) - plain for one in ((poet, 1.0), (other, 0.5))]
    both = logits_of(noise, [(poet, 1.0), (other, 0.5)]) - plain
    np.testing.assert_allclose(both, sum(apart), atol=1e-3)


def test_adapter_of_an_inner_layer_reaches_the_logits(noise: Path, tmp_path: Path) -> None:
    inner = write_tiny_lora(tmp_path / "inner.gguf", tensor="blk.0.attn_q.weight", shape=(64, 64))
    assert not np.allclose(logits_of(noise, [(inner, 1.0)]), logits_of(noise, []), atol=0.1)


def test_vectors_are_made_with_the_adapter_too(noise: Path, tmp_path: Path) -> None:
    inner = write_tiny_lora(tmp_path / "inner.gguf", tensor="blk.0.attn_q.weight", shape=(64, 64))
    vectors = []
    for chosen in ([], [(inner, 0.0)], [(inner, 1.0)]):
        runner = load(noise, chosen)
        options = LlamaCppOptions.model_validate(BASE)
        embedder = LlamaCppEmbedder(runner.model, options, None, runner.adapters, is_encoder=False)
        vectors += embedder.embed([TextRow(PROMPT, normalise=True)], None)
        embedder.close()
        runner.close()
    assert vectors[0] == vectors[1] != vectors[2]


def test_adapters_count_as_memory_and_as_identity(noise: Path, poet: Path, tmp_path: Path) -> None:
    other = write_tiny_lora(tmp_path / "other.gguf", seed=8)
    infos = []
    for chosen in ([], [(poet, 1.0)], [(other, 1.0)], [(poet, 0.5)]):
        runner = load(noise, chosen)
        infos.append(runner.info)
        runner.close()
    assert len({info.state_key for info in infos[:3]}) == 3
    assert infos[3].state_key == infos[1].state_key, "each state says its scales"
    assert infos[3].adapters == (Adapter("poet.gguf", 0.5),)
    added = infos[1].memory.weights_bytes - infos[0].memory.weights_bytes
    assert added == poet.stat().st_size


async def test_worker_writes_with_an_adapter(noise: Path, poet: Path) -> None:
    said = []
    for scale in (0.0, 1.0, 1.0):
        lora = [{"path": str(poet), "scale": scale}]
        async with opened(noise, lora=lora) as engine:
            said.append((await text_of(engine, request_of("Hi", temperature=0)))[0])
    assert said[0] != said[1] == said[2]


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"architecture": "qwen2"}, "another kind of model"),
        ({"tensor": "blk.9.attn_q.weight", "shape": (64, 64)}, "weights that this model has not"),
        ({"shape": (100, 64)}, "a model of another size"),
        ({"kind": "control_vector"}, "only lora is known"),
        ({"tensor": ""}, "no weights"),
    ],
)
async def test_worker_refuses_an_adapter_that_does_not_fit(
    noise: Path, tmp_path: Path, changed: dict[str, object], why: str
) -> None:
    path = write_tiny_lora(tmp_path / "odd.gguf", **changed)
    with pytest.raises(LoadFailed, match=why):
        async with opened(noise, lora=[{"path": str(path)}]):
            pass


@pytest.fixture
def short(poet: Path) -> Path:
    """An adapter whose end is missing."""
    path = poet.with_name("short.gguf")
    path.write_bytes(poet.read_bytes()[:-64])
    return path


async def test_worker_refuses_what_is_no_adapter(
    noise: Path, poet: Path, short: Path, tmp_path: Path
) -> None:
    model = write_tiny_gguf(tmp_path / "model.gguf")
    for path, why in (
        (model, "a whole model, not an adapter"),
        (short, "is incomplete"),
        (tmp_path / "gone.gguf", "is not there"),
    ):
        with pytest.raises(LoadFailed, match=why):
            async with opened(noise, lora=[{"path": str(path)}]):
                pass
    with pytest.raises(LoadFailed, match=r"poet\.gguf is there twice"):
        async with opened(noise, lora=[{"path": str(poet)}, {"path": str(poet)}]):
            pass
