"""The list of tensors in the header of a GGUF file: names, shapes, and where each one lies.

Knows no metadata and reads no weights; whatever cannot be ends in a `LoadFailed`.

Source: ggml, docs/gguf.md and src/gguf.cpp.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from webui.errors import LoadFailed
from webui.hub.gguf_format import BLOCK_SIZES, REMOVED_TENSOR_TYPES

if TYPE_CHECKING:
    from webui.hub.gguf_values import HeaderReader

MAX_DIMENSIONS = 4
MAX_NAME_BYTES = 64
MAX_ELEMENTS = 2**60
MIN_TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8  # length, one letter, dimensions, one, type, offset


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a file.

    Attributes:
        name: As llama.cpp knows it.
        shape: Up to 4 sizes, that of a row first.
        kind: Number of its type in ggml's enumeration.
        num_bytes: Of a type that is unknown here 1.
        start: Where it begins, in bytes from the front of the file.
    """

    name: str
    shape: tuple[int, ...]
    kind: int
    num_bytes: int
    start: int

    @property
    def num_elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)

    @property
    def extents(self) -> tuple[int, int, int, int]:
        """Its shape as ggml has it: always 4 sizes, those that are not there 1."""
        first, second, third, fourth = (*self.shape, 1, 1, 1, 1)[:4]
        return first, second, third, fourth


def read_tensors(reader: HeaderReader, count: int, alignment: int) -> tuple[Tensor, ...]:
    """Take the list from the reader and check where all tensors lie.

    Args:
        reader: Stands at the first one, behind the metadata.
        count: How many there are.
        alignment: Of their places, in bytes.

    Raises:
        LoadFailed: One cannot be, or the file ends before it.
    """
    found: dict[str, Tensor] = {}
    for _ in range(count):
        tensor = _read_tensor(reader, alignment)
        if tensor.name in found:
            raise reader.damaged(f"it has the tensor {tensor.name!r} twice")
        found[tensor.name] = tensor
    start = -(-reader.position // alignment) * alignment
    end = start + max((tensor.start + tensor.num_bytes for tensor in found.values()), default=0)
    if count and end > reader.size_bytes:
        raise LoadFailed(
            f"{reader.file_name} is incomplete: it has {reader.size_bytes:,} of at least "
            f"{end:,} bytes",
            "Download the file again.",
        )
    return tuple(
        Tensor(one.name, one.shape, one.kind, one.num_bytes, start + one.start)
        for one in found.values()
    )


def _read_tensor(reader: HeaderReader, alignment: int) -> Tensor:
    """Take one; its start is counted from that of the first."""
    name = reader.text(MAX_NAME_BYTES)
    num_dimensions = reader.number("I")
    if not 1 <= num_dimensions <= MAX_DIMENSIONS:
        raise reader.damaged(f"the tensor {name!r} has {num_dimensions} dimensions")
    shape = tuple(reader.number("Q") for _ in range(num_dimensions))
    num_elements = math.prod(shape)
    if not 0 < num_elements <= MAX_ELEMENTS:
        raise reader.damaged(f"the tensor {name!r} has the shape {list(shape)}")
    kind, offset = reader.number("I"), reader.number("Q")
    num_bytes = _tensor_bytes(reader, name, kind, shape[0], num_elements)
    if offset % alignment:
        raise reader.damaged(f"the tensor {name!r} lies askew")
    return Tensor(name, shape, kind, num_bytes, offset)


def _tensor_bytes(reader: HeaderReader, name: str, kind: int, row: int, num_elements: int) -> int:
    """Return the bytes of a tensor; of a type that is unknown here at least one."""
    if kind in REMOVED_TENSOR_TYPES:
        raise LoadFailed(
            f"{reader.file_name} is quantized as {REMOVED_TENSOR_TYPES[kind]}, "
            "which llama.cpp no longer runs",
            "Get the model in another quantization, such as Q4_K_M.",
        )
    if kind not in BLOCK_SIZES:
        return 1
    block, block_bytes = BLOCK_SIZES[kind]
    if row % block:
        raise reader.damaged(f"rows of the tensor {name!r} do not fill whole blocks")
    return num_elements // block * block_bytes
