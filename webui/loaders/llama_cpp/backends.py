"""Whether the llama.cpp that is installed can use a graphics card at all.

Knows names of libraries in the package of the bindings and opens none: the web process asks. How
many cards there are only the worker finds out.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

BINDINGS = "llama_cpp"
# Source: llama.cpp, ggml/src/ggml-backend-reg.cpp: those that bring devices of their own.
WITH_CARDS = ("cann", "cuda", "hip", "metal", "musa", "opencl", "rpc", "sycl", "vulkan")


def library_folder() -> Path | None:
    """Return where the libraries lie; None where the bindings are not installed."""
    found = find_spec(BINDINGS)
    return Path(found.origin).parent / "lib" if found and found.origin else None


def can_use_cards(folder: Path | None) -> bool:
    """Whether a library for cards is there; taken for granted where there are no libraries."""
    names = [] if folder is None else [path.name for path in folder.glob("*ggml*")]
    if not names:
        return True
    return any(f"ggml-{backend}" in name for name in names for backend in WITH_CARDS)
