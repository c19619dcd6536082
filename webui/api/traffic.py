"""How much one sender may ask for: so many requests a second, and so many at once.

Knows keys, costs and monotonic time; no user and no route's meaning. What a model writes is counted
by `accounts.quotas`, wrong passwords by `accounts.throttle`; this keeps a script that runs wild, or
a page with a fault, from taking the server away from everybody else.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from webui.errors import Busy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

BURST_S = 10.0  # who was quiet for so long may ask for all of that at once
MAX_OPEN = 200
MAX_KEYS = 20_000
PROXY_SIGN_IN = "sign-in by a proxy"  # stands for a path
# What takes the server long counts as so many requests.
COSTS: Mapping[tuple[str, str], int] = {
    ("GET", "/api/me/export"): 50,
    ("PUT", "/api/me/password"): 10,
    ("POST", "/api/users"): 10,
    ("POST", "/api/shares"): 10,
    ("POST", "/api/keys"): 10,
    ("POST", "/api/admin/backups"): 50,
    ("GET", PROXY_SIGN_IN): 10,
}


class TooManyRequests(Busy):
    """One sender asks for more than its share."""

    code = "too_many_requests"


@dataclass(slots=True)
class _Sender:
    left: float
    at_s: float
    num_open: int = 0


class Traffic:
    """What each sender asked for lately.

    Args:
        rate: Requests a second, above 0; 0 counts nothing.
        clock: Monotonic seconds.
    """

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._senders: OrderedDict[str, _Sender] = OrderedDict()

    @contextlib.contextmanager
    def request(self, key: str, method: str, path: str) -> Iterator[None]:
        """Count a request for as long as it is served.

        Args:
            key: Of who asks.
            method: Of HTTP, in capitals.
            path: Without the query.

        Raises:
            TooManyRequests: It is one too many; it was not counted.
        """
        if not self._rate:
            yield
            return
        sender = self._take(key, COSTS.get((method, path), 1))
        sender.num_open += 1
        try:
            yield
        finally:
            sender.num_open -= 1

    def _take(self, key: str, cost: int) -> _Sender:
        now_s, most = self._clock(), self._rate * BURST_S
        sender = self._senders.get(key) or _Sender(most, now_s)
        sender.left = min(most, sender.left + (now_s - sender.at_s) * self._rate)
        sender.at_s = now_s
        self._keep(key, sender)
        if sender.num_open >= MAX_OPEN:
            raise TooManyRequests(
                f"{MAX_OPEN} requests are open at once",
                "Close some of them, or wait for their answers.",
            )
        wanted = min(cost, most)  # with a low rate, what costs more is still possible
        if sender.left < wanted:
            wait_s = (wanted - sender.left) / self._rate
            raise TooManyRequests(
                f"more than {self._rate:g} requests a second were sent",
                f"Wait {math.ceil(wait_s)} s, then send fewer at a time.",
                retry_after_s=wait_s,
            )
        sender.left -= wanted
        return sender

    def _keep(self, key: str, sender: _Sender) -> None:
        self._senders[key] = sender
        self._senders.move_to_end(key)
        while len(self._senders) > MAX_KEYS:
            self._senders.popitem(last=False)
