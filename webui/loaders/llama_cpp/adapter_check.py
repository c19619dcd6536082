"""Whether the weights of an adapter can be computed with those of its model.

llama.cpp looks at two sizes of each and takes the rest on trust: what does not multiply ends the
process when the first context is made. So the files are compared here first. Knows headers and
numbers; llama.cpp itself says the rest, in words that `adapters` translates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from webui.errors import LoadFailed
from webui.hub.gguf import read_parts
from webui.hub.gguf_format import BLOCK_SIZES
from webui.loaders.llama_cpp.ggml import library
from webui.loaders.llama_cpp.parts import parts_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from webui.hub.gguf_tensors import Tensor

OTHER_MODEL = "Choose an adapter that was made for this model."
INPUT, OUTPUT = "token_embd.weight", "output.weight"
DOWN, UP = ".lora_a", ".lora_b"
READ_BYTES = 1 << 24

Extents = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What of a model an adapter must fit.

    Attributes:
        weights: Shape of each, by name.
        is_encoder: Whether it has no output of words.
    """

    weights: Mapping[str, Extents]
    is_encoder: bool

    @property
    def is_tied(self) -> bool:
        """Whether words are read and written with the same weights."""
        return OUTPUT not in self.weights and not self.is_encoder


def shape_of(path: Path) -> ModelShape:
    """Return the shape of a model, of which the first file is named.

    Raises:
        LoadFailed: A file of it cannot be read.
    """
    read = [read_parts(part) for part in parts_of(path)]
    weights = {tensor.name: tensor.extents for _, tensors in read for tensor in tensors}
    return ModelShape(weights, read[0][0].is_encoder)


def check_adapter(path: Path, model: ModelShape) -> int:
    """Refuse an adapter that llama.cpp would take and then end the process over.

    Args:
        path: Of the adapter; blocks while all of it is read.
        model: What it must fit.

    Returns:
        Bytes of the file.

    Raises:
        LoadFailed: It is no adapter, or damaged, or not for this model.
    """
    header, tensors = read_parts(path, adapters=True)
    if not header.is_adapter:
        raise LoadFailed(f"{path.name} is a whole model, not an adapter (LoRA)", OTHER_MODEL)
    pairs = {tensor.name: tensor.extents for tensor in tensors}
    for name, shape in model.weights.items():
        down, up = pairs.get(name + DOWN), pairs.get(name + UP)
        if down is not None and up is not None and (why := _misfit(name, shape, down, up)):
            raise LoadFailed(
                f"The adapter {path.name} cannot be used: its weights for {name} {why}", OTHER_MODEL
            )
    if model.is_tied and INPUT + DOWN in pairs:
        raise LoadFailed(
            f"The adapter {path.name} cannot be used: it changes how words are read, "
            "and this model reads and writes words with the same weights",
            "Choose an adapter without changes of the embedding (token_embd).",
        )
    _check_numbers(path, tensors)
    return header.size_bytes


def _misfit(name: str, shape: Extents, down: Extents, up: Extents) -> str:
    """Return what does not multiply; empty where all does.

    Source: llama.cpp, src/llama-graph.cpp, build_lora_mm, build_lora_mm_id and build_inp_embd.
    """
    if down[3] != 1 or up[3] != 1 or not down[2] == up[2] == shape[2]:
        return f"are made of {down[2] * down[3]} and {up[2] * up[3]} parts in place of {shape[2]}"
    rank = down[0] if name == INPUT else down[1]
    return "" if rank == up[0] else f"have the ranks {rank} and {up[0]}"


def _check_numbers(path: Path, tensors: Sequence[Tensor]) -> None:
    """Refuse an adapter in which something is no number: all it works on would be none."""
    are_numbers = library("ggml-base").ggml_validate_row_data
    with path.open("rb") as file:
        for tensor in tensors:
            file.seek(tensor.start)
            block_bytes = BLOCK_SIZES[tensor.kind][1]
            left = tensor.num_bytes
            while left:
                data = file.read(min(left, READ_BYTES // block_bytes * block_bytes))
                if not data or not are_numbers(tensor.kind, data, len(data)):
                    raise LoadFailed(
                        f"The adapter {path.name} is damaged: {tensor.name} holds what is no number",
                        "Download it again.",
                    )
                left -= len(data)
