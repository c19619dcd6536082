"""Load options on real contexts: types of the cache, flash attention, RoPE, locking."""

from __future__ import annotations

import math
import resource
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from tests.integration.loaders.conftest import SAYS, opened, request_of, text_of
from tests.tiny_gguf import write_tiny_gguf
from webui.engine.interface import EmbedRequest, Priority
from webui.engine.runner import Row, Sampled
from webui.errors import LoadFailed
from webui.loaders.llama_cpp import LlamaCppOptions
from webui.loaders.llama_cpp.cache_types import CACHE_TYPES
from webui.loaders.llama_cpp.runner import LlamaCppRunner
from webui.sampling_params import SamplingParams

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

BASE = {"context_length": 256, "slots": 2, "batch_size": 64, "threads": 1}
GREEDY = SamplingParams(temperature=0)
LONG_PROMPT = 300  # tokens; more than the trained context of the short model


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with heads of 32 numbers, the smallest that quantized types can keep."""
    heads = {"llama.attention.head_count": 2, "llama.attention.head_count_kv": 1}
    return write_tiny_gguf(tmp_path_factory.mktemp("wide") / "wide.gguf", metadata=heads)


def load(path: Path, **options: object) -> LlamaCppRunner:
    given = LlamaCppOptions.model_validate({**BASE, **options})
    return LlamaCppRunner(path, "model", given, lambda _: None)


def greedy(runner: LlamaCppRunner, prompt: list[int], num: int) -> list[int]:
    runner.forget(0, 0)
    runner.open_sampler(0, GREEDY, prompt)
    for start in range(0, len(prompt), 32):
        part = prompt[start : start + 32]
        is_last = start + 32 >= len(prompt)
        (result,) = runner.forward([Row(0, part, start, is_last)])
    tokens: list[int] = []
    for position in range(len(prompt), len(prompt) + num):
        assert isinstance(result, Sampled)
        tokens.append(result.token)
        (result,) = runner.forward([Row(0, tokens[-1:], position, sample=True)])
    return tokens


@pytest.mark.parametrize("name", list(CACHE_TYPES))
def test_each_type_writes_and_takes_the_memory_it_says(wide: Path, name: str) -> None:
    runner = load(wide, cache_type_k=name, cache_type_v=name)
    try:
        tokens = greedy(runner, list(range(65, 90)), 8)
        kv_bytes = runner.info.memory.kv_bytes
    finally:
        runner.close()
    num_cells, num_layers, num_heads, head_size = 2 * 256, 2, 1, 32
    expected = num_cells * num_layers * num_heads * 2 * CACHE_TYPES[name].num_bytes(head_size)
    assert len(tokens) == 8
    # llama.cpp says it in hundredths of a MiB.
    assert math.isclose(kv_bytes, expected, abs_tol=0.011 * 1024 * 1024)


# f32 without flash attention, as auto takes it on a processor, rounds least: with SmolLM2 it moves
# logits by about 0.1, enough to turn a near tie, so only the tiny model is held to it (below).
@pytest.mark.parametrize(
    ("attention", "name"),
    [("auto", "f16"), ("on", "f16"), ("off", "f16"), ("on", "f32")],
)
def test_text_is_the_same_with_these_types_and_any_attention(
    best_model: Path, attention: str, name: str
) -> None:
    _assert_writes_as_by_default(best_model, attention, name)


def test_text_of_the_tiny_model_is_the_same_without_any_rounding(noise: Path) -> None:
    _assert_writes_as_by_default(noise, "off", "f32")


def _assert_writes_as_by_default(path: Path, attention: str, name: str) -> None:
    written = []
    for options in ({}, {"flash_attn": attention, "cache_type_k": name, "cache_type_v": name}):
        runner = load(path, **options)
        try:
            prompt = runner.tokenize("The capital of France is", special=False)
            written.append(greedy(runner, prompt, 16))
        finally:
            runner.close()
    assert written[0] == written[1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cache_type_v": "q8_0", "flash_attn": "off"}, "flash attention off"),
        ({"cache_type_k": "q8_0"}, "a head has 16 numbers"),
        ({"cache_type_k": "q4_0", "flash_attn": "off"}, "a head has 16 numbers"),
        ({"cache_type_v": "iq4_nl"}, "a head has 16 numbers"),
        ({"rope_freq_scale": 0.5, "rope_scaling": "none"}, "no effect"),
        ({"tensor_split": [1] * 16}, "tensor_split has 16 shares"),
        ({"split_mode": "none", "main_gpu": 15}, "main_gpu is 15"),
    ],
)
async def test_worker_refuses_what_does_not_go_together(
    noise: Path, options: dict[str, object], said: str
) -> None:
    with pytest.raises(LoadFailed, match=said):
        async with opened(noise, **options):
            pass


@pytest.mark.parametrize("scaling", ["linear", "yarn"])
def test_scale_doubles_the_context(tmp_path: Path, scaling: str) -> None:
    path = write_tiny_gguf(tmp_path / "short.gguf", context_length=256)
    with pytest.raises(LoadFailed, match=r"made for \(256\)"):
        load(path, context_length=512)
    with pytest.raises(LoadFailed, match=r"reaches with this RoPE scale \(512\)"):
        load(path, context_length=768, rope_scaling=scaling, rope_freq_scale=0.5)
    runner = load(path, context_length=512, rope_scaling=scaling, rope_freq_scale=0.5)
    try:
        assert runner.info.context_length == 512
        assert len(greedy(runner, [65 + n % 26 for n in range(LONG_PROMPT)], 4)) == 4
    finally:
        runner.close()


async def test_memory_that_cannot_be_locked_is_no_failure(parrot: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, before[1]))  # the worker inherits it
    try:
        async with opened(parrot, mlock=True) as engine:
            said, _ = await text_of(engine, request_of("Hi"))
    finally:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, before)
    assert said.startswith("Hello world")


@pytest.mark.parametrize(
    "options",
    [
        {"mmap": False},
        {"check_tensors": True},
        {"swa_full": False},
        {"split_mode": "none"},
        {"split_mode": "row"},
        {"cpu_moe": True},
        {"n_cpu_moe": 512},
        {"numa": "distribute"},
        {"numa": "numactl"},
        {"kv_unified": True},
        {"gpu_layers": 0},
    ],
    ids=str,
)
async def test_other_ways_of_loading_write_the_same(
    parrot: Path, options: dict[str, object]
) -> None:
    async with opened(parrot, **options) as engine:
        said, _ = await text_of(engine, request_of("Hi"))
    assert said.startswith("Hello world")


def test_replies_in_one_pool_do_not_see_each_other(best_model: Path) -> None:
    apart, shared = load(best_model), load(best_model, kv_unified=True)
    try:
        prompts = [
            apart.tokenize(text, special=False) for text in ("Once upon a", "The capital of")
        ]
        alone = [greedy(apart, prompt, 8) for prompt in prompts]
        for slot in (0, 1):  # both stay in the pool from here on
            shared.forward([Row(slot, prompts[slot], 0, sample=False)])
        assert [greedy(shared, prompt, 8) for prompt in prompts] == alone
        assert shared.info.context_length == apart.info.context_length
        assert (apart.info.kv_cells, shared.info.kv_cells) == (
            None,
            shared.info.num_slots * shared.info.context_length,
        )
        assert shared.info.memory.kv_bytes == apart.info.memory.kv_bytes
    finally:
        apart.close()
        shared.close()


async def test_worker_tells_the_key_of_its_states(wide: Path) -> None:
    keys = []
    for options in ({}, {"threads": 1}, {"cache_type_k": "q8_0"}):
        async with opened(wide, **options) as engine:
            keys.append(engine.info.state_key)
    assert all(keys)
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize(
    "options",
    [
        {"context_length": 32, "slots": 64},
        {"context_length": 32, "slots": 64, "kv_unified": True},
        {"slots": 64, "batch_size": 32},
        {"slots": 33, "batch_size": 32, "ubatch_size": 32, "context_length": 2048},
        {"context_length": 32, "slots": 1, "batch_size": 16_384, "ubatch_size": 32},
        {"rope_freq_base": 1.0},
        {"rope_freq_scale": 1 / 512, "rope_scaling": "yarn", "yarn_orig_ctx": 32},
        {"yarn_beta_fast": 0, "yarn_beta_slow": 1024, "rope_scaling": "yarn"},
        {"threads": 256, "threads_batch": 256},
    ],
    ids=str,
)
async def test_values_at_the_edge_make_a_model_that_writes_and_makes_vectors(
    parrot: Path, options: dict[str, object]
) -> None:
    async with opened(parrot, **options) as engine:
        pid = engine.pid
        request = replace(request_of(""), messages=(), plain_text="\n")
        said, _ = await text_of(engine, request)
        embed = EmbedRequest(request_id="e", owner="e", priority=Priority.API, inputs=("Hello",))
        result = await engine.embed(embed)
        assert (engine.pid, engine.stats.num_deaths) == (pid, 0)
    assert said.startswith("Hello")
    assert len(result.vectors) == 1


async def test_draft_model_that_was_trained_for_one_token_ends_no_worker(
    parrot: Path, tmp_path: Path
) -> None:
    draft = write_tiny_gguf(tmp_path / "draft.gguf", says=SAYS, context_length=1)
    async with opened(parrot, draft_model=str(draft), slots=8) as engine:
        said, _ = await text_of(engine, request_of("Hi"))
        assert engine.stats.num_deaths == 0
    assert said.startswith("Hello world")
