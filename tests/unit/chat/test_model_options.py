"""Load options as they come from outside: strict kinds, and a name for each refusal."""

from __future__ import annotations

import pytest

from webui.chat.model_options import checked
from webui.errors import InvalidRequest
from webui.loaders.llama_cpp import LOADER, LlamaCppOptions


@pytest.mark.parametrize(
    ("options", "field", "said"),
    [
        ({"mmap": "no"}, "mmap", "mmap must be true or false"),
        ({"mmap": 1}, "mmap", "mmap must be true or false"),
        ({"mmap": ""}, "mmap", "mmap must be true or false"),
        ({"slots": "3"}, "slots", "slots must be a whole number"),
        ({"slots": True}, "slots", "slots must be a whole number"),
        ({"slots": None}, "slots", "slots must be a whole number"),
        ({"context_length": ""}, "context_length", "context_length must be a whole number"),
        (
            {"context_length": 1},
            "context_length",
            "context_length is refused: 1 is below the least, 32; 0 takes what is usual",
        ),
        ({"context_length": 2**70}, "context_length", "context_length must be at most 16777216"),
        ({"rope_freq_base": "1"}, "rope_freq_base", "rope_freq_base must be a number"),
        ({"rope_freq_base": True}, "rope_freq_base", "rope_freq_base must be a number"),
        (
            {"rope_freq_base": float("nan")},
            "rope_freq_base",
            "rope_freq_base must be a finite number",
        ),
        (
            {"rope_freq_scale": 1e-9},
            "rope_freq_scale",
            "rope_freq_scale is refused: 1e-09 is below the least, 0.001953125; "
            "0 takes what is usual",
        ),
        ({"tensor_split": [1, "2"]}, "tensor_split[1]", "tensor_split[1] must be a number"),
        ({"tensor_split": "1, x"}, "tensor_split[1]", "tensor_split[1] must be a number"),
        ({"lora": ""}, "lora", "lora must be a list"),
        ({"lora": [{"path": ""}]}, "lora[0].path", "lora[0].path must not be empty"),
        (
            {"lora": [{"path": "a"}, {"path": "b", "scale": 1000}]},
            "lora[1].scale",
            "lora[1].scale must be at most 100",
        ),
        (
            {"lora": [{"path": "a", "scale": "loud"}]},
            "lora[0].scale",
            "lora[0].scale must be a number",
        ),
        ({"lora": [{"path": "a", "x": 1}]}, "lora[0].x", "lora[0].x is not known"),
        ({"": 1}, "", 'what is named "" is not known'),
        ({"x" * 500: 1}, "x" * 100, f"{'x' * 100} is not known"),
    ],
    ids=str,
)
def test_option_of_another_kind_or_out_of_bounds_is_refused_by_its_name(
    options: dict[str, object], field: str, said: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        checked(LOADER, options)
    assert (caught.value.field, caught.value.message) == (field, said)


def test_json_says_all_there_is_to_say() -> None:
    options = {
        "mmap": False,
        "slots": 3,
        "rope_freq_base": 10_000,
        "tensor_split": [3, 1],
        "lora": [{"path": "a.gguf", "scale": 2}],
        "flash_attn": "on",
    }
    checked_options = checked(LOADER, options)
    assert isinstance(checked_options, LlamaCppOptions)
    assert checked_options.tensor_split == (3, 1)
    assert checked_options.lora[0].scale == 2
    assert checked(LOADER, checked_options.model_dump(mode="json")) == checked_options
    assert checked(LOADER, checked_options) == checked_options
