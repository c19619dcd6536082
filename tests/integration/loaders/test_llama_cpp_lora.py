"""LoRA adapters on a real model: what they change, and which are refused."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import aclosing
from typing import TYPE_CHECKING

import numpy as np
import pytest
from msgspec.structs import replace

from tests.integration.loaders.conftest import opened, request_of, text_of
from tests.tiny_gguf import write_tiny_gguf, write_tiny_lora
from webui.engine.adapters import Adapter
from webui.engine.embedder import TextRow
from webui.engine.interface import EngineState
from webui.engine.runner import Row
from webui.errors import LoadFailed
from webui.loaders.llama_cpp import LlamaCppOptions
from webui.loaders.llama_cpp.embedder import LlamaCppEmbedder
from webui.loaders.llama_cpp.part_embedder import PartEmbedder
from webui.loaders.llama_cpp.runner import LlamaCppRunner

if TYPE_CHECKING:
    from pathlib import Path

    from webui.engine.process import LocalEngine

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
        parts = PartEmbedder(runner.model, options, runner.adapters)
        for each in (embedder, parts):
            each.begin([TextRow(PROMPT, normalise=True)], None)
            vectors += each.read(None).vectors
            each.close()
        runner.close()
    assert vectors[0] == vectors[2] != vectors[4]
    assert vectors[1] == vectors[3] != vectors[5]


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


def next_logits(runner: LlamaCppRunner, slot: int) -> np.ndarray:
    """Read the prompt anew in a slot; return what the model thinks of the next token."""
    runner.forget(slot, 0)
    runner.forward([Row(slot, PROMPT[:-1], 0, sample=False)])
    runner.open_sampler(slot, request_of("x").params, PROMPT)
    runner.forward([Row(slot, PROMPT[-1:], len(PROMPT) - 1, sample=True)])
    return runner._logits(0).copy()


def test_scales_of_a_loaded_model_are_those_of_one_loaded_with_them(
    noise: Path, poet: Path, tmp_path: Path
) -> None:
    inner = write_tiny_lora(tmp_path / "inner.gguf", tensor="blk.0.attn_q.weight", shape=(64, 64))
    wanted = [(1.0, 0.0), (0.0, 0.0), (0.5, 2.0), (0.0, -1.0), (0.5, 2.0), (1.0, 0.0)]
    runner = load(noise, [(poet, 1.0), (inner, 0.0)])
    try:
        for index, scales in enumerate(wanted):
            runner.set_lora(scales)
            runner.set_lora(scales)
            chosen = list(zip((poet, inner), scales, strict=True))
            assert np.array_equal(next_logits(runner, index % 2), logits_of(noise, chosen))
    finally:
        runner.close()


async def test_replies_of_several_scales_at_once_are_those_of_each_alone(
    noise: Path, poet: Path
) -> None:
    wanted = [(0.0,), (1.0,), (-1.0,), (0.5,), (1.0,), None]
    lora = [{"path": str(poet), "scale": 0.5}]

    async def told(engine: LocalEngine, name: int, scales: tuple[float, ...] | None) -> str:
        request = request_of("Hi there", f"r{name}", temperature=0, max_tokens=24, ignore_eos=True)
        return (await text_of(engine, replace(request, lora_scales=scales)))[0]

    async with opened(noise, lora=lora) as engine:
        alone = [await told(engine, i, scales) for i, scales in enumerate(wanted)]
        together = await asyncio.gather(
            *(told(engine, i, scales) for i, scales in enumerate(wanted))
        )
    assert together == alone
    assert len(set(alone)) == 4, "-1, 0, 0.5 and 1 say something else each"
    assert alone[-1] == alone[3], "what is not said is as the model was loaded"


async def test_scales_that_are_set_hold_for_what_comes_and_outlive_the_worker(
    noise: Path, poet: Path
) -> None:
    request = request_of("Hi there", temperature=0, max_tokens=40, ignore_eos=True)
    async with opened(noise, lora=[{"path": str(poet)}]) as engine:
        assert engine.info.adapters == (Adapter("poet.gguf", 1.0),)
        full = (await text_of(engine, request))[0]
        begun = engine.generate(replace(request, request_id="begun"))
        said = ""
        async with aclosing(begun):
            async for delta in begun:
                said += getattr(delta, "text", "")
                engine.set_lora_scales((0.0,))  # in the middle of it
        assert said == full
        assert engine.info.adapters == (Adapter("poet.gguf", 0.0),)
        plain = (await text_of(engine, replace(request, request_id="after")))[0]
        assert plain != full
        os.kill(engine.pid, signal.SIGKILL)
        async with asyncio.timeout(30):
            while engine.state is EngineState.READY:  # noqa: ASYNC110 - nothing tells it
                await asyncio.sleep(0.01)
        again = (await text_of(engine, replace(request, request_id="again")))[0]
        assert again == plain
        assert engine.info.adapters == (Adapter("poet.gguf", 0.0),)


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
