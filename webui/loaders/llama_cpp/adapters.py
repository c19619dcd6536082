"""LoRA adapters of a loaded model: what is read beside its weights, and how strongly each works.

Knows files and handles of llama.cpp; knows neither rows nor who asked. Adapters are read before
a context is made, because its graph has room only for those that are there, and every context of
the model is told of them.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import TYPE_CHECKING

import llama_cpp

from webui.engine.adapters import Adapter
from webui.errors import LoadFailed
from webui.loaders.llama_cpp.adapter_check import OTHER_MODEL, check_adapter, shape_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from ctypes import _Pointer

    from webui.engine.adapters import Scales
    from webui.loaders.llama_cpp.lora_adapter import LoraAdapter
    from webui.loaders.llama_cpp.native_log import NativeLog

# What llama.cpp says, as people would. Source: llama.cpp, src/llama-adapter.cpp.
REASONS = {
    "arch mismatch": ("it was made for another kind of model", OTHER_MODEL),
    "does not exist in base model": ("it changes weights that this model has not", OTHER_MODEL),
    "incorrect shape": ("it was made for a model of another size", OTHER_MODEL),
    "missing one component": ("half of a pair of weights is missing", "Download it again."),
    "unexpected suffix": ("it holds other weights than a LoRA", "Choose another adapter."),
    "not transposed": ("it is of a form that is no longer read", "Convert the adapter anew."),
    "failed to allocate": ("there is not enough memory", "Take fewer adapters or GPU layers."),
}


class Adapters:
    """The adapters of one model; freed by llama.cpp together with it.

    Args:
        model: Handle of the model; outlives this.
        path: Its first file.
        chosen: Which, with whole paths.
        log: Where llama.cpp says why it refuses one.

    Attributes:
        loaded: What they are called, and how strongly they work unless somebody says otherwise.

    Raises:
        LoadFailed: A file is not there, no adapter, or not for this model.
    """

    def __init__(
        self, model: int, path: Path, chosen: Sequence[LoraAdapter], log: NativeLog
    ) -> None:
        self._handles: list[_Pointer[ctypes.c_void_p]] = []
        self.num_bytes = 0
        self.loaded = tuple(
            Adapter(Path(adapter.path).name, adapter.scale or 0.0) for adapter in chosen
        )
        if not chosen:
            return
        shape = shape_of(path)
        for adapter in chosen:
            file = Path(adapter.path)
            self.num_bytes += check_adapter(file, shape)
            log.errors.clear()  # those of the model are no reasons of this one
            handle: _Pointer[ctypes.c_void_p] | None = llama_cpp.llama_adapter_lora_init(
                model, str(file).encode()
            )
            if not handle:
                raise _refusal(file, log)
            if llama_cpp.llama_adapter_get_alora_n_invocation_tokens(handle):
                raise LoadFailed(
                    f"The adapter {file.name} works only after certain words (aLoRA), "
                    "which is not known here",
                    "Choose an adapter that always works.",
                )
            self._handles.append(handle)

    @property
    def scales(self) -> Scales:
        """How strongly each works unless somebody says otherwise."""
        return tuple(adapter.scale for adapter in self.loaded)

    def apply(self, context: int, scales: Scales) -> None:
        """Let them work on all that a context computes from now on.

        The next step plans anew, which takes it longer; the same scales again cost nothing.

        Raises:
            LoadFailed: llama.cpp refuses that.
        """
        num = len(self._handles)
        if not num:
            return
        handles = (llama_cpp.llama_adapter_lora_p_ctypes * num)(*self._handles)
        numbers = (ctypes.c_float * num)(*scales)
        if llama_cpp.llama_set_adapters_lora(context, handles, num, numbers):
            raise LoadFailed("llama.cpp refuses the adapters", "Load the model without them.")


def _refusal(path: Path, log: NativeLog) -> LoadFailed:
    said = log.errors[-1] if log.errors else "llama.cpp does not say why"
    for words, (reason, hint) in REASONS.items():
        if words in said:
            return LoadFailed(f"The adapter {path.name} cannot be used: {reason}", hint)
    said = said.rsplit("failed to apply lora adapter: ", 1)[-1]
    return LoadFailed(f"The adapter {path.name} cannot be used: {said}", "Choose another adapter.")
