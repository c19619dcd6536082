"""DRY samplers, made once for each wish and copied for each sequence.

llama.cpp spells out the whole vocabulary for every breaker when it makes one: 14 ms for four
breakers and 49,000 tokens, during which nobody's reply goes on. A copy takes microseconds.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

MAX_KEPT = 8


@dataclass(frozen=True, slots=True)
class DryWish:
    """What tells one DRY sampler from another; see `SamplingParams`."""

    multiplier: float
    base: float
    allowed_length: int
    last_n: int
    breakers: tuple[str, ...]


class DrySamplers:
    """The samplers of one model; used by the loop thread alone.

    Args:
        llama: The module llama_cpp.
        vocab: Handle of the vocabulary.
    """

    def __init__(self, llama: ModuleType, vocab: int) -> None:
        self._llama = llama
        self._vocab = vocab
        self._kept: dict[DryWish, int] = {}  # the one used last comes last

    def make(self, wish: DryWish) -> int | None:
        """Return a sampler that the caller owns; None when llama.cpp makes none."""
        first = self._kept.pop(wish, None) or self._init(wish)
        if not first:
            return None
        self._kept[wish] = first
        if len(self._kept) > MAX_KEPT:
            oldest = next(iter(self._kept))
            self._llama.llama_sampler_free(self._kept.pop(oldest))
        handle: int | None = self._llama.llama_sampler_clone(first)
        return handle

    def close(self) -> None:
        """Free those that are kept; idempotent."""
        while self._kept:
            _, handle = self._kept.popitem()
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
