"""The ways to run a model; a new one is a folder here and a line below."""

from __future__ import annotations

from typing import TYPE_CHECKING

from webui.loaders.llama_cpp import LOADER as LLAMA_CPP

if TYPE_CHECKING:
    from webui.engine.loader import Loader

LOADERS: tuple[Loader, ...] = (LLAMA_CPP,)

__all__ = ["LOADERS"]
