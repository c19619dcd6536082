"""Whether and how the cells of a sequence can move to other positions.

Knows llama.cpp's memory; knows no tokens. A shift rotates the keys of all cells by what each has
moved (`llama_kv_cache::build_graph_shift` in llama-kv-cache.cpp), of most of them by nothing. That
leaves every number as it is where keys are floats and RoPE does not scale them; elsewhere the
neighbours' numbers would change a little, so that there is no shift.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import llama_cpp

from webui.loaders.llama_cpp.cache_types import CACHE_TYPES
from webui.loaders.llama_cpp.metadata import metadata

if TYPE_CHECKING:
    from webui.loaders.llama_cpp.options import LlamaCppOptions

SCALING = {"yarn", "longrope"}


def can_shift(model: int, memory: int, options: LlamaCppOptions) -> bool:
    """Return whether one sequence can be shifted and all others stay as they are to the bit."""
    if CACHE_TYPES[options.cache_type_k].is_quantized or options.rope_scaling == "yarn":
        return False
    architecture = metadata(model, "general.architecture")
    if metadata(model, f"{architecture}.rope.scaling.type") in SCALING:
        return False
    return bool(llama_cpp.llama_memory_can_shift(memory))


def shift(memory: int, slot: int, start: int, stop: int) -> bool:
    """Drop the cells of a slot from `start` to `stop`, and close the gap; False if it cannot be."""
    if not llama_cpp.llama_memory_seq_rm(memory, slot, start, stop):
        return False
    llama_cpp.llama_memory_seq_add(memory, slot, stop, -1, start - stop)
    return True
