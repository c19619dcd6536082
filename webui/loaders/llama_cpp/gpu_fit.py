"""How many layers of a model fit the graphics cards, counted before it is loaded.

llama.cpp has such a count of its own (common/fit.cpp), but neither its interface nor the bindings
offer it. This one adds up what the file says: weights and cache of each layer, and room to compute
in. Knows headers, options and free bytes; asks no card.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

from webui.hub.gguf import read_header, read_parts
from webui.loaders.llama_cpp.cache_types import CACHE_TYPES
from webui.loaders.llama_cpp.expert_names import experts_on_cpu
from webui.loaders.llama_cpp.options import (
    DEFAULT_CONTEXT_LENGTH,
    flash_attention,
    has_draft_model,
)
from webui.loaders.llama_cpp.parts import parts_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from webui.hub.gguf import GGUFHeader
    from webui.hub.gguf_tensors import Tensor
    from webui.loaders.llama_cpp.options import LlamaCppOptions

AUTO = -1
# Left on each card for others, and for what no figure tells.
# Source: llama.cpp, common/common.h, fit_params_target.
MARGIN_BYTES = 1024**3
FLOAT_BYTES = 4
# Copies of the stream through the layers and of the widest matrix that a step holds at once.
STREAM_COPIES = 8
WIDE_COPIES = 2
# They are looked up, not multiplied: llama.cpp keeps them in ordinary memory.
INPUTS = ("token_embd", "per_layer_token_embd", "position_embd", "token_types")
LAYER = re.compile(r"blk\.(\d+)\.")


@dataclass(frozen=True, slots=True)
class Demand:
    """What a model takes of a card.

    Attributes:
        weights: Bytes of each layer, and at the end of the output, which counts as a layer.
        cache: Bytes of keys and values of each layer, all replies together, the output's 0.
        scratch: Bytes to compute in, on each card that computes.
    """

    weights: tuple[int, ...]
    cache: tuple[int, ...]
    scratch: int


def fitted(options: LlamaCppOptions, path: Path, free_bytes: Sequence[int]) -> LlamaCppOptions:
    """Return the options with a number of layers in place of auto; without cards as they are.

    Args:
        options: How the model is to be loaded.
        path: Its first file.
        free_bytes: What is free on each card, in llama.cpp's order.

    Raises:
        LoadFailed: A file of the model, or an adapter, cannot be read.
    """
    if options.gpu_layers != AUTO or not free_bytes:
        return options
    read = [read_parts(part) for part in parts_of(path)]
    tensors = [tensor for _, found in read for tensor in found]
    demand = demand_of(read[0][0], tensors, options)
    if options.split_mode == "none":
        free_bytes = free_bytes[options.main_gpu : options.main_gpu + 1]
    is_by_rows = options.split_mode == "row"
    num = num_fitting(demand, free_bytes, options.tensor_split, is_by_rows=is_by_rows)
    return options.model_copy(update={"gpu_layers": num})


def num_on_cards(options: LlamaCppOptions, num_layers: int, *, num_cards: int) -> int | None:
    """Return how many of a model's layers, the output being one, cards take; None without cards.

    Source: llama.cpp, src/llama-model.cpp, llama_model_base::load_tensors.
    """
    if not num_cards:
        return None
    return num_layers if options.gpu_layers < 0 else min(options.gpu_layers, num_layers)


def demand_of(header: GGUFHeader, tensors: Sequence[Tensor], options: LlamaCppOptions) -> Demand:
    """Add up what a model takes of a card, rather too much than too little."""
    num_layers = header.block_count
    weights = [0] * (num_layers + 1)
    on_cpu = experts_on_cpu(options)
    names = {tensor.name for tensor in tensors}
    for tensor in tensors:
        # Without an output of its own a model computes it with the input's weights.
        is_output = tensor.name == "token_embd.weight" and "output.weight" not in names
        is_input = tensor.name.startswith(INPUTS) and not is_output
        if is_input or (on_cpu and re.search(on_cpu, tensor.name)):
            continue
        layer = LAYER.match(tensor.name)
        index = min(int(layer[1]), num_layers) if layer else num_layers
        weights[index] += tensor.num_bytes
    length = options.context_length or min(header.context_length, DEFAULT_CONTEXT_LENGTH)
    return Demand(
        tuple(weights), _cache(header, options, length), _scratch(header, tensors, options, length)
    )


def num_fitting(
    demand: Demand,
    free_bytes: Sequence[int],
    shares: Sequence[float] = (),
    *,
    is_by_rows: bool = False,
) -> int:
    """Return how many layers, counted from the last, fit; the output counts as one.

    Args:
        demand: Of the model.
        free_bytes: What is free on each card.
        shares: How much each card gets; empty goes by what is free.
        is_by_rows: Whether each card gets a part of every matrix, not whole layers.

    Source: llama.cpp, src/llama-model.cpp, get_layer_buft_list.
    """
    given = [*shares, *([0.0] * len(free_bytes))][: len(free_bytes)] if shares else free_bytes
    total = sum(given)
    if not total:
        return 0
    parts = [share / total for share in given]
    ends = list(accumulate(parts))
    num_layers = len(demand.weights)
    for num in range(num_layers, 0, -1):
        taken = [0.0] * len(free_bytes)
        start = num_layers - num
        for layer in range(start, num_layers):
            card = min(bisect_right(ends, (layer - start) / num), len(ends) - 1)
            taken[card] += demand.cache[layer]
            if not is_by_rows:
                taken[card] += demand.weights[layer]
        if is_by_rows:
            whole = sum(demand.weights[start:])
            taken = [one + whole * part for one, part in zip(taken, parts, strict=True)]
        left = demand.scratch + MARGIN_BYTES
        if all(not one or one + left <= free for one, free in zip(taken, free_bytes, strict=True)):
            return num
    return 0


def _cache(header: GGUFHeader, options: LlamaCppOptions, length: int) -> tuple[int, ...]:
    if not options.offload_kqv or header.is_embedding:
        return (0,) * (header.block_count + 1)
    head_bytes = CACHE_TYPES[options.cache_type_k].num_bytes(header.key_size)
    head_bytes += CACHE_TYPES[options.cache_type_v].num_bytes(header.value_size)
    num_cells = length * options.slots
    return (*(heads * head_bytes * num_cells for heads in header.kv_heads), 0)


def _scratch(
    header: GGUFHeader, tensors: Sequence[Tensor], options: LlamaCppOptions, length: int
) -> int:
    num_tokens = min(options.ubatch_size, options.batch_size, length)
    shapes = {tensor.name: tensor.extents for tensor in tensors}
    width, num_words, *_ = shapes.get("token_embd.weight", (0, 0))
    widest = max((shape[1] for name, shape in shapes.items() if LAYER.match(name)), default=0)
    numbers = num_words + STREAM_COPIES * width + WIDE_COPIES * widest
    if flash_attention(options, has_gpu=True) == "off":
        numbers += length * header.num_heads
    adapters = (read_header(Path(one.path), adapters=True) for one in options.lora)
    beside = sum(one.size_bytes for one in adapters)
    if has_draft_model(options):
        beside += sum(part.stat().st_size for part in parts_of(Path(options.draft_model)))
    return num_tokens * numbers * FLOAT_BYTES + beside
