"""Functions of ggml that the bindings do not offer, with the types of their arguments.

Knows the libraries in the package of the bindings, and nothing of models.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

import llama_cpp
from llama_cpp._ctypes_extensions import load_shared_library


def library(name: str) -> ctypes.CDLL:
    """Return a library, `ggml` or `ggml-base`; the functions that are called here have types.

    Source: llama.cpp, ggml/include/ggml-backend.h and ggml.h.
    """
    opened: ctypes.CDLL = load_shared_library(name, Path(llama_cpp.__file__).parent / "lib")
    if name == "ggml":
        opened.ggml_backend_dev_count.restype = ctypes.c_size_t
        opened.ggml_backend_dev_get.argtypes = [ctypes.c_size_t]
        opened.ggml_backend_dev_get.restype = ctypes.c_void_p
        return opened
    size_pointer = ctypes.POINTER(ctypes.c_size_t)
    opened.ggml_backend_cpu_buffer_type.restype = ctypes.c_void_p
    opened.ggml_backend_dev_type.argtypes = [ctypes.c_void_p]
    opened.ggml_backend_dev_name.argtypes = [ctypes.c_void_p]
    opened.ggml_backend_dev_name.restype = ctypes.c_char_p
    opened.ggml_backend_dev_memory.argtypes = [ctypes.c_void_p, size_pointer, size_pointer]
    opened.ggml_backend_dev_memory.restype = None
    opened.ggml_validate_row_data.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t]
    opened.ggml_validate_row_data.restype = ctypes.c_bool
    return opened


def cpu_buffer_type() -> int:
    """Return the handle of ordinary memory."""
    handle: int = library("ggml-base").ggml_backend_cpu_buffer_type()
    return handle
