"""The number types in which llama.cpp can keep keys and values: their sizes and their blocks.

Pure: knows no llama_cpp and no model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CacheTypeName = Literal["f16", "bf16", "f32", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "iq4_nl"]


@dataclass(frozen=True, slots=True)
class CacheType:
    """How numbers of one type lie in memory.

    Attributes:
        ggml_type: Its number in ggml's enumeration.
        block_size: Numbers that are kept together; a head must be made of whole blocks.
        block_bytes: Bytes of one block.
    """

    ggml_type: int
    block_size: int
    block_bytes: int

    @property
    def is_quantized(self) -> bool:
        """Whether several numbers share a scale."""
        return self.block_size > 1

    def num_bytes(self, num_elements: int) -> int:
        """Return the bytes of so many numbers, rounded up to whole blocks."""
        return -(-num_elements // self.block_size) * self.block_bytes


# Source: llama.cpp, ggml/include/ggml.h, ggml_type; ggml/src/ggml-common.h, block_*.
CACHE_TYPES: dict[CacheTypeName, CacheType] = {
    "f16": CacheType(1, 1, 2),
    "bf16": CacheType(30, 1, 2),
    "f32": CacheType(0, 1, 4),
    "q8_0": CacheType(8, 32, 34),
    "q4_0": CacheType(2, 32, 18),
    "q4_1": CacheType(3, 32, 20),
    "q5_0": CacheType(6, 32, 22),
    "q5_1": CacheType(7, 32, 24),
    "iq4_nl": CacheType(20, 32, 18),
}
