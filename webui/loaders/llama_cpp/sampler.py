"""Sampling parameters as samplers of llama.cpp: one row for each.

Importing this does not load llama_cpp, so the web process can read which parameters count.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from webui.loaders.llama_cpp.dry import DryWish

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

    from webui.loaders.llama_cpp.dry import DrySamplers
    from webui.sampling_params import SamplerName, SamplingParams

MAX_SEED = 2**32 - 2  # llama.cpp takes 2**32 - 1 for "make one up"
LEAST_CHANCE = 1e-30  # beside the likeliest token; less is none
MIN_KEEP = 1  # tokens that a sampler which drops some leaves at least
MIROSTAT_CANDIDATES = 100  # from which version 1 guesses how steep the probabilities are

Handle: TypeAlias = int | None


@dataclass(frozen=True, slots=True)
class Vocab:
    """What samplers need to know of a model.

    Attributes:
        size: Number of its tokens.
        eog: Tokens that end a reply.
        context_length: The most tokens a sampler can look back on.
    """

    size: int
    eog: frozenset[int]
    context_length: int


@dataclass(frozen=True, slots=True)
class Recipe:
    """What one chain is made from.

    Attributes:
        llama: The module llama_cpp.
        params: How to sample.
        vocab: Of which tokens.
        dry: Makes the samplers that read the vocabulary.
        seed: Never negative.
    """

    llama: ModuleType
    params: SamplingParams
    vocab: Vocab
    dry: DrySamplers
    seed: int


@dataclass(frozen=True, slots=True)
class Step:
    """One sampler of the chain.

    Attributes:
        reads: Parameters it depends on.
        is_needed: Whether it changes anything with these parameters.
        build: Makes it; returns its handle.
        looks_back: How many of the latest tokens it is shown at first; None looks at none.
        needs_chance: Whether tokens without a chance, such as banned ones, must go before it.
    """

    reads: frozenset[str]
    is_needed: Callable[[SamplingParams], bool]
    build: Callable[[Recipe], Handle]
    looks_back: Callable[[Recipe], int] | None = None
    needs_chance: bool = False


def has_penalties(params: SamplingParams) -> bool:
    """Return whether any of the three penalties changes a token's chance."""
    given = (params.repeat_penalty, params.frequency_penalty, params.presence_penalty)
    return params.repeat_last_n > 0 and given != (1, 0, 0)


def has_dry(params: SamplingParams) -> bool:
    """Return whether repeated passages make a token less likely."""
    return params.dry_multiplier > 0 and params.dry_penalty_last_n != 0


def _drops_tokens(params: SamplingParams) -> bool:
    """Return whether samplers that drop tokens have a say; Mirostat takes their place."""
    return params.temperature > 0 and params.mirostat == 0


def _build_penalties(recipe: Recipe) -> Handle:
    params = recipe.params
    handle: Handle = recipe.llama.llama_sampler_init_penalties(
        recipe.vocab.size,
        min(params.repeat_last_n, recipe.vocab.context_length),  # it takes memory for each
        params.repeat_penalty,
        params.frequency_penalty,
        params.presence_penalty,
    )
    return handle


def dry_wish(params: SamplingParams, context_length: int) -> DryWish:
    """Return what is asked of DRY with a context of so many tokens."""
    asked = params.dry_penalty_last_n
    return DryWish(
        params.dry_multiplier,
        params.dry_base,
        params.dry_allowed_length,
        context_length if asked < 0 else min(asked, context_length),
        params.dry_sequence_breakers,
    )


def _build_dry(recipe: Recipe) -> Handle:
    return recipe.dry.make(dry_wish(recipe.params, recipe.vocab.context_length))


def _build_xtc(recipe: Recipe) -> Handle:
    params = recipe.params
    # A seed of its own: with that of the choice both would draw the same numbers.
    seed = (recipe.seed + 1) % (MAX_SEED + 1)
    handle: Handle = recipe.llama.llama_sampler_init_xtc(
        params.xtc_probability, params.xtc_threshold, MIN_KEEP, seed
    )
    return handle


def _build_temperature(recipe: Recipe) -> Handle:
    params, llama = recipe.params, recipe.llama
    handle: Handle
    if params.dynatemp_range > 0:
        handle = llama.llama_sampler_init_temp_ext(
            params.temperature, params.dynatemp_range, params.dynatemp_exponent
        )
    else:
        handle = llama.llama_sampler_init_temp(params.temperature)
    return handle


