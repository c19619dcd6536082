"""Which load options go together, and which context they allow.

llama.cpp asserts some of this, which would end the worker; so it is asked here first, by the web
process and by the worker. Pure: knows options and sizes, no llama_cpp.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

from webui.errors import LoadFailed
from webui.loaders.llama_cpp.cache_types import CACHE_TYPES
from webui.loaders.llama_cpp.options import MAX_CONTEXT_LENGTH, has_draft_model

if TYPE_CHECKING:
    from webui.hub.gguf import GGUFHeader
    from webui.loaders.llama_cpp.options import LlamaCppOptions


def check_options(options: LlamaCppOptions) -> None:
    """Refuse options that contradict each other, whatever the model.

    Raises:
        LoadFailed: Two options do not go together, or one has no effect beside another; names the
            field, as all below do.
    """
    if CACHE_TYPES[options.cache_type_v].is_quantized and options.flash_attn == "off":
        raise LoadFailed(
            f"Values cannot be kept as {options.cache_type_v} with flash attention off",
            "Set flash attention to auto or on, or keep values as f16.",
            field="cache_type_v",
        )
    _check_speculation(options)
    paths = [adapter.path for adapter in options.lora]
    if twice := next((path for path in paths if paths.count(path) > 1), None):
        raise LoadFailed(
            f"The adapter {PurePath(twice).name} is there twice",
            "Name it once, with one scale.",
            field="lora",
        )
    _check_split(options)
    _check_cells(options)
    scale = options.rope_freq_scale
    if scale and options.rope_scaling == "none":
        raise LoadFailed(
            f"A RoPE scale of {scale:g} has no effect with RoPE scaling none",
            "Set RoPE scaling to linear or yarn, or the RoPE scale to 0.",
            field="rope_freq_scale",
        )


def _check_speculation(options: LlamaCppOptions) -> None:
    if options.speculation == "draft" and not options.draft_model:
        raise LoadFailed(
            "Speculation draft needs a draft model",
            "Name one, or set speculation to auto, ngram or off.",
            field="draft_model",
        )
    if options.flash_attn != "off":
        return
    if options.speculation in ("ngram", "draft"):
        raise LoadFailed(
            f"Speculation {options.speculation} does not go with flash attention off",
            "Set flash attention to auto or on, or speculation to auto or off.",
            field="speculation",
        )
    if has_draft_model(options):
        raise LoadFailed(
            "A draft model does not go with flash attention off",
            "Set flash attention to auto or on, or speculation to off.",
            field="draft_model",
        )


def _check_split(options: LlamaCppOptions) -> None:
    if options.split_mode == "none" and options.tensor_split:
        raise LoadFailed(
            "Shares of graphics cards (tensor_split) have no effect with split_mode none",
            "Set split_mode to layer or row, or leave tensor_split empty.",
            field="tensor_split",
        )
    if options.split_mode != "none" and options.main_gpu:
        raise LoadFailed(
            f"A main graphics card of {options.main_gpu} has no effect with split_mode "
            f"{options.split_mode}",
            "Set split_mode to none, or main_gpu to 0.",
            field="main_gpu",
        )
    if options.tensor_split and not any(options.tensor_split):
        raise LoadFailed(
            "The shares of all graphics cards (tensor_split) are 0",
            "Leave tensor_split empty, or give one card a share.",
            field="tensor_split",
        )


def _check_cells(options: LlamaCppOptions) -> None:
    num_cells = options.kv_cells
    if not num_cells:
        return
    if not options.kv_unified:
        raise LoadFailed(
            f"A cache of {num_cells:,} tokens for all replies (kv_cells) has no effect with "
            "kv_unified false",
            "Set kv_unified to true, or kv_cells to 0.",
            field="kv_cells",
        )
    least = max(options.context_length, options.slots)
    if num_cells < least:
        raise LoadFailed(
            f"A cache of {num_cells:,} tokens (kv_cells) does not hold one context of "
            f"{options.context_length:,} tokens, or a token for each of {options.slots} replies",
            f"Set kv_cells to {least:,} or more, or to 0; or take a shorter context.",
            field="kv_cells",
        )


def check_devices(options: LlamaCppOptions, num_gpus: int) -> None:
    """Refuse options that name graphics cards that are not there.

    Args:
        options: Name them.
        num_gpus: How many cards there are.

    Raises:
        LoadFailed: There are fewer.
    """
    there = {0: "no graphics card is there", 1: "one graphics card is there"}.get(
        num_gpus, f"{num_gpus} graphics cards are there"
    )
    if options.gpu_layers > 0 and not num_gpus:
        raise LoadFailed(
            f"gpu_layers is {options.gpu_layers}, and {there}",
            "Set gpu_layers to -1, which takes what there is, or to 0.",
            field="gpu_layers",
        )
    shares = options.tensor_split
    if len(shares) > num_gpus:
        raise LoadFailed(
            f"tensor_split has {len(shares)} shares, and {there}",
            "Give each card one share, or leave tensor_split empty.",
            field="tensor_split",
        )
    if options.main_gpu and options.main_gpu >= num_gpus:
        raise LoadFailed(
            f"main_gpu is {options.main_gpu}, and {there}",
            "Cards are counted from 0.",
            field="main_gpu",
        )


def check_heads(options: LlamaCppOptions, key_size: int, value_size: int) -> None:
    """Refuse types whose blocks do not fill a head; llama.cpp would abort on some of them.

    Args:
        options: Name the types.
        key_size: Numbers of one head's key.
        value_size: Numbers of one head's value.

    Raises:
        LoadFailed: A head is not made of whole blocks.
    """
    for what, field, name, size in (
        ("Keys", "cache_type_k", options.cache_type_k, key_size),
        ("Values", "cache_type_v", options.cache_type_v, value_size),
    ):
        block_size = CACHE_TYPES[name].block_size
        if size % block_size:
            raise LoadFailed(
                f"{what} of this model cannot be kept as {name}: a head has {size} numbers, "
                f"and {name} needs a multiple of {block_size}",
                "Choose f16, bf16 or f32.",
                field=field,
            )


def check_context(options: LlamaCppOptions, trained: int) -> None:
    """Refuse a context that is longer than the model's positions reach.

    Args:
        options: Say how long, and how positions are stretched.
        trained: Tokens that the model was trained for.

    Raises:
        LoadFailed: It is too long.
    """
    longest = longest_context(options, trained)
    if options.context_length <= longest:
        return
    reached = f"was made for ({longest:,})"
    if longest > trained:
        reached = f"reaches with this RoPE scale ({longest:,})"
    raise LoadFailed(
        f"A context of {options.context_length:,} tokens is more than this model {reached}",
        f"Set the context length to {longest:,} or less.",
        field="context_length",
    )


def check_fit(options: LlamaCppOptions, header: GGUFHeader) -> None:
    """Refuse options that cannot work with a model, as far as its header tells.

    Raises:
        LoadFailed: They cannot.
    """
    if header.is_embedding:
        return  # it has no memory, and reads what it was made for
    if header.context_length:
        check_context(options, header.context_length)
    if header.key_size and header.value_size:
        check_heads(options, header.key_size, header.value_size)


def longest_context(options: LlamaCppOptions, trained: int) -> int:
    """Return how long a context may be, in tokens.

    Stretched positions reach as much further as they are stretched. With another base nobody
    can say how far they reach: that is left to whoever sets it.
    """
    if options.rope_freq_base:
        return MAX_CONTEXT_LENGTH
    if not options.rope_freq_scale:
        return trained
    original = trained
    if options.rope_scaling == "yarn" and options.yarn_orig_ctx:
        original = options.yarn_orig_ctx
    return min(MAX_CONTEXT_LENGTH, max(trained, int(original / options.rope_freq_scale)))
