"""What is told of one token of a reply, where the request asks for it."""

from __future__ import annotations

import msgspec


class TokenLogprob(msgspec.Struct, frozen=True, array_like=True):
    """How likely one token was, before any sampler changed its chance.

    Attributes:
        data: The bytes it says; may be a part of a character, or nothing.
        logprob: Natural logarithm of its probability; -inf when it had none.
        top: The likeliest tokens at its place in the same form, likeliest first.
    """

    data: bytes
    logprob: float
    top: tuple[tuple[bytes, float], ...] = ()
