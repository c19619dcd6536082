"""Limits kept to: every request asks here before anything is done for it.

Counts within this process, which is the only one; what was used before it began is read from
storage once for each person. A day is one in UTC, whatever the zone of the machine, so that it has
24 hours for everybody and does not move with the season.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from webui.accounts.limits import Limits, effective, read_limits
from webui.accounts.meter import Meter
from webui.accounts.standing import ASK, Moment, Standing
from webui.accounts.views import LimitView
from webui.errors import QuotaExceeded, StorageBusy, StorageFull, StorageUnusable
from webui.storage import groups, usage
from webui.storage.tables import utc_now

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date, datetime

    from sqlalchemy.orm import Session

    from webui.actor import Actor
    from webui.storage.database import Database
    from webui.storage.usage import Spent

logger = logging.getLogger(__name__)

REFUSALS = (StorageBusy, StorageFull, StorageUnusable)


class Quotas:
    """Use cases of limits.

    Args:
        database: Where usage and limits are kept.
        clock: Monotonic seconds.
        now: The aware time.
    """

    def __init__(
        self,
        database: Database,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database = database
        self._clock = clock
        self._time = now
        self._standings: dict[str, Standing] = {}
        self._unsaved: list[Spent] = []
        self._saving: asyncio.Task[None] | None = None

    def now(self) -> Moment:
        """Return the time by both clocks."""
        return Moment(self._time(), self._clock())

    def admission(self, actor: Actor, *, num_requests: int = 1) -> Admission:
        """Return what lets requests in that belong together; nothing is taken yet."""
        return Admission(self, actor, num_requests)

    async def admit(self, actor: Actor, num_requests: int) -> tuple[Standing, Limits]:
        """Let requests in; for `Admission`, which sees to it that they leave.

        Raises:
            QuotaExceeded: A limit does not allow them; nothing was taken.
        """
        standing, limits = await self._look_up(actor.user_id)
        # From here on nothing is awaited: what was checked still holds when it is taken.
        standing.take(limits, self.now(), num_requests)
        return standing, limits

    async def check_storage(self, actor: Actor, num_bytes: int) -> None:
        """Check that there is room for more text.

        Raises:
            QuotaExceeded: There is not.
        """
        _, limits = await self._look_up(actor.user_id)
        limit = limits.storage_bytes
        if limit is None:
            return
        stored = await self._database.read(usage.stored_bytes, actor.user_id)
        if stored + num_bytes > limit:
            raise QuotaExceeded(
                f"your conversations take {stored:,} bytes of the {limit:,} that they may take",
                f"Delete some that you need no more, and empty the trash. {ASK}",
                remaining=max(0, limit - stored),
            )

    async def list(self, actor: Actor) -> list[LimitView]:
        """Return the actor's limits and what is left of each; no limit is None."""
        standing, limits = await self._look_up(actor.user_id)
        stored = None
        if limits.storage_bytes is not None:
            stored = await self._database.read(usage.stored_bytes, actor.user_id)
        now = self.now()
        used_tokens = standing.used_tokens(now.day)
        left = {
            "tokens_per_day": standing.remaining_tokens(limits, now.day),
            "messages_per_minute": standing.remaining_messages(limits, now),
            "requests_at_once": _left(limits.requests_at_once, standing.num_requests),
            "context_tokens": limits.context_tokens,
            "storage_bytes": None if stored is None else _left(limits.storage_bytes, stored),
        }
        used = {
            "tokens_per_day": used_tokens,
            "requests_at_once": standing.num_requests,
            "storage_bytes": stored,
        }
        return [
            LimitView(
                name=name,
                limit=getattr(limits, name),
                used=used.get(name),
                remaining=left[name],
                resets_at=now.next_day if name == "tokens_per_day" else None,
            )
            for name in Limits.model_fields
        ]

    def note(self, spent: Spent) -> None:
        """Save what a request took that has no row of its own; does not wait."""
        self._unsaved.append(spent)
        if self._saving is None or self._saving.done():
            self._saving = asyncio.create_task(self._save(), name="save usage")

    async def flush(self) -> None:
        """Wait until what was noted is saved, or storage refuses it."""
        if self._saving is not None and not self._saving.done():
            await asyncio.wait({self._saving})
        if self._unsaved:
            await self._save()

    async def forget(self, user_id: str) -> None:
        """Forget somebody whose account is gone."""
        self._standings.pop(user_id, None)

    async def close(self) -> None:
        """Save what is not saved yet; idempotent."""
        await self.flush()
        if self._unsaved:
            logger.error("what %d requests took could not be saved", len(self._unsaved))

    async def _save(self) -> None:
        while self._unsaved:
            batch, self._unsaved = self._unsaved, []
            try:
                await self._database.run(_add_all, batch)
            except REFUSALS as error:  # it is tried again with the next, and at the end
                self._unsaved = batch + self._unsaved
                logger.warning("usage is not saved yet: %s", error.message)
                return

    async def _look_up(self, user_id: str) -> tuple[Standing, Limits]:
        day = self.now().day
        is_known = user_id in self._standings
        limits, used_tokens = await self._database.read(_find, user_id, None if is_known else day)
        # Whoever was first counts; nobody can have spent anything before.
        standing = self._standings.setdefault(user_id, Standing(day, used_tokens))
        return standing, limits


