"""Tokens that a reply took back because they began a banned string, and when to give up.

Knows positions and token ids; knows neither text nor sampler. Each token that is taken back is
banned at its place until the reply goes on from there. Without a bound a list of bans that leaves
next to nothing would have the model try all its vocabulary, place by place.
"""

from __future__ import annotations

from webui.errors import NothingAllowed

MAX_TRIES = 128  # without a token that stays


class Rewinds:
    """What one sequence took back.

    Attributes:
        num: Times that it did.
    """

    def __init__(self) -> None:
        self._banned: dict[int, set[int]] = {}  # by position
        self._num_in_vain = 0
        self.num = 0

    def note(self, position: int, token: int) -> None:
        """Ban a token at its place; what was banned behind it may come again."""
        self._banned = {p: banned for p, banned in self._banned.items() if p <= position}
        self._banned.setdefault(position, set()).add(token)
        self._num_in_vain += 1
        self.num += 1

    def note_progress(self) -> None:
        """Note that a token stays for good: from here on there are as many tries again."""
        self._num_in_vain = 0

    def banned_at(self, position: int) -> frozenset[int]:
        """Return the tokens that began a banned string at a place."""
        return frozenset(self._banned.get(position, ()))

    def shift(self, num: int, stop: int) -> None:
        """Note that so many tokens before a position left."""
        self._banned = {p - num: banned for p, banned in self._banned.items() if p >= stop}

    def check(self) -> None:
        """Give up where too much was tried in vain.

        Raises:
            NothingAllowed: So it is.
        """
        if self._num_in_vain >= MAX_TRIES:
            raise NothingAllowed(
                f"The reply cannot go on without a banned string: {MAX_TRIES} tries ended in one",
                "Ban fewer strings, or longer ones.",
            )
