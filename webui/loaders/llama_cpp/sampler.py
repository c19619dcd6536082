"""Sampling parameters as a llama.cpp sampler chain: one row per sampler, in the order they run.

Importing this does not load llama_cpp, so the web process can read which parameters count.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from webui.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

    from webui.sampling_params import SamplingParams

MAX_SEED = 2**32 - 2  # llama.cpp takes 2**32 - 1 for "make one up"
MIN_KEEP = 1  # tokens that top-p and min-p leave at least


@dataclass(frozen=True, slots=True)
class Step:
    """One sampler of the chain.

    Attributes:
        reads: Parameters it depends on.
        is_needed: Whether it changes anything with these parameters.
        build: Makes it from llama_cpp, the parameters and the vocabulary size; returns its handle.
    """

    reads: frozenset[str]
    is_needed: Callable[[SamplingParams], bool]
    build: Callable[[ModuleType, SamplingParams, int], int | None]


def has_penalties(params: SamplingParams) -> bool:
    """Return whether any of the three penalties changes a token's chance."""
    given = (params.repeat_penalty, params.frequency_penalty, params.presence_penalty)
    return params.repeat_last_n > 0 and given != (1, 0, 0)


def _is_random(params: SamplingParams) -> bool:
    return params.temperature > 0


def _build_penalties(llama: ModuleType, params: SamplingParams, vocab_size: int) -> int | None:
    handle: int | None = llama.llama_sampler_init_penalties(
        vocab_size,
        params.repeat_last_n,
        params.repeat_penalty,
        params.frequency_penalty,
        params.presence_penalty,
    )
    return handle


def _build_choice(llama: ModuleType, params: SamplingParams, _vocab_size: int) -> int | None:
    seed = secrets.randbelow(MAX_SEED + 1) if params.seed < 0 else params.seed
    handle: int | None = llama.llama_sampler_init_dist(seed)
    return handle


# In llama.cpp's default order. At temperature 0 the penalties stay, the rest is one greedy choice.
# Source: llama.cpp, common/common.h, common_params_sampling.samplers.
STEPS: tuple[Step, ...] = (
    Step(
        frozenset({"repeat_penalty", "repeat_last_n", "frequency_penalty", "presence_penalty"}),
        has_penalties,
        _build_penalties,
    ),
    Step(
        frozenset({"top_k"}),
        lambda params: _is_random(params) and params.top_k > 0,
        lambda llama, params, _: llama.llama_sampler_init_top_k(params.top_k),
    ),
    Step(
        frozenset({"top_p"}),
        lambda params: _is_random(params) and params.top_p < 1,
        lambda llama, params, _: llama.llama_sampler_init_top_p(params.top_p, MIN_KEEP),
    ),
    Step(
        frozenset({"min_p"}),
        lambda params: _is_random(params) and params.min_p > 0,
        lambda llama, params, _: llama.llama_sampler_init_min_p(params.min_p, MIN_KEEP),
    ),
    Step(
        frozenset({"temperature"}),
        _is_random,
        lambda llama, params, _: llama.llama_sampler_init_temp(params.temperature),
    ),
    Step(frozenset({"seed"}), _is_random, _build_choice),
    Step(
        frozenset({"temperature"}),
        lambda params: not _is_random(params),
        lambda llama, _, __: llama.llama_sampler_init_greedy(),
    ),
)
SAMPLED_PARAMS = frozenset[str]().union(*(step.reads for step in STEPS))


def open_chain(params: SamplingParams, prompt: Sequence[int], vocab_size: int) -> int:
    """Build the chain of one sequence and show it the prompt; return its handle.

    The caller frees it with `llama_sampler_free`.

    Raises:
        EngineError: llama.cpp made no sampler.
    """
    import llama_cpp

    chain: int | None = llama_cpp.llama_sampler_chain_init(
        llama_cpp.llama_sampler_chain_default_params()
    )
    if not chain:
        raise EngineError("llama.cpp made no sampler chain")
    for step in STEPS:
        if not step.is_needed(params):
            continue
        handle = step.build(llama_cpp, params, vocab_size)
        if not handle:  # a null link would be followed at the next token
            llama_cpp.llama_sampler_free(chain)
            raise EngineError(f"llama.cpp made no sampler for {', '.join(sorted(step.reads))}")
        llama_cpp.llama_sampler_chain_add(chain, handle)
    if has_penalties(params):
        for token in prompt[-params.repeat_last_n :]:
            llama_cpp.llama_sampler_accept(chain, token)
    return chain
