"""How fast wrong passwords may follow each other, by account and by address.

Knows keys and monotonic time, no request and no user. Nobody is locked out for good: each wrong
guess makes the next one wait longer, up to a bound, and the count fades. An attacker who guesses at
somebody's name from elsewhere does not keep that person out: who came in from an address before is
counted there by itself.
"""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from webui.errors import Busy

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_WAIT_S = 300.0
FADE_S = 900.0
MAX_KEYS = 20_000
MAX_KNOWN = 5_000


class TooManyAttempts(Busy):
    """Too many wrong guesses."""

    code = "too_many_attempts"


@dataclass(frozen=True, slots=True)
class _Bound:
    """So many wrong guesses are free; then the wait doubles from `first_wait_s`."""

    num_free: int
    first_wait_s: float


# Of one address at one account, of one address, of everybody at one account.
PAIR, ADDRESS, ACCOUNT = _Bound(5, 2.0), _Bound(20, 2.0), _Bound(50, 5.0)


@dataclass(slots=True)
class _Count:
    num_wrong: int
    last_s: float


class Throttle:
    """Counts of wrong guesses.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counts: OrderedDict[tuple[str, str], _Count] = OrderedDict()
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    def begin(self, account: str, address: str) -> None:
        """Count a guess as wrong before it is looked at, so that many at once are no way around.

        Args:
            account: Key of the name.
            address: Of the sender; an IPv6 one counts with its /64.

        Raises:
            TooManyAttempts: It may not be made yet; it was not counted.
        """
        now_s = self._clock()
        keys = self._keys(account, address)
        wait_s = max(self._wait_s(key, bound, now_s) for key, bound in keys)
        if wait_s > 0:
            raise TooManyAttempts(
                "too many wrong attempts",
                f"Wait {math.ceil(wait_s)} s, then try again.",
                retry_after_s=wait_s,
            )
        for key, _ in keys:
            self._counts[key] = _Count(self._num_wrong(key, now_s) + 1, now_s)
            self._counts.move_to_end(key)
        while len(self._counts) > MAX_KEYS:
            self._counts.popitem(last=False)

    def note_right(self, account: str, address: str) -> None:
        """Take the guess back that was right, and remember that its owner came in from there."""
        for key, bound in self._keys(account, address):
            count = self._counts.get(key)
            if count is not None:
                count.num_wrong = 0 if bound is PAIR else max(0, count.num_wrong - 1)
        known = (account, network_of(address))
        self._known[known] = None
        self._known.move_to_end(known)
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)

    def _keys(self, account: str, address: str) -> list[tuple[tuple[str, str], _Bound]]:
        network = network_of(address)
        keys = [((account, network), PAIR)]
        if (account, network) not in self._known:
            keys += [(("", network), ADDRESS), ((account, ""), ACCOUNT)]
        return keys

    def _num_wrong(self, key: tuple[str, str], now_s: float) -> int:
        count = self._counts.get(key)
        return 0 if count is None or now_s - count.last_s > FADE_S else count.num_wrong

    def _wait_s(self, key: tuple[str, str], bound: _Bound, now_s: float) -> float:
        num_over = self._num_wrong(key, now_s) - bound.num_free
        if num_over < 0:
            return 0.0
        wait_s = min(bound.first_wait_s * 2.0 ** min(num_over, 20), MAX_WAIT_S)
        return max(0.0, self._counts[key].last_s + wait_s - now_s)


def network_of(address: str) -> str:
    """Return what of an address one sender cannot change at will."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:100]
    if parsed.version == 4:
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))