class Admission:
    """Leave for requests that belong together: taken when the first enters, for all of them.

    Each enters once and leaves once; one that never entered need not leave.
    """

    def __init__(self, quotas: Quotas, actor: Actor, num_requests: int) -> None:
        self._quotas = quotas
        self._actor = actor
        self._num_requests = num_requests
        self._num_inside = 0
        self._lock = asyncio.Lock()
        self._taken: tuple[Standing, Limits] | None = None
        self._refusal: QuotaExceeded | None = None

    async def enter(self) -> Meter:
        """Let one request in; returns what counts its tokens.

        Raises:
            QuotaExceeded: A limit does not allow it; nothing was done.
        """
        self._num_inside += 1
        try:
            async with self._lock:
                if self._refusal is not None:  # of one is one of all
                    raise self._refusal
                if self._taken is None:
                    self._taken = await self._quotas.admit(self._actor, self._num_requests)
        except QuotaExceeded as error:
            self._refusal = error
            self._go()
            raise
        except BaseException:
            self._go()
            raise
        standing, limits = self._taken
        return Meter(self._actor.user_id, standing, limits, self._quotas.now)

    def leave(self, spent: Spent | None = None) -> None:
        """Let one request go; the last one gives the places of all back.

        Args:
            spent: What is to be saved of it; None where that is done elsewhere.
        """
        if spent is not None:
            self._quotas.note(spent)
        self._go()

    def withdraw(self) -> None:
        """Leave as if the request had never come: nothing was done for it."""
        if self._taken is not None:
            standing, limits = self._taken
            standing.give_back(limits, self._num_requests)
        self._go()

    def _go(self) -> None:
        self._num_inside -= 1
        if self._num_inside == 0 and self._taken is not None:
            self._taken[0].num_requests -= self._num_requests
            self._taken = None


def _find(session: Session, user_id: str, day: date | None) -> tuple[Limits, int]:
    found = groups.find_limits(session, user_id)
    limits = effective(
        read_limits(found.own),
        map(read_limits, found.of_groups.values()),
        read_limits(found.default),
    )
    spent = [] if day is None else usage.list_since(session, user_id, day)
    return limits, sum(one.counted_tokens for one in spent)


def _add_all(session: Session, batch: list[Spent]) -> None:
    for spent in batch:
        usage.add(session, spent)


def _left(limit: int | None, used: int) -> int | None:
    return None if limit is None else max(0, limit - used)
