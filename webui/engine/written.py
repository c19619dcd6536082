"""A token that was chosen and not yet told: what it says, and how likely it was.

A value file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from webui.engine.token_logprob import TokenLogprob

if TYPE_CHECKING:
    from webui.engine.runner import Sampled
    from webui.engine.sequence import Vocabulary


@dataclass(frozen=True, slots=True)
class Written:
    """What a token adds to the text, which may be nothing, and its chance if that is asked for."""

    data: bytes
    logprob: TokenLogprob | None

    @classmethod
    def of(cls, sampled: Sampled, data: bytes, vocabulary: Vocabulary) -> Self:
        """Return a chosen token that says `data`."""
        if sampled.logprob is None:
            return cls(data, None)
        top = tuple((vocabulary.token_bytes(token), chance) for token, chance in sampled.top)
        own = vocabulary.token_bytes(sampled.token)
        return cls(data, TokenLogprob(own, sampled.logprob, top))
