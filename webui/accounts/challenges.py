"""Challenges that devices sign: each good once, for five minutes, and in the browser that asked.

Knows random bytes and monotonic time; no request and no row. Nothing of it outlives the process.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from webui.errors import Conflict

if TYPE_CHECKING:
    from collections.abc import Callable

    from webui.accounts.relying_party import RelyingParty

LASTS_S = 300.0
NUM_BYTES = 32
MAX_OPEN = 2000
MAX_OF_ONE = 20  # of one person or one network, so that nobody pushes out everybody's


class ChallengeOver(Conflict):
    """What was signed is not waited for, or not any more."""

    code = "challenge_over"


@dataclass(frozen=True, slots=True)
class Challenge:
    """What is waited for.

    Attributes:
        value: To be signed.
        party: As whom this server asked.
        of: Who had it opened: a person or a network.
        about: What is to come of it.
    """

    value: bytes
    party: RelyingParty
    of: str
    about: str
    ends_at_s: float


class Challenges:
    """Those that are open.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._open: OrderedDict[str, Challenge] = OrderedDict()  # oldest first

    def open(self, key: str, party: RelyingParty, *, of: str, about: str = "") -> bytes:
        """Return what is to be signed; takes the place of what was open under the key.

        Args:
            key: What only the browser that asks can show again.
            party: As whom this server asks.
            of: Whose they are counted as.
            about: What is to come of it.
        """
        now_s = self._clock()
        self._open.pop(key, None)
        while self._open and next(iter(self._open.values())).ends_at_s <= now_s:
            self._open.popitem(last=False)
        theirs = [other for other, challenge in self._open.items() if challenge.of == of]
        if len(theirs) >= MAX_OF_ONE:
            del self._open[theirs[0]]
        elif len(self._open) >= MAX_OPEN:
            self._open.popitem(last=False)
        value = secrets.token_bytes(NUM_BYTES)
        self._open[key] = Challenge(value, party, of, about, now_s + LASTS_S)
        return value

    def take(self, key: str) -> Challenge:
        """Return what was open under a key; it is no longer.

        Raises:
            ChallengeOver: Nothing is.
        """
        challenge = self._open.pop(key, None)
        if challenge is None or challenge.ends_at_s <= self._clock():
            raise ChallengeOver(
                "this passkey was asked for more than five minutes ago, or in another browser",
                "Try again.",
            )
        return challenge
