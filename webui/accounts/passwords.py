"""Passwords: what one must be, and argon2id, in threads and a bounded number at a time.

Knows no user. One hash takes 64 MiB and tens of milliseconds on purpose; who floods the sign-in is
told to wait, and the event loop never waits itself.

Source: RFC 9106 (argon2), OWASP Password Storage Cheat Sheet, NIST SP 800-63B section 3.1.1;
zxcvbn, Wheeler 2016, says how soon a password is guessed.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from zxcvbn import zxcvbn

from webui.errors import Busy, InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

MIN_CHARS = 8
MAX_CHARS = 256
MAX_JUDGED_CHARS = 72
MIN_SCORE = 2  # of 4: more than 10^6 guesses, each of which waits for its turn at the sign-in
OWN_WORDS = ("hearthside", "llama", "localhost")
MAX_AT_ONCE = 2
MAX_WAITING = 50


def check(password: str, *, name: str, field: str = "password") -> None:
    """Check that a new password is none that is guessed first.

    Args:
        password: In clear.
        name: Whose it is to be.
        field: Of the request that it stands in.

    Raises:
        InvalidRequest: It is too short, too long, or among the first that are tried.
    """
    if len(password) < MIN_CHARS:
        count = "one character" if len(password) == 1 else f"{len(password)} characters"
        raise InvalidRequest(
            f"the password has {count}",
            f"Take at least {MIN_CHARS}; some words in a row are easy to remember.",
            field=field,
        )
    if len(password) > MAX_CHARS:
        raise InvalidRequest(
            f"the password has {len(password)} characters",
            f"Take at most {MAX_CHARS}.",
            field=field,
        )
    # What is behind the part that is judged can only make it harder to guess.
    judged = zxcvbn(password[:MAX_JUDGED_CHARS], user_inputs=[name, *OWN_WORDS])
    if judged["score"] < MIN_SCORE:
        reason = judged["feedback"]["warning"].removesuffix(".")
        raise InvalidRequest(
            f"the password is among the first that are guessed{f' ({reason})' if reason else ''}",
            "Take another one; some words in a row are easy to remember.",
            field=field,
        )


class Passwords:
    """Makes and checks hashes.

    Args:
        hasher: Whose costs are taken; the default is above the least that OWASP asks for.
    """

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher(time_cost=3, memory_cost=65_536, parallelism=4)
        self._turns = asyncio.Semaphore(MAX_AT_ONCE)
        self._num_waiting = 0
        self._dummy: str | None = None

    async def hash(self, password: str) -> str:
        """Return the hash of a password, with its costs and salt in it.

        Raises:
            Busy: Too many wait.
        """
        return await self._in_turn(partial(self._hasher.hash, password))

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether it is the password of that hash; takes the same time where there is no hash.

        Raises:
            Busy: Too many wait.
        """
        return await self._in_turn(partial(self._verify, stored, password))

    def is_outdated(self, stored: str) -> bool:
        """Whether a hash was made with other costs than today's."""
        return self._hasher.check_needs_rehash(stored)

    def _verify(self, stored: str | None, password: str) -> bool:
        if self._dummy is None:
            self._dummy = self._hasher.hash("of nobody")
        try:
            self._hasher.verify(stored or self._dummy, password[: MAX_CHARS + 1])
        except (VerificationError, InvalidHashError):
            return False
        return stored is not None

    async def _in_turn(self, work: Callable[[], T]) -> T:
        if self._num_waiting >= MAX_WAITING:
            raise Busy("too many people sign in at once", "Try again in a moment.", retry_after_s=3)
        self._num_waiting += 1
        try:
            async with self._turns:
                return await asyncio.to_thread(work)
        finally:
            self._num_waiting -= 1
