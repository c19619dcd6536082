"""The files of a model that lies in several, by their names.

Knows the scheme of names only; reads no file.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def parts_of(path: Path) -> list[Path]:
    """Return all files of a model, of which the first is named.

    Source: llama.cpp, src/llama.cpp, llama_split_path.
    """
    found = re.fullmatch(r"(.+)-\d{5}-of-(\d{5})\.gguf", path.name)
    if found is None:
        return [path]
    return sorted(path.parent.glob(f"{_literal(found[1])}-*-of-{found[2]}.gguf"))


def _literal(text: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", text)
