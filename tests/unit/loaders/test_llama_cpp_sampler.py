"""The sampler chain: which samplers, in which order, with which numbers."""

from __future__ import annotations

import ctypes
import math
from typing import TYPE_CHECKING, Any

import pytest

from webui.errors import EngineError, InvalidRequest
from webui.loaders.llama_cpp import sampler
from webui.loaders.llama_cpp.chain import Chain
from webui.loaders.llama_cpp.dry import DrySamplers, DryWish
from webui.loaders.llama_cpp.made_ahead import MAX_KEPT
from webui.loaders.llama_cpp.sampler import MAX_SEED, Recipe, Vocab, choose_seed
from webui.sampling_params import SAMPLER_ORDER, SamplingParams

if TYPE_CHECKING:
    from types import ModuleType

PREFIX = "llama_sampler_"


class FakeLlama:
    """Writes down what is asked of llama_cpp; `broken` makes no sampler."""

    def __init__(self, broken: str = "") -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.broken = broken

    class llama_logit_bias(ctypes.Structure):  # noqa: N801 - as llama_cpp calls it
        _fields_ = (("token", ctypes.c_int32), ("bias", ctypes.c_float))

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any) -> int | None:
            self.calls.append((name.removeprefix(PREFIX), *args))
            return None if name == PREFIX + self.broken else len(self.calls)

        return call

    def inits(self) -> list[tuple[Any, ...]]:
        found = [call for call in self.calls if call[0].startswith("init_")]
        return [(name.removeprefix("init_"), *args) for name, *args in found]


@pytest.fixture
def llama() -> FakeLlama:
    return FakeLlama()


def open_chain(llama: FakeLlama, params: SamplingParams, tokens: Any = (), **more: Any) -> Chain:
    module: ModuleType = llama  # type: ignore[assignment]  # has what is called
    vocab = Vocab(size=1000, eog=frozenset({2, 3}), context_length=4096)
    recipe = Recipe(module, params, vocab, DrySamplers(module, 7), choose_seed(params))
    return Chain(recipe, tokens, **more)


def biases(llama: FakeLlama) -> list[dict[int, float]]:
    return [
        {entry.token: entry.bias for entry in array}
        for name, *_, array in llama.inits()
        if name == "logit_bias"
    ]


def test_chain_follows_the_order_of_llama_cpp(llama: FakeLlama) -> None:
    params = SamplingParams(
        temperature=0.5,
        top_k=20,
        top_p=0.9,
        min_p=0.1,
        repeat_penalty=1.1,
        repeat_last_n=32,
        frequency_penalty=0.2,
        presence_penalty=0.3,
        seed=7,
    )
    open_chain(llama, params, [1, 2, 3])
    assert llama.inits() == [
        ("penalties", 1000, 32, 1.1, 0.2, 0.3),
        ("top_k", 20),
        ("top_p", 0.9, 1),
        ("min_p", 0.1, 1),
        ("temp", 0.5),
        ("dist", 7),
    ]


def test_penalties_look_no_further_back_than_the_context(llama: FakeLlama) -> None:
    open_chain(llama, SamplingParams(temperature=0, repeat_penalty=1.1, repeat_last_n=1_000_000))
    assert llama.inits()[0] == ("penalties", 1000, 4096, 1.1, 0.0, 0.0)


ALL_ON = SamplingParams(
    seed=7,
    repeat_penalty=1.1,
    dry_multiplier=0.8,
    top_n_sigma=1.5,
    typical_p=0.9,
    xtc_probability=0.5,
    dynatemp_range=0.2,
    logit_bias={9: -1.5},
    banned_tokens=(4,),
)


def test_all_samplers_stand_in_the_chain_with_their_numbers(llama: FakeLlama) -> None:
    open_chain(llama, ALL_ON)
    bias, *rest = llama.inits()
    assert bias[:3] == ("logit_bias", 1000, 2)
    dry = rest.pop(1)
    assert dry[:6] == ("dry", 7, 0.8, 1.75, 2, 4096)
    assert list(dry[6]) == [b"\n", b":", b'"', b"*"]
    assert rest == [
        ("penalties", 1000, 64, 1.1, 0.0, 0.0),
        ("top_n_sigma", 1.5),
        ("top_k", 40),
        ("min_p", 1e-30, 1),
        ("typical", 0.9, 1),
        ("top_p", 0.95, 1),
        ("min_p", 0.05, 1),
        ("min_p", 1e-30, 1),
        ("xtc", 0.5, 0.1, 1, 8),
        ("temp_ext", 0.7, 0.2, 1.0),
        ("dist", 7),
    ]
    assert biases(llama) == [{9: -1.5, 4: -math.inf}]


def test_samplers_run_in_the_asked_order_and_no_others(llama: FakeLlama) -> None:
    order = ("temperature", "min_p", "dry")
    open_chain(llama, ALL_ON.model_copy(update={"sampler_order": order}))
    names = [name for name, *_ in llama.inits()]
    assert names == ["logit_bias", "temp_ext", "min_p", "dry", "dist"]


def test_every_sampler_has_a_row() -> None:
    assert tuple(sampler.STEPS) == SAMPLER_ORDER