def build_choice(recipe: Recipe) -> Handle:
    """Make the last sampler, the one that chooses."""
    params, llama, seed = recipe.params, recipe.llama, recipe.seed
    tau, eta = params.mirostat_tau, params.mirostat_eta
    handle: Handle
    if params.temperature == 0:
        handle = llama.llama_sampler_init_greedy()
    elif params.mirostat == 1:
        handle = llama.llama_sampler_init_mirostat(
            recipe.vocab.size, seed, tau, eta, MIROSTAT_CANDIDATES
        )
    elif params.mirostat:
        handle = llama.llama_sampler_init_mirostat_v2(seed, tau, eta)
    elif params.adaptive_target > 0:
        handle = llama.llama_sampler_init_adaptive_p(
            params.adaptive_target, params.adaptive_decay, seed
        )
    else:
        handle = llama.llama_sampler_init_dist(seed)
    return handle


# At temperature 0 the penalties and DRY stay, the rest is one greedy choice.
STEPS: Mapping[SamplerName, Step] = {
    "penalties": Step(
        frozenset({"repeat_penalty", "repeat_last_n", "frequency_penalty", "presence_penalty"}),
        has_penalties,
        _build_penalties,
        lambda recipe: recipe.params.repeat_last_n,
    ),
    "dry": Step(
        frozenset(
            {
                "dry_multiplier",
                "dry_base",
                "dry_allowed_length",
                "dry_penalty_last_n",
                "dry_sequence_breakers",
            }
        ),
        has_dry,
        _build_dry,
        lambda recipe: dry_wish(recipe.params, recipe.vocab.context_length).last_n,
    ),
    "top_n_sigma": Step(
        frozenset({"top_n_sigma"}),
        lambda params: _drops_tokens(params) and params.top_n_sigma > 0,
        lambda recipe: recipe.llama.llama_sampler_init_top_n_sigma(recipe.params.top_n_sigma),
    ),
    "top_k": Step(
        frozenset({"top_k"}),
        lambda params: _drops_tokens(params) and params.top_k > 0,
        lambda recipe: recipe.llama.llama_sampler_init_top_k(recipe.params.top_k),
    ),
    "typical_p": Step(
        frozenset({"typical_p"}),
        lambda params: _drops_tokens(params) and params.typical_p < 1,
        lambda recipe: recipe.llama.llama_sampler_init_typical(recipe.params.typical_p, MIN_KEEP),
        needs_chance=True,  # llama.cpp's sum of p log p is no number where one p is 0
    ),
    "top_p": Step(
        frozenset({"top_p"}),
        lambda params: _drops_tokens(params) and params.top_p < 1,
        lambda recipe: recipe.llama.llama_sampler_init_top_p(recipe.params.top_p, MIN_KEEP),
    ),
    "min_p": Step(
        frozenset({"min_p"}),
        lambda params: _drops_tokens(params) and params.min_p > 0,
        lambda recipe: recipe.llama.llama_sampler_init_min_p(recipe.params.min_p, MIN_KEEP),
    ),
    "xtc": Step(
        frozenset({"xtc_probability", "xtc_threshold"}),
        lambda params: _drops_tokens(params) and params.xtc_probability > 0,
        _build_xtc,
        needs_chance=True,  # with the threshold 0 it would leave the least likely: a banned one
    ),
    "temperature": Step(
        frozenset({"temperature", "dynatemp_range", "dynatemp_exponent"}),
        lambda params: params.temperature > 0,
        _build_temperature,
    ),
}
# Read by the choice and by what stands before all samplers.
OWN_PARAMS = frozenset(
    {
        "sampler_order",
        "seed",
        "mirostat",
        "mirostat_tau",
        "mirostat_eta",
        "adaptive_target",
        "adaptive_decay",
        "logit_bias",
        "banned_tokens",
        "ignore_eos",
        "min_tokens",
    }
)
SAMPLED_PARAMS = OWN_PARAMS.union(*(step.reads for step in STEPS.values()))


def choose_seed(params: SamplingParams) -> int:
    """Return the seed that was asked for, or a new one."""
    return secrets.randbelow(MAX_SEED + 1) if params.seed < 0 else params.seed
