"""From a GGUF file to a model and a context of llama.cpp, or to an error in plain words.

Knows sizes and limits of both; knows no rows and no sampling.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import TYPE_CHECKING

import llama_cpp
import psutil

from webui.errors import LoadFailed
from webui.loaders.llama_cpp.native_log import NativeLog
from webui.loaders.llama_cpp.options import LlamaCppOptions, num_threads, num_threads_batch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DEFAULT_CONTEXT_LENGTH = 8192
SHORT_CONTEXT_LENGTH = 4096  # the default where the longer one would crowd the memory
KV_SHARE = 0.25  # of the free memory, that the default context may take
KV_ELEMENT_BYTES = 2  # keys and values are kept as f16
GIB = 1024**3
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
    """A context and what it came to: handle, tokens a slot may hold, bytes of its cache."""

    context: int
    context_length: int
    kv_bytes: int


def open_model(
    path: Path, options: LlamaCppOptions, on_progress: Callable[[float], object]
) -> tuple[int, NativeLog]:
    """Read the weights; return the model's handle and the log.

    Raises:
        LoadFailed: llama.cpp refuses the file, or `on_progress` said False.
    """
    log = NativeLog()
    log.install()
    llama_cpp.llama_backend_init()
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
    # The struct keeps the bare pointer: `callback` lives until the load is over.
    callback = llama_cpp.llama_progress_callback(report)
    params.progress_callback = callback
    model: int | None = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
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
    """Make the context: every slot has a cache of its own of the whole context length.

    Raises:
        LoadFailed: The length is more than the model knows or the memory holds.
    """
    token_bytes = _kv_bytes_per_token(model)
    length = _choose_context_length(model, options, token_bytes)
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = length * options.slots
    params.n_seq_max = options.slots
    params.n_batch = min(options.batch_size, length)
    params.n_ubatch = min(options.ubatch_size, params.n_batch)
    params.n_threads = num_threads(options)
    params.n_threads_batch = num_threads_batch(options)
    # One pool for all would make everybody's attention run over everybody's cells.
    params.kv_unified = False
    params.no_perf = True
    log.forget_memory()
    context: int | None = llama_cpp.llama_init_from_model(model, params)
    if not context or not llama_cpp.llama_get_memory(context):
        if context:
            llama_cpp.llama_free(context)
        said = f": {log.errors[-1]}" if log.errors else ""
        raise LoadFailed(
            f"llama.cpp cannot make a context of {length} tokens for {options.slots} replies{said}",
            "Take a shorter context or fewer parallel replies.",
        )
    return OpenedContext(
        context=context,
        context_length=min(length, llama_cpp.llama_n_ctx_seq(context)),
        kv_bytes=log.kv_bytes or token_bytes * length * options.slots,
    )


def _choose_context_length(model: int, options: LlamaCppOptions, token_bytes: int) -> int:
    trained: int = llama_cpp.llama_model_n_ctx_train(model)
    free_bytes = psutil.virtual_memory().available
    asked = options.context_length
    if asked > trained:
        raise LoadFailed(
            f"A context of {asked} tokens is more than this model was made for ({trained})",
            f"Set the context length to {trained} or less.",
        )
    if not asked:
        longest = min(trained, DEFAULT_CONTEXT_LENGTH)
        fits = longest * options.slots * token_bytes <= free_bytes * KV_SHARE
        asked = longest if fits else min(trained, SHORT_CONTEXT_LENGTH)
    needed_bytes = asked * options.slots * token_bytes
    if needed_bytes > free_bytes and not llama_cpp.llama_supports_gpu_offload():
        raise LoadFailed(
            f"A context of {asked} tokens for {options.slots} replies takes "
            f"{needed_bytes / GIB:.1f} GiB, and {free_bytes / GIB:.1f} GiB are free",
            "Take a shorter context or fewer parallel replies.",
        )
    return asked


def _kv_bytes_per_token(model: int) -> int:
    """Return the bytes of keys and values of one token in all layers (upper bound)."""
    num_heads: int = llama_cpp.llama_model_n_head(model)
    head_size = llama_cpp.llama_model_n_embd(model) // max(1, num_heads)
    architecture = _metadata(model, "general.architecture")
    key_size = _metadata(model, f"{architecture}.attention.key_length")
    value_size = _metadata(model, f"{architecture}.attention.value_length")
    sizes = [int(size) if size.isdigit() else head_size for size in (key_size, value_size)]
    num_kv_heads: int = llama_cpp.llama_model_n_head_kv(model)
    num_layers: int = llama_cpp.llama_model_n_layer(model)
    return num_layers * num_kv_heads * sum(sizes) * KV_ELEMENT_BYTES


def _metadata(model: int, key: str) -> str:
    buffer = ctypes.create_string_buffer(256)
    num: int = llama_cpp.llama_model_meta_val_str(model, key.encode(), buffer, len(buffer))
    return buffer.value.decode("utf-8", "replace") if num >= 0 else ""


def _refusal(path: Path, log: NativeLog) -> LoadFailed:
    """Turn llama.cpp's last words into an error."""
    lines = [line for line in log.errors if "error loading model" in line] or list(log.errors)
    said = lines[-1].rsplit("error loading model: ", 1)[-1] if lines else "it does not say why"
    hints = [hint for words, hint in HINTS.items() if words in said]
    hint = hints[0] if hints else "Try another file of this model."
    return LoadFailed(f"llama.cpp cannot load {path.name}: {said}", hint)
