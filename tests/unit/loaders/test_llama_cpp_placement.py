"""What llama.cpp is told about cards, shares, experts and processors."""

from __future__ import annotations

import ctypes
import re

import llama_cpp
import pytest

from webui.loaders.llama_cpp import LlamaCppOptions
from webui.loaders.llama_cpp.expert_names import experts_on_cpu
from webui.loaders.llama_cpp.ggml import cpu_buffer_type
from webui.loaders.llama_cpp.placement import BufferOverride, place_weights, start_numa


def options_of(**options: object) -> LlamaCppOptions:
    return LlamaCppOptions.model_validate(options)


def test_defaults_tell_llama_cpp_its_own() -> None:
    params = llama_cpp.llama_model_default_params()
    before = bytes(params)
    assert place_weights(params, LlamaCppOptions()) == []
    assert bytes(params) == before


@pytest.mark.parametrize(("name", "number"), [("none", 0), ("layer", 1), ("row", 2)])
def test_split_mode_and_main_card_are_told(name: str, number: int) -> None:
    params = llama_cpp.llama_model_default_params()
    place_weights(params, options_of(split_mode=name, main_gpu=3))
    assert (params.split_mode, params.main_gpu) == (number, 3)


def test_shares_are_told_with_zeros_behind_them() -> None:
    params = llama_cpp.llama_model_default_params()
    kept = place_weights(params, options_of(tensor_split=[3, 0, 1]))
    num = max(3, llama_cpp.llama_max_devices())
    assert kept
    assert params.tensor_split[:num] == [3, 0, 1] + [0] * (num - 3)


def test_experts_are_told_as_one_pattern_and_an_empty_end() -> None:
    params = llama_cpp.llama_model_default_params()
    options = options_of(n_cpu_moe=2)
    kept = place_weights(params, options)
    first, end = (BufferOverride * 2).from_address(params.tensor_buft_overrides)
    assert kept
    assert first.pattern.decode() == experts_on_cpu(options)
    assert first.buffer_type == cpu_buffer_type()
    assert (end.pattern, end.buffer_type) == (None, None)
    assert ctypes.sizeof(BufferOverride) == 2 * ctypes.sizeof(ctypes.c_void_p)


@pytest.mark.parametrize(
    ("options", "on_cpu"),
    [
        ({}, set()),
        ({"cpu_moe": True}, {0, 1, 2, 11, 12}),
        ({"n_cpu_moe": 1}, {0}),
        ({"n_cpu_moe": 2}, {0, 1}),
        ({"n_cpu_moe": 12}, {0, 1, 2, 11}),
        ({"n_cpu_moe": 1, "cpu_moe": True}, {0, 1, 2, 11, 12}),
    ],
)
def test_pattern_names_the_experts_of_those_layers_only(
    options: dict[str, object], on_cpu: set[int]
) -> None:
    pattern = experts_on_cpu(options_of(**options))
    kinds = ("up", "down", "gate", "gate_up")
    for layer in (0, 1, 2, 11, 12):
        for kind in kinds:
            name = f"blk.{layer}.ffn_{kind}_exps.weight"
            assert bool(pattern and re.search(pattern, name)) == (layer in on_cpu)
        for name in (
            "ffn_up.weight",
            "ffn_up_shexp.weight",
            "attn_q.weight",
            "ffn_gate_inp.weight",
        ):
            assert not (pattern and re.search(pattern, f"blk.{layer}.{name}"))


def test_numa_is_started_only_where_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    monkeypatch.setattr(llama_cpp, "llama_numa_init", told.append)
    for name in ("disabled", "distribute", "isolate", "numactl"):
        start_numa(options_of(numa=name))
    assert told == [1, 2, 3]
