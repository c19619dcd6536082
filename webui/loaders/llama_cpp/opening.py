"""From a GGUF file to a model and a context of llama.cpp, or to an error in plain words.

Knows sizes and limits of both; knows no rows and no sampling.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import llama_cpp
import psutil

from webui.errors import LoadFailed
from webui.loaders.llama_cpp.cache_types import CACHE_TYPES
from webui.loaders.llama_cpp.combinations import (
    check_context,
    check_devices,
    check_heads,
    check_options,
)
from webui.loaders.llama_cpp.devices import gpus
from webui.loaders.llama_cpp.metadata import metadata
from webui.loaders.llama_cpp.native_log import NativeLog
from webui.loaders.llama_cpp.options import (
    DEFAULT_CONTEXT_LENGTH,
    LlamaCppOptions,
    flash_attention,
    num_threads,
    num_threads_batch,
)
from webui.loaders.llama_cpp.placement import place_weights, start_numa

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SHORT_CONTEXT_LENGTH = 4096  # the default where the longer one would crowd the memory
KV_SHARE = 0.25  # of the free memory, that the default context may take
GIB = 1024**3
FLASH_ATTN = {
    "auto": llama_cpp.LLAMA_FLASH_ATTN_TYPE_AUTO,
    "on": llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED,
    "off": llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED,
}
ROPE_SCALING = {
    "auto": llama_cpp.LLAMA_ROPE_SCALING_TYPE_UNSPECIFIED,
    "none": llama_cpp.LLAMA_ROPE_SCALING_TYPE_NONE,
    "linear": llama_cpp.LLAMA_ROPE_SCALING_TYPE_LINEAR,
    "yarn": llama_cpp.LLAMA_ROPE_SCALING_TYPE_YARN,
}
# By (mmap, mlock).
LOAD_MODES = {
    (True, False): llama_cpp.LLAMA_LOAD_MODE_AUTO,
    (True, True): llama_cpp.LLAMA_LOAD_MODE_MMAP_MLOCK,
    (False, True): llama_cpp.LLAMA_LOAD_MODE_MLOCK,
    (False, False): llama_cpp.LLAMA_LOAD_MODE_NONE,
}
HINTS = {
    "unknown model architecture": "This version of llama.cpp does not know this kind of model.",
    "tensor": "The file is damaged or of a newer format: download it again.",
    "vocab": "The file's vocabulary is damaged or of a newer format: download it again.",
    "allocat": "There is not enough memory: take fewer GPU layers, a shorter context "
    "or a smaller model.",
    "out of memory": "Take fewer GPU layers, a shorter context or a smaller model.",
}


@dataclass(frozen=True, slots=True)
class OpenedContext:
    """A context and what it came to.

    Attributes:
        context: Its handle.
        context_length: Tokens that a slot may hold.
        kv_bytes: Of its cache.
        kv_cells: Tokens that all slots may hold together, where they share one cache.
        is_long: Whether a slot is longer than the positions were made for; a model with a second
            set of factors for that (LongRoPE) turns all its positions by those then.
    """

    context: int
    context_length: int
    kv_bytes: int
    kv_cells: int | None
    is_long: bool


def open_model(
    path: Path, options: LlamaCppOptions, on_progress: Callable[[float], object]
) -> tuple[int, NativeLog]:
    """Read the weights; return the model's handle and the log.

    Raises:
        LoadFailed: The options contradict each other, llama.cpp refuses the file, or `on_progress`
            said False.
    """
    check_options(options)
    log = NativeLog()
    log.install()
    llama_cpp.llama_backend_init()
    check_devices(options, len(gpus()))
    start_numa(options)
    broken_off: list[BaseException | None] = []

    def report(fraction: float, _data: int | None) -> bool:
        try:
            if on_progress(fraction) is False:
                broken_off.append(None)
        except Exception as error:  # noqa: BLE001 - must not unwind into C; raised again below
            broken_off.append(error)
        return not broken_off

    params = llama_cpp.llama_model_default_params()
    params.n_gpu_layers = options.gpu_layers
    params.load_mode = LOAD_MODES[options.mmap, options.mlock]
    params.check_tensors = options.check_tensors
    kept = place_weights(params, options)
    # The struct keeps bare pointers: `callback` and `kept` live until the load is over.
    callback = llama_cpp.llama_progress_callback(report)
    params.progress_callback = callback
    model: int | None = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
    del kept
    if broken_off:
        if model:
            llama_cpp.llama_model_free(model)
        raise LoadFailed(f"{path.name}: the load was broken off") from broken_off[0]
    if not model:
        raise _refusal(path, log)
    if llama_cpp.llama_model_has_decoder(model) and llama_cpp.llama_model_has_encoder(model):
        llama_cpp.llama_model_free(model)
        raise LoadFailed(f"{path.name} cannot write text in turns", "Choose a chat model.")
    return model, log


def open_context(model: int, log: NativeLog, options: LlamaCppOptions) -> OpenedContext:
    """Make the context: a cache of the whole context length for every slot, or one for all.

    Raises:
        LoadFailed: The length is more than the model knows or the memory holds.
    """
    token_bytes = kv_bytes_per_token(model, options)
    length = _choose_context_length(model, options, token_bytes)
    params = llama_cpp.llama_context_default_params()
    num_cells = _num_cells(options, length)
    params.n_ctx = num_cells
    params.n_seq_max = options.slots
    # It asserts that each sequence can have a token in one step.
    params.n_batch = max(options.slots, min(options.batch_size, length))
    params.n_ubatch = min(options.ubatch_size, params.n_batch)
    params.n_threads = num_threads(options)
    params.n_threads_batch = num_threads_batch(options)
    # Off unless asked for: one pool makes everybody's attention run over everybody's cells.
    params.kv_unified = options.kv_unified
    params.no_perf = True
    _set_cache(params, options)
    set_positions(params, options)
    log.forget_memory()
    context: int | None = llama_cpp.llama_init_from_model(model, params)
    if not context or not llama_cpp.llama_get_memory(context):
        if context:
            llama_cpp.llama_free(context)
        said = f": {log.errors[-1]}" if log.errors else ""
        raise LoadFailed(
            f"llama.cpp cannot make a context of {length:,} tokens for {options.slots} replies{said}",
            "Take a shorter context or fewer parallel replies.",
        )
    slot_length: int = llama_cpp.llama_n_ctx_seq(context)
    return OpenedContext(
        context=context,
        context_length=min(length, slot_length),
        kv_bytes=log.kv_bytes or token_bytes * num_cells,
        kv_cells=num_cells if options.kv_unified else None,
        is_long=slot_length > _original_length(model),
    )


def _set_cache(params: Any, options: LlamaCppOptions) -> None:  # noqa: ANN401 - a C struct
    params.type_k = CACHE_TYPES[options.cache_type_k].ggml_type
    params.type_v = CACHE_TYPES[options.cache_type_v].ggml_type
    has_gpu = bool(llama_cpp.llama_supports_gpu_offload())
    params.flash_attn_type = FLASH_ATTN[flash_attention(options, has_gpu=has_gpu)]
    params.offload_kqv = options.offload_kqv
    params.op_offload = options.op_offload
    params.swa_full = options.swa_full


def set_positions(params: Any, options: LlamaCppOptions) -> None:  # noqa: ANN401 - a C struct
    """Write into a context's parameters how positions are stretched."""
    params.rope_scaling_type = ROPE_SCALING[options.rope_scaling]
    params.rope_freq_base = options.rope_freq_base
    params.rope_freq_scale = options.rope_freq_scale
    params.yarn_orig_ctx = options.yarn_orig_ctx
    params.yarn_ext_factor = options.yarn_ext_factor
    params.yarn_attn_factor = options.yarn_attn_factor
    params.yarn_beta_fast = options.yarn_beta_fast
    params.yarn_beta_slow = options.yarn_beta_slow


