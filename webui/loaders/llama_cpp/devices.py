"""The graphics cards llama.cpp would use, with their free memory.

Knows how llama.cpp finds them; chooses nothing.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import psutil

from webui.loaders.llama_cpp.ggml import library

# Source: llama.cpp, ggml/include/ggml-backend.h, ggml_backend_dev_type.
TYPE_GPU = 1
TYPE_INTEGRATED = 2


@dataclass(frozen=True, slots=True)
class Gpu:
    """One graphics card: its name in llama.cpp, and the bytes that are free on it."""

    name: str
    free_bytes: int


def gpus() -> tuple[Gpu, ...]:
    """Return the cards in llama.cpp's order; call after `llama_backend_init`.

    Integrated ones are used only where there are no others.

    Source: llama.cpp, src/llama.cpp, llama_prepare_model_devices.
    """
    ggml, base = library("ggml"), library("ggml-base")
    found = [ggml.ggml_backend_dev_get(index) for index in range(ggml.ggml_backend_dev_count())]
    for kind in (TYPE_GPU, TYPE_INTEGRATED):
        if cards := [one for one in found if base.ggml_backend_dev_type(one) == kind]:
            return tuple(_gpu(base, card) for card in cards)
    return ()


def _gpu(base: ctypes.CDLL, device: int) -> Gpu:
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    base.ggml_backend_dev_memory(device, free, total)
    # Some have none to report: they work in that of the machine.
    free_bytes = free.value if total.value else psutil.virtual_memory().available
    return Gpu((base.ggml_backend_dev_name(device) or b"").decode("utf-8", "replace"), free_bytes)
