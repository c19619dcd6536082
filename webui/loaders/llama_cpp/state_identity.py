"""What decides whether a state of the cache, once copied out, means the same when put back.

Knows files and options, no llama_cpp and no states.
"""

from __future__ import annotations

import hashlib
import json
from glob import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from webui.loaders.llama_cpp.options import LlamaCppOptions

FIRST_SPLIT = "-00001-of-"
HEAD_BYTES = 1024 * 1024
# The form of a state, and what its numbers were computed with. Flash attention turns the values
# about; threads and batches change nothing that a state would tell.
STATE_OPTIONS = {
    "cache_type_k",
    "cache_type_v",
    "flash_attn",
    "rope_scaling",
    "rope_freq_base",
    "rope_freq_scale",
    "yarn_orig_ctx",
    "yarn_ext_factor",
    "yarn_attn_factor",
    "yarn_beta_fast",
    "yarn_beta_slow",
    "swa_full",
}


def state_key(path: Path, options: LlamaCppOptions, version: str) -> str:
    """Return a hex digest that two loads share only if they understand each other's states.

    A file counts by its size, the time of its last change and its first MiB: reading gigabytes
    at every load would cost more than a lost cache. Blocks while it reads.

    Args:
        path: GGUF file, of a split model the first.
        options: How it was loaded.
        version: Of the library that wrote the states.

    Raises:
        OSError: A file cannot be read.
    """
    found = hashlib.sha256()
    given = options.model_dump(include=STATE_OPTIONS)
    found.update(json.dumps([version, given], sort_keys=True).encode())
    for part in _parts(path):
        stat = part.stat()
        found.update(f"\0{stat.st_size}:{stat.st_mtime_ns}\0".encode())
        with part.open("rb") as file:
            found.update(file.read(HEAD_BYTES))
    return found.hexdigest()


def _parts(path: Path) -> list[Path]:
    """Return all files of the model."""
    before, split, after = path.name.rpartition(FIRST_SPLIT)
    if not split:
        return [path]
    return sorted(path.parent.glob(f"{escape(before)}-*-of-{escape(after)}"))
