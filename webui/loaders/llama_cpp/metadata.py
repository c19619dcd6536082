"""What the header of a loaded model's file says; knows keys, not what they mean."""

from __future__ import annotations

import ctypes

import llama_cpp

MAX_BYTES = 256


def metadata(model: int, key: str) -> str:
    """Return a value as llama.cpp writes it, its first 255 bytes; empty when there is none."""
    buffer = ctypes.create_string_buffer(MAX_BYTES)
    num: int = llama_cpp.llama_model_meta_val_str(model, key.encode(), buffer, len(buffer))
    return buffer.value.decode("utf-8", "replace") if num >= 0 else ""
