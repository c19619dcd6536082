"""A model of many megabytes that takes no room on the disk: all its weights are holes in the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from gguf import GGUFWriter

from tests.tiny_gguf import EMBEDDING, add_vocabulary

if TYPE_CHECKING:
    from pathlib import Path

NUM_LAYERS = 16
FEED_FORWARD = 20_000
BIG_BYTES = 230 << 20  # and a little more


def write_big_gguf(path: Path) -> Path:
    """Write the file, `BIG_BYTES` long, and return its path."""
    writer = GGUFWriter(str(path), "llama")
    writer.add_file_type(0)
    writer.add_block_count(NUM_LAYERS)
    writer.add_context_length(512)
    writer.add_embedding_length(EMBEDDING)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(1)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-5)
    tokens = add_vocabulary(writer)
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (len(tokens), EMBEDDING)}
    for layer in range(NUM_LAYERS):
        block = f"blk.{layer}"
        for name in ("attn_norm", "ffn_norm"):
            shapes[f"{block}.{name}.weight"] = (EMBEDDING,)
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            shapes[f"{block}.{name}.weight"] = (EMBEDDING, EMBEDDING)
        for name in ("ffn_gate", "ffn_up"):
            shapes[f"{block}.{name}.weight"] = (FEED_FORWARD, EMBEDDING)
        shapes[f"{block}.ffn_down.weight"] = (EMBEDDING, FEED_FORWARD)
    shapes["output_norm.weight"] = (EMBEDDING,)
    num_bytes = {name: int(np.prod(shape)) * 4 for name, shape in shapes.items()}
    for name, shape in shapes.items():
        writer.add_tensor_info(name, shape, np.dtype(np.float32), num_bytes[name])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    with path.open("r+b") as file:
        # All lengths are multiples of the alignment.
        start = -(-file.seek(0, 2) // 32) * 32
        file.truncate(start + sum(num_bytes.values()))
    return path
