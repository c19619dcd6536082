"""GGUF files through llama.cpp. Importing this loads no native library: the child does that."""

from webui.loaders.llama_cpp.options import LOADER, LlamaCppLoader, LlamaCppOptions

__all__ = ["LOADER", "LlamaCppLoader", "LlamaCppOptions"]
