"""DRY samplers, made once for each wish and copied for each sequence.

llama.cpp spells out the whole vocabulary for every breaker when it makes one: 14 ms for the usual
four and 49,000 tokens, up to 2 s for sixteen that begin in many tokens. So the template thread
makes them, while replies go on. A copy takes microseconds, of the largest 30 ms.
"""

from __future__ import annotations

import ctypes
import queue
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

MAX_KEPT = 16


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
        self._made: queue.SimpleQueue[tuple[DryWish, int]] = queue.SimpleQueue()
        self._kept: dict[DryWish, int] = {}  # the one used last comes last; the loop's own

    def prepare(self, wish: DryWish) -> None:
        """Make a sampler that `make` is going to copy; called by the template thread."""
        if wish not in self._kept and (handle := self._init(wish)):
            self._made.put((wish, handle))

    def make(self, wish: DryWish) -> int | None:
        """Return a sampler that the caller owns; None when llama.cpp makes none.

        Called by the loop thread; makes the first where `prepare` did not, or long ago.
        """
        self._take_made()
        first = self._kept.get(wish) or self._init(wish)
        if not first:
            return None
        self._keep(wish, first)
        handle: int | None = self._llama.llama_sampler_clone(first)
        return handle

    def close(self) -> None:
        """Free those that are kept; idempotent."""
        self._take_made()
        while self._kept:
            _, handle = self._kept.popitem()
            self._llama.llama_sampler_free(handle)

    def _take_made(self) -> None:
        while not self._made.empty():
            self._keep(*self._made.get())

    def _keep(self, wish: DryWish, handle: int) -> None:
        before = self._kept.pop(wish, handle)
        if before != handle:
            self._llama.llama_sampler_free(before)
        self._kept[wish] = handle
        if len(self._kept) > MAX_KEPT:
            oldest = next(iter(self._kept))
            self._llama.llama_sampler_free(self._kept.pop(oldest))

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