def _choose_context_length(model: int, options: LlamaCppOptions, token_bytes: int) -> int:
    trained: int = llama_cpp.llama_model_n_ctx_train(model)
    free_bytes = psutil.virtual_memory().available
    asked = options.context_length
    check_context(options, trained)
    if not asked:
        usual = min(trained, DEFAULT_CONTEXT_LENGTH, options.kv_cells or trained)
        fits = _num_cells(options, usual) * token_bytes <= free_bytes * KV_SHARE
        asked = usual if fits else min(usual, SHORT_CONTEXT_LENGTH)
    needed_bytes = _num_cells(options, asked) * token_bytes
    cells = options.kv_cells
    wanted = f"One cache of {cells:,}" if cells else f"A context of {asked:,}"
    if needed_bytes > free_bytes and not llama_cpp.llama_supports_gpu_offload():
        raise LoadFailed(
            f"{wanted} tokens for {options.slots} replies takes "
            f"{needed_bytes / GIB:.1f} GiB, and {free_bytes / GIB:.1f} GiB are free",
            "Take a smaller one." if cells else "Take a shorter context or fewer parallel replies.",
            field="kv_cells" if cells else "context_length",
        )
    return asked


def _num_cells(options: LlamaCppOptions, length: int) -> int:
    """Return the tokens that all slots may hold together, of contexts of some length."""
    return options.kv_cells or length * options.slots


