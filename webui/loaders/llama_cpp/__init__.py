"""GGUF files through llama.cpp. Importing this loads no native library: the child does that."""

from webui.loaders.llama_cpp.card import LOADER, LlamaCppLoader
from webui.loaders.llama_cpp.options import LlamaCppOptions

__all__ = ["LOADER", "LlamaCppLoader", "LlamaCppOptions"]
