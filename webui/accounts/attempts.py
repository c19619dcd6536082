"""Sign-ins that were begun at another site and have not come back yet.

Knows random words and time. Each is bound to the browser that began it, is good once and
for a few minutes; there are so many and no more, of one sender and in all.
"""

from __future__ import annotations

import hmac
import time
from collections import OrderedDict
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from webui.accounts.id_token import SignInRefused
from webui.accounts.identity import hash_of, new_token
from webui.accounts.throttle import network_of

if TYPE_CHECKING:
    from collections.abc import Callable

LASTS_S = 600.0
MAX_ATTEMPTS = 2000
MAX_OF_SENDER = 20


class Aim(StrEnum):
    """What somebody goes to the other site for."""

    ENTER = "enter"
    LINK = "link"
    CONFIRM = "confirm"  # that it is them


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One of them.

    Attributes:
        redirect_uri: To where the other site sends the browser back.
        next_path: Where the reader wanted to go.
        aim: What it is for.
        session_id: Of the sign-in that asked; empty where somebody wants in.
        network: Of the sender.
        browser_hash: Of the word that the browser keeps.
        nonce: That the token must have.
        verifier: That the code is asked for with (PKCE).
        begun_at_s: When it was begun; seconds since 1970, by the clock that the token is judged by.
        ends_s: When it is over.
    """

    redirect_uri: str
    next_path: str
    aim: Aim
    session_id: str
    network: str
    browser_hash: str
    nonce: str
    verifier: str
    begun_at_s: int
    ends_s: float


@dataclass(frozen=True, slots=True)
class Begun:
    """What an attempt begins with.

    Attributes:
        state: Goes to the other site and comes back.
        browser: Stays in the browser's cookie.
    """

    state: str
    browser: str
    attempt: Attempt


class Attempts:
    """All of them.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._open: OrderedDict[str, Attempt] = OrderedDict()  # by hash of the state, oldest first

    def begin(
        self,
        address: str,
        *,
        redirect_uri: str,
        next_path: str,
        aim: Aim = Aim.ENTER,
        session_id: str = "",
    ) -> Begun:
        """Begin one; the oldest of the sender, or of all, makes room."""
        state, browser, network = new_token(), new_token(), network_of(address)
        self._make_room(network)
        attempt = Attempt(
            redirect_uri=redirect_uri,
            next_path=next_path,
            aim=aim,
            session_id=session_id,
            network=network,
            browser_hash=hash_of(browser),
            nonce=new_token(),
            verifier=new_token(),
            begun_at_s=int(time.time()),
            ends_s=self._clock() + LASTS_S,
        )
        self._open[hash_of(state)] = attempt
        return Begun(state, browser, attempt)

    def take(self, state: str, browser: str | None) -> Attempt:
        """Return the attempt that comes back; it is over, whether it was right or not.

        Args:
            state: As it came back.
            browser: What the cookie says.

        Raises:
            SignInRefused: There is none of that state, it took too long, or it is another
                browser's.
        """
        attempt = self._open.pop(hash_of(state), None)
        if attempt is None or attempt.ends_s <= self._clock():
            raise SignInRefused(
                "this sign-in was not begun here, is over, or took too long", "Begin it anew."
            )
        if browser is None or not hmac.compare_digest(attempt.browser_hash, hash_of(browser)):
            raise SignInRefused(
                "this sign-in was begun in another browser, or in another tab since",
                "Begin it anew; the browser must keep cookies of this site.",
            )
        return attempt

    def _make_room(self, network: str) -> None:
        now_s = self._clock()
        while self._open and next(iter(self._open.values())).ends_s <= now_s:
            self._open.popitem(last=False)
        own = [key for key, one in self._open.items() if one.network == network]
        for key in own[: max(0, len(own) + 1 - MAX_OF_SENDER)]:
            del self._open[key]
        while len(self._open) >= MAX_ATTEMPTS:
            self._open.popitem(last=False)