def _original_length(model: int) -> int:
    """Return up to which length of a slot positions are turned as they are in short ones.

    Nothing else that is computed depends on the length of a slot.

    Source: llama.cpp, src/llama-model.cpp, llama_model::get_rope_factors.
    """
    architecture = metadata(model, "general.architecture")
    names = ("rope.scaling.original_context_length", "context_length")
    said = (metadata(model, f"{architecture}.{name}") for name in names)
    return next((int(length) for length in said if length.isdigit()), 0)


def kv_bytes_per_token(model: int, options: LlamaCppOptions) -> int:
    """Return the bytes of keys and values of one token in all layers (upper bound).

    Raises:
        LoadFailed: A head does not fit the blocks of the types.
    """
    key_size, value_size = _head_sizes(model)
    check_heads(options, key_size, value_size)
    num_kv_heads: int = llama_cpp.llama_model_n_head_kv(model)
    num_layers: int = llama_cpp.llama_model_n_layer(model)
    key_bytes = CACHE_TYPES[options.cache_type_k].num_bytes(key_size)
    value_bytes = CACHE_TYPES[options.cache_type_v].num_bytes(value_size)
    return num_layers * num_kv_heads * (key_bytes + value_bytes)


def _head_sizes(model: int) -> tuple[int, int]:
    """Return the numbers of one head's key and of its value."""
    num_heads: int = llama_cpp.llama_model_n_head(model)
    head_size = llama_cpp.llama_model_n_embd(model) // max(1, num_heads)
    architecture = metadata(model, "general.architecture")
    key_size = metadata(model, f"{architecture}.attention.key_length")
    value_size = metadata(model, f"{architecture}.attention.value_length")
    key, value = (int(size) if size.isdigit() else head_size for size in (key_size, value_size))
    return key, value


def _refusal(path: Path, log: NativeLog) -> LoadFailed:
    """Turn llama.cpp's last words into an error."""
    lines = [line for line in log.errors if "error loading model" in line] or list(log.errors)
    said = lines[-1].rsplit("error loading model: ", 1)[-1] if lines else "it does not say why"
    hints = [hint for words, hint in HINTS.items() if words in said]
    hint = hints[0] if hints else "Try another file of this model."
    return LoadFailed(f"llama.cpp cannot load {path.name}: {said}", hint)
