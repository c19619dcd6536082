"""The sampler chain: which samplers, in which order, with which numbers."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from webui.errors import EngineError
from webui.loaders.llama_cpp import sampler
from webui.loaders.llama_cpp.sampler import MAX_SEED, open_chain
from webui.sampling_params import SamplingParams

PREFIX = "llama_sampler_"


class FakeLlama:
    """Writes down what is asked of llama_cpp; `broken` makes no sampler."""

    def __init__(self, broken: str = "") -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.broken = broken

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any) -> int | None:
            self.calls.append((name.removeprefix(PREFIX), *args))
            return None if name == PREFIX + self.broken else len(self.calls)

        return call

    def inits(self) -> list[tuple[Any, ...]]:
        found = [call for call in self.calls if call[0].startswith("init_")]
        return [(name.removeprefix("init_"), *args) for name, *args in found]


@pytest.fixture
def llama(monkeypatch: pytest.MonkeyPatch) -> FakeLlama:
    fake = FakeLlama()
    monkeypatch.setitem(sys.modules, "llama_cpp", fake)
    return fake


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
    open_chain(params, [1, 2, 3], 1000)
    assert llama.inits() == [
        ("penalties", 1000, 32, 1.1, 0.2, 0.3),
        ("top_k", 20),
        ("top_p", 0.9, 1),
        ("min_p", 0.1, 1),
        ("temp", 0.5),
        ("dist", 7),
    ]


def test_what_is_switched_off_is_left_out(llama: FakeLlama) -> None:
    open_chain(SamplingParams(top_k=0, top_p=1, min_p=0, temperature=1, seed=0), [], 1000)
    assert llama.inits() == [("temp", 1.0), ("dist", 0)]


def test_temperature_0_is_greedy_and_keeps_penalties(llama: FakeLlama) -> None:
    open_chain(SamplingParams(temperature=0, repeat_penalty=1.2), [], 1000)
    assert [name for name, *_ in llama.inits()] == ["penalties", "greedy"]


def test_penalties_see_the_end_of_the_prompt(llama: FakeLlama) -> None:
    chain = open_chain(SamplingParams(repeat_penalty=1.2, repeat_last_n=2), [5, 6, 7], 1000)
    assert [call for call in llama.calls if call[0] == "accept"] == [
        ("accept", chain, 6),
        ("accept", chain, 7),
    ]


def test_prompt_is_not_shown_to_a_chain_without_penalties(llama: FakeLlama) -> None:
    open_chain(SamplingParams(repeat_penalty=1.2, repeat_last_n=0), [5, 6, 7], 1000)
    assert not [call for call in llama.calls if call[0] == "accept"]


def test_seed_of_minus_1_is_new_each_time(llama: FakeLlama) -> None:
    for _ in range(3):
        open_chain(SamplingParams(), [], 1000)
    seeds = [args[0] for name, *args in llama.inits() if name == "dist"]
    assert len(set(seeds)) > 1
    assert all(0 <= seed <= MAX_SEED for seed in seeds)


def test_sampler_that_cannot_be_made_frees_the_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeLlama(broken="init_top_k")
    monkeypatch.setitem(sys.modules, "llama_cpp", fake)
    with pytest.raises(EngineError, match="top_k"):
        open_chain(SamplingParams(), [], 1000)
    assert fake.calls[-1][0] == "free"


def test_every_step_reads_a_known_parameter() -> None:
    for step in sampler.STEPS:
        assert step.reads <= set(SamplingParams.model_fields)
