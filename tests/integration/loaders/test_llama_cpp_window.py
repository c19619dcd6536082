"""Models with sliding windows whose cache is not whole: nothing is read where cells are missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from gguf import GGUFWriter

from tests.tiny_gguf import CHATML, add_vocabulary
from webui.engine.runner import Row
from webui.loaders.llama_cpp import LlamaCppOptions
from webui.loaders.llama_cpp.runner import LlamaCppRunner
from webui.sampling_params import SamplingParams

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

WINDOW, CHUNK, LAYERS, EMBEDDING, HEADS, HEAD = 32, 32, 6, 64, 4, 16
WHOLE = [32 + (7 * i * i + i) % 90 for i in range(800)]


def write_gemma(path: Path) -> Path:
    """Write a tiny Gemma 3: five of its six layers look at the last 32 tokens alone."""
    writer = GGUFWriter(str(path), "gemma3")
    numbers = {
        "block_count": LAYERS,
        "context_length": 4096,
        "embedding_length": EMBEDDING,
        "feed_forward_length": 96,
        "attention.head_count": HEADS,
        "attention.head_count_kv": 2,
        "attention.key_length": HEAD,
        "attention.value_length": HEAD,
        "attention.sliding_window": WINDOW,
    }
    for key, number in numbers.items():
        writer.add_uint32(f"gemma3.{key}", number)
    writer.add_float32("gemma3.attention.layer_norm_rms_epsilon", 1e-5)
    writer.add_float32("gemma3.rope.freq_base", 10000.0)
    tokens = add_vocabulary(writer)
    writer.add_chat_template(CHATML)
    random = np.random.default_rng(0)
    shapes = {
        "attn_q": (EMBEDDING, EMBEDDING),
        "attn_k": (2 * HEAD, EMBEDDING),
        "attn_v": (2 * HEAD, EMBEDDING),
        "attn_output": (EMBEDDING, EMBEDDING),
        "ffn_gate": (96, EMBEDDING),
        "ffn_up": (96, EMBEDDING),
        "ffn_down": (EMBEDDING, 96),
    }
    norms = dict.fromkeys(("attn_norm", "ffn_norm", "post_attention_norm", "post_ffw_norm"), 64)
    norms |= dict.fromkeys(("attn_q_norm", "attn_k_norm"), HEAD)
    writer.add_tensor("token_embd.weight", _random(random, (len(tokens), EMBEDDING)))
    for layer in range(LAYERS):
        for name, size in norms.items():
            writer.add_tensor(f"blk.{layer}.{name}.weight", np.ones(size, np.float32))
        for name, shape in shapes.items():
            writer.add_tensor(f"blk.{layer}.{name}.weight", _random(random, shape))
    writer.add_tensor("output_norm.weight", np.ones(EMBEDDING, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _random(random: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float32]:
    return (random.standard_normal(shape) * 0.25).astype(np.float32)


@pytest.fixture(scope="module", params=[False, True], ids=["own cells", "pooled"])
def runner(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[LlamaCppRunner]:
    path = write_gemma(tmp_path_factory.mktemp("gemma") / "gemma.gguf")
    options = LlamaCppOptions(
        context_length=1024,
        slots=2,
        threads=1,
        batch_size=CHUNK,
        ubatch_size=CHUNK,
        swa_full=False,
        kv_unified=request.param,
    )
    runner = LlamaCppRunner(path, "gemma", options, lambda _: None)
    yield runner
    runner.close()


@pytest.fixture(autouse=True)
def empty(runner: LlamaCppRunner) -> Iterator[None]:
    yield
    for slot in range(2):
        runner.forget(slot, 0)


def read(runner: LlamaCppRunner, slot: int, tokens: list[int], start: int = 0) -> None:
    for begin in range(start, len(tokens), CHUNK):
        runner.forward([Row(slot, tokens[begin : begin + CHUNK], begin, sample=False)])


def logits_after(
    runner: LlamaCppRunner, slot: int, token: int, position: int
) -> NDArray[np.float32]:
    runner.open_sampler(slot, SamplingParams(temperature=0), [token])
    runner.forward([Row(slot, [token], position, sample=True)])
    logits = runner._logits(0).copy()
    runner.close_sampler(slot)
    return logits


def fresh(runner: LlamaCppRunner, num_tokens: int) -> NDArray[np.float32]:
    read(runner, 1, WHOLE[:num_tokens])
    logits = logits_after(runner, 1, 40, num_tokens)
    runner.forget(1, 0)
    return logits


@pytest.mark.parametrize("from_position", [1, 100, 400])
def test_cut_that_leaves_less_than_the_window_is_refused(
    runner: LlamaCppRunner, from_position: int
) -> None:
    read(runner, 0, WHOLE)
    assert not runner.forget(0, from_position)
    expected = fresh(runner, 800)
    assert np.allclose(logits_after(runner, 0, 40, 800), expected, atol=1e-4), "nothing was lost"


@pytest.mark.parametrize("from_position", [*range(600, 801, 8), 799])
def test_cut_that_is_granted_changes_no_number(runner: LlamaCppRunner, from_position: int) -> None:
    expected = fresh(runner, from_position)
    read(runner, 0, WHOLE)
    is_cut = runner.forget(0, from_position)
    assert is_cut or from_position < 799, "a rewind by one token must be possible"
    if is_cut:
        assert np.allclose(logits_after(runner, 0, 40, from_position), expected, atol=1e-4)


def test_restored_state_serves_at_its_end_and_nowhere_else(runner: LlamaCppRunner) -> None:
    expected = fresh(runner, 799)
    read(runner, 0, WHOLE)
    state = runner.save_state(0)
    assert state is not None
    assert runner.load_state(1, state, 800)
    assert not runner.forget(1, 700)
    assert runner.forget(1, 799), "the last token is read again to get what follows it"
    assert np.allclose(logits_after(runner, 1, 40, 799), expected, atol=1e-4)


def test_window_that_still_fills_can_be_cut_anywhere(runner: LlamaCppRunner) -> None:
    read(runner, 0, WHOLE[:30])
    assert runner.forget(0, 5)
    assert runner.forget(0, 5), "once more does nothing"
    assert not runner.forget(0, 6), "what was dropped is not there"
