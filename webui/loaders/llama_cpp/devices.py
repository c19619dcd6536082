"""The graphics cards llama.cpp would use, with their free memory.

Knows those functions of ggml that the bindings do not offer; chooses nothing. The libraries lie in
the package of the bindings.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path

import llama_cpp
import psutil
from llama_cpp._ctypes_extensions import load_shared_library

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


def cpu_buffer_type() -> int:
    """Return llama.cpp's handle of ordinary memory."""
    handle: int = library("ggml-base").ggml_backend_cpu_buffer_type()
    return handle


def library(name: str) -> ctypes.CDLL:
    """Return a library of ggml with the types of the functions that are called here."""
    folder = Path(llama_cpp.__file__).parent / "lib"
    opened: ctypes.CDLL = load_shared_library(name, folder)
    if name == "ggml":
        opened.ggml_backend_dev_count.restype = ctypes.c_size_t
        opened.ggml_backend_dev_get.argtypes = [ctypes.c_size_t]
        opened.ggml_backend_dev_get.restype = ctypes.c_void_p
    else:
        opened.ggml_backend_cpu_buffer_type.restype = ctypes.c_void_p
        opened.ggml_backend_dev_type.argtypes = [ctypes.c_void_p]
        opened.ggml_backend_dev_name.argtypes = [ctypes.c_void_p]
        opened.ggml_backend_dev_name.restype = ctypes.c_char_p
        opened.ggml_backend_dev_memory.argtypes = [ctypes.c_void_p, *[_SizePointer] * 2]
        opened.ggml_backend_dev_memory.restype = None
        opened.ggml_validate_row_data.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t]
        opened.ggml_validate_row_data.restype = ctypes.c_bool
    return opened


_SizePointer = ctypes.POINTER(ctypes.c_size_t)


def _gpu(base: ctypes.CDLL, device: int) -> Gpu:
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    base.ggml_backend_dev_memory(device, free, total)
    # Some have none to report: they work in that of the machine.
    free_bytes = free.value if total.value else psutil.virtual_memory().available
    return Gpu((base.ggml_backend_dev_name(device) or b"").decode("utf-8", "replace"), free_bytes)
