"""What the cells of a slot hold: cut, copied out and put back.

Knows llama.cpp's memory; knows no sequences. A model with sliding windows whose cache is not whole
keeps only the tokens that the next one looks at. `llama_memory_seq_rm` cuts such a cache anywhere
and says that all is well; the numbers that follow are wrong, as what the window looks at is gone.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import llama_cpp
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def forget(memory: int, slot: int, from_position: int, window: int) -> bool:
    """Drop the cells of a slot from a position on; False if reading cannot go on from there.

    Args:
        memory: Of the context.
        slot: Whose cells.
        from_position: 0 drops all, which always can be.
        window: Tokens that a layer with a sliding window looks at; 0 has none.
    """
    if from_position and not _can_go_on(memory, slot, from_position, window):
        return False
    return bool(llama_cpp.llama_memory_seq_rm(memory, slot, from_position or -1, -1))


def _can_go_on(memory: int, slot: int, position: int, window: int) -> bool:
    """Return whether all cells that the token at a position looks at are there."""
    last: int = llama_cpp.llama_memory_seq_pos_max(memory, slot)
    if last < position:
        return last == position - 1  # and llama.cpp keeps what the one behind the last looks at
    # Positions between the first and the last are all there (`llama_kv_cache::apply_ubatch`).
    first: int = llama_cpp.llama_memory_seq_pos_min(memory, slot)
    return not window or first <= max(0, position - window + 1)


def save_state(context: int, slot: int) -> memoryview | None:
    """Copy keys and values of a slot; None where llama.cpp gives none."""
    size: int = llama_cpp.llama_state_seq_get_size(context, slot)
    data = np.empty(size, np.uint8)  # not zeroed: tens of megabytes
    num_bytes: int = llama_cpp.llama_state_seq_get_data(context, _pointer(data), size, slot)
    return data[:num_bytes].data if num_bytes else None


def load_state(context: int, slot: int, data: memoryview, num_tokens: int) -> bool:
    """Put keys and values into a slot; False where they do not fit or are of other many tokens."""
    array = np.frombuffer(data, np.uint8)
    num_bytes: int = llama_cpp.llama_state_seq_set_data(context, _pointer(array), array.size, slot)
    last: int = llama_cpp.llama_memory_seq_pos_max(llama_cpp.llama_get_memory(context), slot)
    return num_bytes == array.size and last == num_tokens - 1


def _pointer(array: NDArray[np.uint8]) -> ctypes._Pointer[ctypes.c_uint8]:
    return array.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
