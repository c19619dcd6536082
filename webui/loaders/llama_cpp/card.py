"""The loader's card for the rest of the house, and what it refuses before anything is loaded.

Knows options and headers of files, no llama_cpp: the web process asks it, so that what cannot work
is refused where it was asked for, and the model that is loaded stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from webui.hub.gguf import read_header
from webui.loaders.llama_cpp.backends import can_use_cards, library_folder
from webui.loaders.llama_cpp.combinations import check_devices, check_fit, check_options
from webui.loaders.llama_cpp.options import LlamaCppOptions
from webui.loaders.llama_cpp.sampler import SAMPLED_PARAMS

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import BaseModel

# Read elsewhere than in the sampler chain: by the prompt, the sequence and the runner.
ENGINE_PARAMS = frozenset(
    {
        "system_prompt",
        "max_tokens",
        "context_overflow",
        "stop",
        "banned_strings",
        "logprobs",
        "top_logprobs",
    }
)


@dataclass(frozen=True, slots=True)
class LlamaCppLoader:
    """Card of this loader; obeys `engine.loader.Loader`."""

    name: str = "llama_cpp"
    formats: tuple[str, ...] = (".gguf",)
    Options: type[BaseModel] = LlamaCppOptions
    supported_params: frozenset[str] = SAMPLED_PARAMS | ENGINE_PARAMS
    module: str = "webui.loaders.llama_cpp"

    def check(self, path: Path, options: BaseModel) -> None:
        """Refuse options that cannot work with a file; blocks on its header.

        Raises:
            LoadFailed: They contradict each other or the file; names the field.
        """
        assert isinstance(options, LlamaCppOptions)
        check_options(options)
        if not can_use_cards(library_folder()):
            check_devices(options, 0)
        check_fit(options, read_header(path))


LOADER = LlamaCppLoader()
