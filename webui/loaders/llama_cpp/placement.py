"""Where the weights of a model go: which cards, which shares, and what stays in ordinary memory.

Fills in llama.cpp's parameters; how many layers fit is the business of `gpu_fit`.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import llama_cpp

from webui.loaders.llama_cpp.expert_names import experts_on_cpu
from webui.loaders.llama_cpp.ggml import cpu_buffer_type

if TYPE_CHECKING:
    from webui.loaders.llama_cpp.options import LlamaCppOptions

SPLIT_MODES = {
    "none": llama_cpp.LLAMA_SPLIT_MODE_NONE,
    "layer": llama_cpp.LLAMA_SPLIT_MODE_LAYER,
    "row": llama_cpp.LLAMA_SPLIT_MODE_ROW,
}
NUMA = {
    "disabled": llama_cpp.GGML_NUMA_STRATEGY_DISABLED,
    "distribute": llama_cpp.GGML_NUMA_STRATEGY_DISTRIBUTE,
    "isolate": llama_cpp.GGML_NUMA_STRATEGY_ISOLATE,
    "numactl": llama_cpp.GGML_NUMA_STRATEGY_NUMACTL,
}


class BufferOverride(ctypes.Structure):
    """Weights by a pattern of their names, and the memory they are to lie in.

    Source: llama.cpp, include/llama.h, llama_model_tensor_buft_override.
    """

    _fields_ = (("pattern", ctypes.c_char_p), ("buffer_type", ctypes.c_void_p))


def start_numa(options: LlamaCppOptions) -> None:
    """Tell llama.cpp how threads spread over processors; once a process, before the model."""
    if options.numa != "disabled":
        llama_cpp.llama_numa_init(NUMA[options.numa])


def place_weights(params: Any, options: LlamaCppOptions) -> list[object]:  # noqa: ANN401 - a C struct
    """Write into the parameters of a model where its weights go.

    Args:
        params: llama.cpp's parameters of a model.
        options: As checked by `combinations`.

    Returns:
        What the parameters point to; must live until the model is loaded.
    """
    params.split_mode = SPLIT_MODES[options.split_mode]
    params.main_gpu = options.main_gpu
    kept: list[object] = []
    if options.tensor_split:
        # llama.cpp reads one for each device it could ever have.
        num = max(llama_cpp.llama_max_devices(), len(options.tensor_split))
        shares = (ctypes.c_float * num)(*options.tensor_split)
        params.tensor_split = shares
        kept.append(shares)
    if pattern := experts_on_cpu(options):
        # The last one is empty: it ends the list.
        overrides = (BufferOverride * 2)(BufferOverride(pattern.encode(), cpu_buffer_type()))
        params.tensor_buft_overrides = ctypes.addressof(overrides)
        kept.append(overrides)
    return kept
