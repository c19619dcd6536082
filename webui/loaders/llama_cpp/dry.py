"""DRY samplers, made once for each wish and copied for each sequence.

llama.cpp spells out the whole vocabulary for every breaker when it makes one: 14 ms for the usual
four and 49,000 tokens. Each token that ends where a breaker begins has it read the rest of the
breaker, again and again: sixteen that begin in many tokens would take seconds. Such are refused, and
the others are made on a thread of their own. A copy takes microseconds, of the largest milliseconds.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import TYPE_CHECKING

from webui.errors import InvalidRequest
from webui.loaders.llama_cpp.made_ahead import MadeAhead

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from webui.loaders.llama_cpp.banned_tokens import SpelledTokens

READ_BYTES = 40  # of a breaker; llama.cpp: llama_sampler_init_dry, MAX_CHAR_LEN
MAX_BEGUN = 50_000  # tokens that end where a breaker begins, each some ten microseconds
MAX_HELD = 100_000  # tokens that hold a breaker, each a hundred bytes, copied with the sampler


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

    def has(self, wish: DryWish) -> bool:
        """Return whether `prepare` has nothing to do; any thread may ask."""
        return self._first.has(wish)

    def prepare(self, wish: DryWish, spelled: SpelledTokens) -> None:
        """Make a sampler that `make` is going to copy; called by the thread that makes samplers.

        Raises:
            InvalidRequest: Its breakers stand in too many tokens.
        """
        if not self.has(wish):
            check_breakers(wish.breakers, spelled)
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


def check_breakers(breakers: Sequence[str], spelled: SpelledTokens) -> None:
    """Refuse breakers that llama.cpp would take too long, or too much memory, for.

    Raises:
        InvalidRequest: They stand in too many tokens, or begin at the end of too many.
    """
    met = [spelled.meeting(breaker.encode()[:READ_BYTES]) for breaker in breakers]
    num_held = sum(held for held, _ in met)
    num_begun = sum(begun for _, begun in met)
    if num_held > MAX_HELD:
        raise _refusal(f"stand in {num_held:,} tokens of this model; {MAX_HELD:,} may hold them")
    if num_begun > MAX_BEGUN:
        raise _refusal(f"begin where {num_begun:,} tokens of this model end; {MAX_BEGUN:,} may")


def _refusal(what: str) -> InvalidRequest:
    return InvalidRequest(
        f"dry_sequence_breakers: these {what}",
        "Take fewer, or such as begin with a rarer character.",
        field="dry_sequence_breakers",
    )
