"""The loader's card: options with bounds, and no native library for reading it."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from pydantic import ValidationError

from webui.errors import NotFound
from webui.loaders import LOADERS
from webui.loaders.llama_cpp import LOADER, LlamaCppOptions
from webui.loaders.llama_cpp.options import (
    flash_attention,
    max_draft,
    max_threads,
    num_threads,
    num_threads_batch,
)
from webui.sampling_params import Control, SamplingParams


def test_loader_is_listed_and_names_its_child() -> None:
    assert LOADER in LOADERS
    assert (LOADER.name, LOADER.formats, LOADER.module) == (
        "llama_cpp",
        (".gguf",),
        "webui.loaders.llama_cpp",
    )
    assert LOADER.Options is LlamaCppOptions


def test_every_sampling_parameter_is_supported() -> None:
    assert LOADER.supported_params == set(SamplingParams.model_fields)


RARE = {
    "draft_max",
    "mmap",
    "mlock",
    "swa_full",
    "check_tensors",
    "offload_kqv",
    "op_offload",
    "split_mode",
    "tensor_split",
    "main_gpu",
    "cpu_moe",
    "n_cpu_moe",
    "kv_unified",
    "kv_cells",
    "numa",
    "rope_scaling",
    "rope_freq_base",
    "rope_freq_scale",
    "yarn_orig_ctx",
    "yarn_ext_factor",
    "yarn_attn_factor",
    "yarn_beta_fast",
    "yarn_beta_slow",
}


def test_every_option_has_default_title_and_help() -> None:
    assert LlamaCppOptions()
    for field in LlamaCppOptions.model_fields.values():
        assert field.title
        assert field.description
        assert field.description.endswith(".")


def test_page_draws_all_options_but_the_rare_ones() -> None:
    drawn = {
        name
        for name, field in LlamaCppOptions.model_fields.items()
        if any(isinstance(item, Control) for item in field.metadata)
    }
    assert drawn == set(LlamaCppOptions.model_fields) - RARE


@pytest.mark.parametrize(
    "options",
    [
        {"slots": 0},
        {"slots": 65},
        {"gpu_layers": -2},
        {"threads": -1},
        {"threads": 1.5},
        {"threads": float("nan")},
        {"batch_size": 8},
        {"context_length": -1},
        {"context_length": 1},
        {"context_length": 31},
        {"context_length": 2**40},
        {"draft_max": 63},
        {"draft_max": 0},
        {"speculation": "maybe"},
        {"draft_model": "x" * 1025},
        {"draft_model": None},
        {"split_mode": "tensor"},
        {"tensor_split": [1, -1]},
        {"tensor_split": [float("nan")]},
        {"tensor_split": "1, many"},
        {"tensor_split": [1] * 17},
        {"main_gpu": -1},
        {"main_gpu": 16},
        {"n_cpu_moe": -1},
        {"n_cpu_moe": 513},
        {"numa": "mirror"},
        {"no_such_option": 1},
    ],
)
def test_option_out_of_bounds_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        LlamaCppOptions.model_validate(options)


@pytest.mark.parametrize(("cores", "threads"), [(8, 7), (2, 1), (1, 1)])
def test_one_core_is_left_free_by_default(
    monkeypatch: pytest.MonkeyPatch, cores: int, threads: int
) -> None:
    monkeypatch.setattr("webui.loaders.llama_cpp.options.num_cores", lambda: cores)
    assert num_threads(LlamaCppOptions()) == threads
    assert num_threads_batch(LlamaCppOptions()) == threads
    assert num_threads_batch(LlamaCppOptions(threads=3)) == 3
    assert num_threads_batch(LlamaCppOptions(threads=3, threads_batch=5)) == 5
    assert max_threads(LlamaCppOptions()) == cores


def test_threads_that_were_set_are_not_chosen_anew() -> None:
    assert max_threads(LlamaCppOptions(threads=3)) == 0
    assert max_threads(LlamaCppOptions(threads_batch=5)) == 0


@pytest.mark.parametrize("given", ["3, 1", "3,1", [3, 1], (3.0, 1.0)])
def test_shares_are_a_list_or_a_text_with_commas(given: object) -> None:
    assert LlamaCppOptions.model_validate({"tensor_split": given}).tensor_split == (3, 1)


def test_empty_text_is_an_empty_list_of_shares() -> None:
    assert LlamaCppOptions.model_validate({"tensor_split": " "}).tensor_split == ()


@pytest.mark.parametrize("length", [0, 32])
def test_shortest_contexts(length: int) -> None:
    assert LlamaCppOptions(context_length=length).context_length == length


def test_file_that_is_not_found_is_told_with_the_field_that_named_it() -> None:
    def find(name: str) -> Path:
        if name == "there":
            return Path("/models/there")
        raise NotFound(f"There is no {name}")

    adapters = LlamaCppOptions.model_validate({"lora": [{"path": "there"}, {"path": "gone"}]})
    draft = LlamaCppOptions(draft_model="gone")
    for options, field in ((adapters, "lora[1].path"), (draft, "draft_model")):
        with pytest.raises(NotFound) as caught:
            options.located(find, find)
        assert caught.value.field == field


def test_speculation_that_is_off_guesses_nothing() -> None:
    assert max_draft(LlamaCppOptions(draft_max=7), has_gpu=True) == 7
    assert max_draft(LlamaCppOptions(speculation="off", draft_max=7), has_gpu=True) == 0


@pytest.mark.parametrize(
    ("options", "has_gpu", "wanted"),
    [
        ({}, False, "off"),
        ({}, True, "auto"),
        ({"gpu_layers": 0}, True, "off"),
        ({"cache_type_v": "q8_0"}, False, "auto"),
        ({"speculation": "ngram"}, False, "auto"),
        ({"speculation": "draft"}, False, "auto"),
        ({"draft_model": "small"}, False, "auto"),
        ({"draft_model": "small", "speculation": "off"}, False, "off"),
        ({"flash_attn": "on"}, False, "on"),
        ({"flash_attn": "off"}, True, "off"),
    ],
)
def test_flash_attention_is_left_out_on_a_processor_unless_it_is_needed(
    options: dict[str, object], has_gpu: bool, wanted: str
) -> None:
    assert flash_attention(LlamaCppOptions(**options), has_gpu=has_gpu) == wanted


def test_nothing_is_guessed_without_flash_attention() -> None:
    assert max_draft(LlamaCppOptions(), has_gpu=False) == 0
    assert max_draft(LlamaCppOptions(speculation="ngram"), has_gpu=False) > 0
    assert max_draft(LlamaCppOptions(draft_model="small"), has_gpu=False) > 0


def test_draft_model_is_looked_for_only_where_it_is_used() -> None:
    def nothing(name: str) -> Path:
        raise AssertionError(name)

    def find(name: str) -> Path:
        return Path("/models") / name

    for speculation in ("auto", "draft"):
        options = LlamaCppOptions.model_validate(
            {"draft_model": "small", "speculation": speculation}
        )
        assert options.located(nothing, find).draft_model == str(Path("/models/small"))
    for unused in ({"draft_model": "small", "speculation": "ngram"}, {"speculation": "auto"}):
        options = LlamaCppOptions.model_validate(unused)
        assert options.located(nothing, nothing) == options


def test_importing_the_loaders_loads_no_native_library() -> None:
    script = textwrap.dedent(
        """
        import sys
        import webui.loaders, webui.loaders.llama_cpp.sampler
        print([name for name in ("llama_cpp", "torch", "gradio") if name in sys.modules])
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=20
    )
    assert done.stdout.strip() == "[]"