@pytest.mark.parametrize(
    ("fields", "choice"),
    [
        ({}, ("dist", 7)),
        ({"mirostat": 1}, ("mirostat", 1000, 7, 5.0, 0.1, 100)),
        ({"mirostat": 2, "mirostat_tau": 3}, ("mirostat_v2", 7, 3.0, 0.1)),
        ({"adaptive_target": 0.4}, ("adaptive_p", 0.4, 0.9, 7)),
        ({"temperature": 0, "mirostat": 2}, ("greedy",)),
    ],
)
def test_one_sampler_chooses(llama: FakeLlama, fields: dict[str, Any], choice: Any) -> None:
    open_chain(llama, SamplingParams(seed=7, **fields))
    assert llama.inits()[-1] == choice


def test_mirostat_takes_the_place_of_what_drops_tokens(llama: FakeLlama) -> None:
    open_chain(llama, ALL_ON.model_copy(update={"mirostat": 2}))
    names = [name for name, *_ in llama.inits()]
    assert names == ["logit_bias", "penalties", "dry", "temp_ext", "mirostat_v2"]


def test_what_is_switched_off_is_left_out(llama: FakeLlama) -> None:
    open_chain(llama, SamplingParams(top_k=0, top_p=1, min_p=0, temperature=1, seed=0))
    assert llama.inits() == [("temp", 1.0), ("dist", 0)]


def test_temperature_0_is_greedy_and_keeps_penalties(llama: FakeLlama) -> None:
    open_chain(llama, ALL_ON.model_copy(update={"temperature": 0}))
    names = [name for name, *_ in llama.inits()]
    assert names == ["logit_bias", "penalties", "dry", "greedy"]


def test_penalties_and_dry_see_the_end_of_the_prompt(llama: FakeLlama) -> None:
    params = SamplingParams(
        repeat_penalty=1.2, repeat_last_n=2, dry_multiplier=1, dry_penalty_last_n=1
    )
    open_chain(llama, params, [5, 6, 7])
    accepted = [token for name, *args in llama.calls if name == "accept" for token in args[1:]]
    assert accepted == [6, 7, 7]


@pytest.mark.parametrize("fields", [{"repeat_last_n": 0}, {"repeat_penalty": 1}])
def test_prompt_is_not_shown_to_a_chain_that_does_not_look_back(
    llama: FakeLlama, fields: dict[str, Any]
) -> None:
    open_chain(llama, SamplingParams(**{"repeat_penalty": 1.2, **fields}), [5, 6, 7])
    assert not [call for call in llama.calls if call[0] == "accept"]


def test_seed_of_minus_1_is_new_each_time(llama: FakeLlama) -> None:
    for _ in range(3):
        open_chain(llama, SamplingParams())
    seeds = [args[0] for name, *args in llama.inits() if name == "dist"]
    assert len(set(seeds)) > 1
    assert all(0 <= seed <= MAX_SEED for seed in seeds)


def test_greatest_seed_stays_in_its_range(llama: FakeLlama) -> None:
    open_chain(llama, SamplingParams(seed=MAX_SEED, xtc_probability=1))
    (xtc,) = [args for name, *args in llama.inits() if name == "xtc"]
    assert xtc[-1] == 0


@pytest.mark.parametrize("broken", ["init_top_k", "init_dist", "init_logit_bias"])
def test_sampler_that_cannot_be_made_frees_the_chain(broken: str) -> None:
    fake = FakeLlama(broken)
    with pytest.raises(EngineError, match="no sampler for"):
        open_chain(fake, SamplingParams(banned_tokens=(1,)))
    assert fake.calls[-1][0] == "free"


def test_ends_are_banned_until_enough_is_written(llama: FakeLlama) -> None:
    open_chain(llama, SamplingParams(min_tokens=3), num_reply=2)
    assert biases(llama) == [{2: -math.inf, 3: -math.inf}]
    llama.calls.clear()
    open_chain(llama, SamplingParams(min_tokens=3), num_reply=3)
    assert biases(llama) == []


def test_token_that_does_not_exist_is_refused_naming_the_field(llama: FakeLlama) -> None:
    with pytest.raises(InvalidRequest, match="banned_tokens: this model has no token 1000"):
        open_chain(llama, SamplingParams(banned_tokens=(999, 1000)))
    with pytest.raises(InvalidRequest, match="logit_bias"):
        open_chain(llama, SamplingParams(logit_bias={5000: 1}))


def test_every_step_reads_a_known_parameter() -> None:
    assert set(SamplingParams.model_fields) >= sampler.SAMPLED_PARAMS


def test_dry_sampler_is_made_once_and_copied(llama: FakeLlama) -> None:
    module: ModuleType = llama  # type: ignore[assignment]  # has what is called
    dry = DrySamplers(module, 7)
    wishes = [DryWish(0.8, 1.75, length, -1, ("\n",)) for length in range(MAX_KEPT + 1)]
    assert len({dry.make(wishes[0]) for _ in range(3)}) == 3
    assert len(llama.inits()) == 1
    for wish in wishes[1:]:
        dry.make(wish)
    freed = [args for name, *args in llama.calls if name == "free"]
    assert len(freed) == 1  # of the first, which was used longest ago
    dry.close()
    dry.close()
    assert len([call for call in llama.calls if call[0] == "free"]) == len(wishes)
