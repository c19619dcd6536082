"""How much of their limits one person has used, exactly, within this process.

Pure: knows numbers and times that it is told; no storage, no clock. Whatever checks and takes does
both in one call, so that no two requests get the same last piece.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING

from webui.errors import QuotaExceeded

if TYPE_CHECKING:
    from datetime import date

    from webui.accounts.limits import Limits

MINUTE_S = 60.0
ASK = "An administrator of this server can raise the limit."
BUSY_RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class Moment:
    """Now, by both clocks.

    Attributes:
        at: Aware time in UTC, which can jump.
        clock_s: Monotonic seconds, which cannot.
    """

    at: datetime
    clock_s: float

    @property
    def day(self) -> date:
        """Return the day in UTC."""
        return self.at.date()

    @property
    def next_day(self) -> datetime:
        """Return when it ends."""
        return datetime.combine(self.day + timedelta(days=1), time(), UTC)


class Standing:
    """What one person has used.

    Args:
        day: In UTC.
        used_tokens: On that day so far.
    """

    def __init__(self, day: date, used_tokens: int) -> None:
        self.num_requests = 0  # that run or wait
        self._day = day
        self._used_tokens = used_tokens
        self._level = 0.0  # messages that may be sent at once: a token bucket
        self._level_of: int | None = None  # the limit that it was filled for
        self._level_at_s = 0.0

    def take(self, limits: Limits, now: Moment, num_requests: int) -> None:
        """Let requests in, all of them or none.

        Raises:
            QuotaExceeded: A limit does not allow them; nothing was taken.
        """
        self._check_tokens(limits, now)
        self._check_at_once(limits, num_requests)
        self._take_messages(limits, now, num_requests)
        self.num_requests += num_requests

    def give_back(self, limits: Limits, num_requests: int) -> None:
        """Take back that messages were sent: nothing came of them."""
        if limits.messages_per_minute is not None:
            self._level = min(limits.messages_per_minute, self._level + num_requests)

    def add_tokens(self, day: date, num_tokens: int) -> None:
        """Count tokens that were read or written."""
        self._turn_to(day)
        self._used_tokens += num_tokens

    def used_tokens(self, day: date) -> int:
        """Return the tokens of a day so far."""
        self._turn_to(day)
        return self._used_tokens

    def remaining_tokens(self, limits: Limits, day: date) -> int | None:
        """Return how many tokens are left for today; None where there is no limit."""
        if limits.tokens_per_day is None:
            return None
        return max(0, limits.tokens_per_day - self.used_tokens(day))

    def remaining_messages(self, limits: Limits, now: Moment) -> int | None:
        """Return how many messages may be sent now; None where there is no limit."""
        if limits.messages_per_minute is None:
            return None
        self._fill(limits.messages_per_minute, now)
        return int(self._level)

    def _turn_to(self, day: date) -> None:
        if day != self._day:
            self._day, self._used_tokens = day, 0

    def _check_tokens(self, limits: Limits, now: Moment) -> None:
        limit = limits.tokens_per_day
        if limit is not None and self.remaining_tokens(limits, now.day) == 0:
            raise spent(limit, self.used_tokens(now.day), now)

    def _check_at_once(self, limits: Limits, num_requests: int) -> None:
        limit = limits.requests_at_once
        if limit is not None and self.num_requests + num_requests > limit:
            raise QuotaExceeded(
                f"{self.num_requests} of your requests run or wait; {limit} may at the same time",
                "Wait until one of them has ended.",
                remaining=max(0, limit - self.num_requests),
                retry_after_s=BUSY_RETRY_S if num_requests <= limit else None,
            )

    def _take_messages(self, limits: Limits, now: Moment, num_requests: int) -> None:
        limit = limits.messages_per_minute
        if limit is None:
            self._level_of = None
            return
        self._fill(limit, now)
        if num_requests > self._level:
            wait_s = None
            if num_requests <= limit:
                wait_s = (num_requests - self._level) * MINUTE_S / limit
            raise QuotaExceeded(
                f"you may send {limit:,} messages a minute, and have sent them",
                "Wait a moment and send it again.",
                remaining=int(self._level),
                resets_at=None if wait_s is None else now.at + timedelta(seconds=wait_s),
                retry_after_s=wait_s,
            )
        self._level -= num_requests

    def _fill(self, limit: int, now: Moment) -> None:
        if self._level_of is None:
            self._level = float(limit)
        else:
            passed_s = max(0.0, now.clock_s - self._level_at_s)
            self._level = min(limit, self._level + passed_s * limit / MINUTE_S)
        self._level_of, self._level_at_s = limit, now.clock_s


def spent(limit: int, used: int, now: Moment) -> QuotaExceeded:
    """Return what is said of a day whose tokens are used up."""
    return QuotaExceeded(
        f"you have used {used:,} tokens today and may use {limit:,} a day",
        f"There are new ones from {now.next_day:%H:%M} UTC on. {ASK}",
        resets_at=now.next_day,
        retry_after_s=(now.next_day - now.at).total_seconds(),
    )
