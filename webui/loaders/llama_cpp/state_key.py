"""What the state of a sequence depends on, besides its tokens.

Knows the model file and the options; knows no states.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import llama_cpp

from webui.loaders.llama_cpp.options import flash_attention
from webui.loaders.llama_cpp.parts import parts_of

if TYPE_CHECKING:
    from webui.loaders.llama_cpp.options import LlamaCppOptions

SAMPLE_BYTES = 1 << 20
NUM_SAMPLES = 16
# They say how much is computed at once and where, and change no meaning of what is kept; what the
# length of a slot may change is told apart.
HARMLESS = {
    *(
        "context_length",
        "slots",
        "kv_cells",
        "threads",
        "threads_batch",
        "batch_size",
        "ubatch_size",
    ),
    *("mmap", "mlock", "check_tensors", "offload_kqv", "op_offload"),
    *("speculation", "draft_max", "draft_model"),
    *("gpu_layers", "numa"),  # how many layers fit a card is another matter each time
}


def state_key(path: Path, options: LlamaCppOptions, *, is_long: bool = False) -> str:
    """Return a hex digest that differs where a state must not be loaded.

    A model of many gigabytes is not read whole: its length, its beginning with all names, sizes
    and the vocabulary, its end and some places between tell one file from another. Who wants to
    fool that can write into the folder of states as well.

    Args:
        path: Of the model, its first file.
        options: It is loaded with.
        is_long: Whether a slot is longer than the positions were made for; see `OpenedContext`.
    """
    digest = hashlib.sha256(llama_cpp.__version__.encode())
    digest.update(options.model_dump_json(exclude=HARMLESS | {"lora"}).encode())
    digest.update(bytes([is_long]))
    if not options.kv_unified:
        # Each slot has a stream of its own, and a state counts them.
        # Source: llama.cpp, src/llama-kv-cache.cpp, llama_kv_cache::state_read.
        digest.update(options.slots.to_bytes(2, "little"))
    # Values lie the other way round without flash attention.
    has_gpu = bool(llama_cpp.llama_supports_gpu_offload())
    digest.update(flash_attention(options, has_gpu=has_gpu).encode())
    # Of adapters the content counts, not where they lie; how strongly each worked is known of
    # every state.
    for part in [*parts_of(path), *(Path(adapter.path) for adapter in options.lora)]:
        size = part.stat().st_size
        digest.update(size.to_bytes(8, "little"))
        with part.open("rb") as file:
            for index in range(NUM_SAMPLES):
                file.seek(max(0, size - SAMPLE_BYTES) * index // (NUM_SAMPLES - 1))
                digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()
