"""DRY samplers, made once for each wish and copied for each sequence.

llama.cpp spells out the whole vocabulary for every breaker when it makes one: 14 ms for the usual
four and 49,000 tokens, up to 2 s for sixteen that begin in many tokens. So the template thread
makes them, while replies go on. A copy takes microseconds, of the largest 30 ms.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import TYPE_CHECKING

from webui.loaders.llama_cpp.made_ahead import MadeAhead

if TYPE_CHECKING:
    from types import ModuleType


@dataclass(frozen=True, slots=True)
class DryWish:
    """What tells one DRY sampler from another; see `SamplingParams`."""

    multiplier: float
    base: float
    allowed_length: int
    last_n: int
    breakers: tuple[str, ...]


class DrySamplers:
    """The samplers of one model.

    Args:
        llama: The module llama_cpp.
        vocab: Handle of the vocabulary.
    """

    def __init__(self, llama: ModuleType, vocab: int) -> None:
        self._llama = llama
        self._vocab = vocab
        self._first: MadeAhead[DryWish, int | None] = MadeAhead(self._init, self._free)

    def prepare(self, wish: DryWish) -> None:
        """Make a sampler that `make` is going to copy; called by the template thread."""
        self._first.prepare(wish)

    def make(self, wish: DryWish) -> int | None:
        """Return a sampler that the caller owns; None when llama.cpp makes none."""
        first = self._first.get(wish)
        handle: int | None = self._llama.llama_sampler_clone(first) if first else None
        return handle

    def close(self) -> None:
        """Free those that are kept; idempotent."""
        self._first.close()

    def _free(self, handle: int | None) -> None:
        if handle:
            self._llama.llama_sampler_free(handle)

    def _init(self, wish: DryWish) -> int | None:
        breakers = [breaker.encode() for breaker in wish.breakers]
        handle: int | None = self._llama.llama_sampler_init_dry(
            self._vocab,
            wish.multiplier,
            wish.base,
            wish.allowed_length,
            wish.last_n,
            (ctypes.c_char_p * len(breakers))(*breakers),
            len(breakers),
        )
        return handle
