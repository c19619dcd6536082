"""Which load options go together, what types of the cache take, and what makes states the same."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, get_args

import pytest
from pydantic import ValidationError

from tests.tiny_gguf import write_tiny_gguf
from webui.errors import LoadFailed
from webui.loaders.llama_cpp import LOADER, LlamaCppOptions, card
from webui.loaders.llama_cpp.__main__ import open_spec
from webui.loaders.llama_cpp.backends import can_use_cards
from webui.loaders.llama_cpp.cache_types import CACHE_TYPES, CacheTypeName
from webui.loaders.llama_cpp.combinations import (
    check_devices,
    check_heads,
    check_options,
    longest_context,
)
from webui.loaders.llama_cpp.options import MAX_CONTEXT_LENGTH
from webui.loaders.llama_cpp.state_key import HARMLESS, state_key

if TYPE_CHECKING:
    from pathlib import Path

    from webui.engine.runner import RunnerSpec

QUANTIZED = [name for name, kind in CACHE_TYPES.items() if kind.is_quantized]


def options_of(**options: object) -> LlamaCppOptions:
    return LlamaCppOptions.model_validate(options)


def test_every_type_that_can_be_chosen_has_a_size() -> None:
    assert set(CACHE_TYPES) == set(get_args(CacheTypeName))


@pytest.mark.parametrize(
    ("name", "num_bytes"),
    [("f32", 256), ("f16", 128), ("bf16", 128), ("q8_0", 68), ("q5_1", 48), ("q4_0", 36)],
)
def test_head_of_64_numbers_takes(name: CacheTypeName, num_bytes: int) -> None:
    assert CACHE_TYPES[name].num_bytes(64) == num_bytes


@pytest.mark.parametrize(
    "options",
    [
        {"cache_type_k": "q3_k"},
        {"flash_attn": "maybe"},
        {"rope_scaling": "longrope"},
        {"rope_freq_scale": 1.5},
        {"rope_freq_scale": 0.0001},
        {"rope_freq_base": 0.5},
        {"rope_freq_base": 1e-45},
        {"yarn_orig_ctx": 1},
        {"rope_freq_scale": float("nan")},
        {"rope_freq_base": -1},
        {"yarn_ext_factor": float("nan")},
        {"yarn_attn_factor": -2},
        {"yarn_beta_fast": float("inf")},
        {"yarn_orig_ctx": -1},
    ],
)
def test_value_out_of_bounds_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        options_of(**options)


def test_defaults_go_together() -> None:
    check_options(LlamaCppOptions())


@pytest.mark.parametrize("name", QUANTIZED)
def test_quantized_values_need_flash_attention(name: str) -> None:
    with pytest.raises(LoadFailed, match=f"kept as {name} with flash attention off"):
        check_options(options_of(cache_type_v=name, flash_attn="off"))
    check_options(options_of(cache_type_v=name))
    check_options(options_of(cache_type_k=name, flash_attn="off"))


def test_scale_that_has_no_effect_is_refused() -> None:
    with pytest.raises(LoadFailed, match="no effect"):
        check_options(options_of(rope_freq_scale=0.5, rope_scaling="none"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kv_cells": 4096}, "no effect with kv_unified false"),
        ({"kv_cells": 4096, "kv_unified": True, "context_length": 4097}, "one context of 4,097"),
        ({"kv_cells": 32, "kv_unified": True, "slots": 33}, "each of 33 replies"),
    ],
)
def test_cells_that_cannot_be_are_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(LoadFailed, match=said) as caught:
        check_options(options_of(**options))
    assert caught.value.hint
    assert caught.value.field == "kv_cells"


@pytest.mark.parametrize("context_length", [0, 4096])
def test_cells_for_one_context_are_enough(context_length: int) -> None:
    check_options(options_of(kv_cells=4096, kv_unified=True, context_length=context_length))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"speculation": "draft"}, "needs a draft model"),
        ({"speculation": "ngram", "flash_attn": "off"}, "ngram does not go with"),
        (
            {"speculation": "draft", "draft_model": "small", "flash_attn": "off"},
            "Speculation draft does not go with flash attention off",
        ),
        ({"draft_model": "small", "flash_attn": "off"}, "draft model does not go with flash"),
    ],
)
def test_speculation_that_cannot_work_is_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(LoadFailed, match=said) as caught:
        check_options(options_of(**options))
    assert caught.value.hint


@pytest.mark.parametrize(
    "options",
    [
        {"draft_model": "small"},
        {"draft_model": "small", "speculation": "draft"},
        {"draft_model": "small", "speculation": "off", "flash_attn": "off"},
        {"draft_model": "small", "speculation": "ngram"},
    ],
)
def test_draft_model_may_stay_named_where_it_is_not_used(options: dict[str, object]) -> None:
    check_options(options_of(**options))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"split_mode": "none", "tensor_split": [1, 1]}, "no effect with split_mode none"),
        ({"main_gpu": 1}, "no effect with split_mode layer"),
        ({"main_gpu": 1, "split_mode": "row"}, "no effect with split_mode row"),
        ({"tensor_split": [0, 0]}, "all graphics cards .* are 0"),
    ],
)
def test_split_that_contradicts_itself_is_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(LoadFailed, match=said):
        check_options(options_of(**options))


@pytest.mark.parametrize(
    ("options", "num_gpus", "said"),
    [
        ({"tensor_split": [1, 1]}, 0, "2 shares, and no graphics card is there"),
        ({"tensor_split": [1, 1]}, 1, "2 shares, and one graphics card is there"),
        ({"tensor_split": [1, 1, 1]}, 2, "3 shares, and 2 graphics cards are there"),
        ({"split_mode": "none", "main_gpu": 1}, 1, "main_gpu is 1, and one"),
        ({"gpu_layers": 10}, 0, "gpu_layers is 10, and no graphics card is there"),
    ],
)
def test_card_that_is_not_there_is_refused(
    options: dict[str, object], num_gpus: int, said: str
) -> None:
    given = options_of(**options)
    check_options(given)
    with pytest.raises(LoadFailed, match=said):
        check_devices(given, num_gpus)
    check_devices(given, num_gpus + 2)


def test_options_without_cards_need_none() -> None:
    check_devices(LlamaCppOptions(), 0)
    check_devices(options_of(split_mode="none"), 0)
    check_devices(options_of(gpu_layers=0), 0)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["libggml.so", "libggml-base.so.0", "libggml-cpu.so"], False),
        (["libggml.so", "libggml-cpu.so", "libggml-cuda.so"], True),
        (["libggml.dylib", "libggml-metal.dylib"], True),
        (["ggml.dll", "ggml-base.dll", "ggml-vulkan.dll"], True),
        ([], True),
    ],
    ids=str,
)
def test_build_for_cards_is_known_by_its_libraries(
    tmp_path: Path, names: list[str], *, expected: bool
) -> None:
    for name in names:
        (tmp_path / name).touch()
    assert can_use_cards(tmp_path) == expected


def test_build_that_is_not_found_may_use_cards() -> None:
    assert can_use_cards(None)


@pytest.mark.parametrize("options", [{"tensor_split": [1, 1]}, {"gpu_layers": 10}], ids=str)
def test_cards_that_the_build_cannot_use_are_refused_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, object]
) -> None:
    path = tmp_path / "tiny.gguf"
    write_tiny_gguf(path)
    given = options_of(**options)
    monkeypatch.setattr(card, "library_folder", lambda: tmp_path)
    LOADER.check(path, given)  # nothing says that there are none
    (tmp_path / "libggml-cpu.so").touch()
    with pytest.raises(LoadFailed, match="no graphics card is there") as refusal:
        LOADER.check(path, given)
    assert refusal.value.field == next(iter(options))


@pytest.mark.parametrize("name", QUANTIZED)
def test_head_must_be_whole_blocks(name: str) -> None:
    with pytest.raises(LoadFailed, match=r"Keys .* 80 numbers"):
        check_heads(options_of(cache_type_k=name), 80, 64)
    with pytest.raises(LoadFailed, match=r"Values .* 80 numbers"):
        check_heads(options_of(cache_type_v=name), 64, 80)
    check_heads(options_of(cache_type_k=name, cache_type_v=name), 128, 64)
    check_heads(LlamaCppOptions(), 80, 80)


@pytest.mark.parametrize(
    ("options", "longest"),
    [
        ({}, 2048),
        ({"rope_freq_scale": 0.5}, 4096),
        ({"rope_freq_scale": 1}, 2048),
        ({"rope_scaling": "linear"}, 2048),
        ({"rope_freq_scale": 0.25, "rope_scaling": "yarn", "yarn_orig_ctx": 4096}, 16_384),
        ({"rope_freq_scale": 0.5, "yarn_orig_ctx": 8192}, 4096),
        ({"rope_freq_base": 500_000}, MAX_CONTEXT_LENGTH),
    ],
)
def test_context_reaches_as_far_as_positions_are_stretched(
    options: dict[str, object], longest: int
) -> None:
    assert longest_context(options_of(**options), 2048) == longest


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"cache_type_v": "q8_0", "flash_attn": "off"}, "cache_type_v"),
        ({"rope_freq_scale": 0.5, "rope_scaling": "none"}, "rope_freq_scale"),
        ({"speculation": "draft"}, "draft_model"),
        ({"speculation": "ngram", "flash_attn": "off"}, "speculation"),
        ({"draft_model": "small", "flash_attn": "off"}, "draft_model"),
        ({"split_mode": "none", "tensor_split": [1, 1]}, "tensor_split"),
        ({"main_gpu": 1}, "main_gpu"),
        ({"tensor_split": [0, 0]}, "tensor_split"),
        ({"lora": [{"path": "a"}, {"path": "a"}]}, "lora"),
        ({"context_length": 2049}, "context_length"),
        ({"context_length": 4097, "rope_freq_scale": 0.5}, "context_length"),
        ({"cache_type_k": "q8_0"}, "cache_type_k"),
        ({"cache_type_v": "q4_0"}, "cache_type_v"),
    ],
)
def test_what_cannot_work_is_refused_by_the_header_and_names_the_field(
    tmp_path: Path, options: dict[str, object], field: str
) -> None:
    path = write_tiny_gguf(tmp_path / "tiny.gguf")  # trained for 2048 tokens, heads of 16 numbers
    with pytest.raises(LoadFailed) as caught:
        LOADER.check(path, options_of(**options))
    assert caught.value.field == field
    assert caught.value.hint


def test_what_can_work_is_not_refused_by_the_header(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "tiny.gguf")
    for options in ({}, {"context_length": 2048}, {"context_length": 32, "slots": 64}):
        LOADER.check(path, options_of(**options))


OTHER_VALUES: dict[str, object] = {
    "cache_type_k": "q8_0",
    "cache_type_v": "q8_0",
    "flash_attn": "on",
    "rope_scaling": "yarn",
    "rope_freq_base": 5.0,
    "rope_freq_scale": 0.5,
    "yarn_orig_ctx": 64,
    "yarn_ext_factor": 0.5,
    "yarn_attn_factor": 0.5,
    "yarn_beta_fast": 0.5,
    "yarn_beta_slow": 0.5,
    "swa_full": False,
    "kv_unified": True,
    "split_mode": "row",
    "tensor_split": [1, 2],
    "main_gpu": 1,
    "cpu_moe": True,
    "n_cpu_moe": 3,
}


def test_each_option_that_shapes_states_changes_their_key(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(b"weights")
    assert set(OTHER_VALUES) <= set(LlamaCppOptions.model_fields) - HARMLESS
    assert set(LlamaCppOptions.model_fields) >= HARMLESS
    keys = [state_key(path, options_of(**{name: one})) for name, one in OTHER_VALUES.items()]
    keys.append(state_key(path, LlamaCppOptions()))
    assert len(set(keys)) == len(keys)
    assert state_key(path, options_of(threads=3, gpu_layers=7, context_length=64)) == keys[-1]
    assert state_key(path, options_of(slots=9)) != keys[-1]
    pooled = [state_key(path, options_of(kv_unified=True, slots=slots)) for slots in (1, 9)]
    pooled.append(state_key(path, options_of(kv_unified=True, kv_cells=4096)))
    assert pooled[0] == pooled[1] == pooled[2] != state_key(path, options_of(slots=1))
    assert state_key(path, LlamaCppOptions(), is_long=True) not in keys
    with_draft = options_of(flash_attn="on", speculation="draft", draft_model="small")
    assert state_key(path, with_draft) == state_key(path, options_of(flash_attn="on"))


def test_adapters_count_in_the_key_by_content(tmp_path: Path) -> None:
    path, first, other = (tmp_path / name for name in ("a.gguf", "b.gguf", "c.gguf"))
    for file, content in ((path, b"weights"), (first, b"poet"), (other, b"poet")):
        file.write_bytes(content)

    def key(*lora: dict[str, object]) -> str:
        return state_key(path, options_of(lora=lora))

    one = {"path": str(first)}
    keys = [key(), key(one), key(one, {"path": str(other)})]
    assert len(set(keys)) == len(keys)
    assert key({**one, "scale": 0.5}) == keys[1]  # of its scale each state knows itself
    assert key({"path": str(other)}) == keys[1]  # the same content under another name
    first.write_bytes(b"cook")
    assert key(one) not in keys


@pytest.mark.parametrize("scale", [float("nan"), float("inf"), 101, -101, "loud"])
def test_scale_of_an_adapter_out_of_bounds_is_refused(scale: object) -> None:
    with pytest.raises(ValidationError):
        options_of(lora=[{"path": "a", "scale": scale}])


def test_adapter_named_twice_is_refused() -> None:
    with pytest.raises(LoadFailed, match=r"a\.gguf is there twice"):
        check_options(options_of(lora=[{"path": "/m/a.gguf"}, {"path": "/m/a.gguf", "scale": 2}]))


@pytest.mark.parametrize("num", [17, 50])
def test_worker_refuses_more_adapters_than_are_allowed(tmp_path: Path, num: int) -> None:
    lora = [{"path": f"{number}.gguf"} for number in range(num)]
    spec: RunnerSpec = {
        "model_id": "m",
        "name": "m",
        "path": str(tmp_path / "m.gguf"),
        "options": {"lora": lora},
    }
    with pytest.raises(LoadFailed, match=r"load option lora .* at most 16"):
        open_spec(spec, lambda _: None)


def test_another_file_has_another_key(tmp_path: Path) -> None:
    parts = [tmp_path / f"[a]-0000{number}-of-00002.gguf" for number in (1, 2)]
    for part in parts:
        part.write_bytes(b"weights")
        os.utime(part, ns=(1, 1))
    before = state_key(parts[0], LlamaCppOptions())
    assert state_key(parts[0], LlamaCppOptions()) == before
    parts[1].write_bytes(b"Weights")
    os.utime(parts[1], ns=(1, 1))
    assert state_key(parts[0], LlamaCppOptions()) != before
