"""What happened to people's conversations, numbered and kept for a while.

Knows owners and subscribers; knows neither HTTP nor storage. Everything runs on one event loop
and nothing here blocks: `append` costs microseconds and is called once a token.

Numbers and snapshots: whoever takes a `cursor` builds his snapshot in the same breath, without
awaiting. Events up to the cursor are in the snapshot, later ones are not, and a merged event
never reaches across a cursor that was handed out. So a client that applies exactly the events
with a number above its cursor loses and doubles nothing.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

from webui.chat.events import Hello, Reset
from webui.chat.owner_log import Entry, OwnerLog

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from webui.chat.events import Event

MAX_EVENTS = 10_000
MAX_BYTES = 8 * 1024 * 1024
MAX_BYTES_OF_ALL = 64 * 1024 * 1024
PACE_S = 0.02
KEEP_ALIVE_S = 15.0


class EventLog:
    """The latest events of every owner, by number; slow readers are told to start anew.

    Args:
        max_events: Events kept for each owner.
        max_bytes: Their size, roughly.
        max_bytes_of_all: The size of the events of all owners; the longest log gives way first.
        pace_s: Shortest time between two batches to one subscriber.
    """

    def __init__(
        self,
        *,
        max_events: int = MAX_EVENTS,
        max_bytes: int = MAX_BYTES,
        max_bytes_of_all: int = MAX_BYTES_OF_ALL,
        pace_s: float = PACE_S,
    ) -> None:
        self.boot = secrets.token_urlsafe(9)
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._max_bytes_of_all = max_bytes_of_all
        self._pace_s = pace_s
        self._logs: dict[str, OwnerLog] = {}
        self._first_n = 0  # above all numbers of logs that were forgotten
        self._size_bytes = 0
        self._closed = False

    @property
    def size_bytes(self) -> int:
        """Return what the events of all owners take, roughly."""
        return self._size_bytes

    def append(self, owner: str, event: Event) -> int:
        """Add one event and return its number; wakes the owner's subscribers."""
        return self._append(self._log(owner), event)

    def broadcast(self, event: Event) -> None:
        """Add one event to the log of everybody who has one."""
        for log in self._logs.values():
            self._append(log, event)

    def forget(self, owner: str) -> None:
        """Drop the log of somebody who is gone, and end who reads it; others are left alone.

        Numbers go on above it, so whoever comes back with an old place is told to start anew.
        """
        log = self._logs.pop(owner, None)
        if log is not None:
            self._size_bytes -= log.size_bytes
            self._first_n = max(self._first_n, log.last_n + 1)
            log.wake()

    def num_changes(self, owner: str) -> int:
        """Return how often a conversation changed; a read during which it grew may be stale."""
        return self._log(owner).num_changes

    def cursor(self, owner: str) -> str:
        """Return the place of the latest event; the caller's snapshot must be of this instant."""
        return f"{self.boot}:{self._log(owner).seal()}"

    async def subscribe(
        self, owner: str, after: str | None = None, *, keep_alive_s: float = KEEP_ALIVE_S
    ) -> AsyncGenerator[list[Entry], None]:
        """Yield `Hello`, then batches of events as they come, until the log is closed or forgotten.

        A reader holds no queue: it reads the log at its own speed, and when the log has dropped
        what it did not read yet, it gets `Reset` and goes on from the latest event.

        Args:
            owner: Whose events.
            after: Cursor or id of the last event seen; None starts with the next one.
            keep_alive_s: After so long without an event an empty batch is yielded.
        """
        log = self._log(owner)
        place = self._place(after)
        known = place is not None and log.reaches(place)
        position = place if place is not None and known else log.seal()
        opening = [Entry(position, Hello(f"{self.boot}:{position}"))]
        if after is not None and not known:
            opening.append(Entry(position, Reset()))
        yield opening
        while not self._closed and self._logs.get(owner) is log:
            if not log.reaches(position):
                position = log.seal()
                yield [Entry(position, Reset())]
                continue
            batch = log.read(position)
            if batch:
                position = batch[-1].n
                yield batch
                await asyncio.sleep(self._pace_s)
            elif not await log.wait(keep_alive_s) and not self._closed:
                yield []

    def close(self) -> None:
        """End all subscriptions; idempotent."""
        self._closed = True
        for log in self._logs.values():
            log.wake()

    def _append(self, log: OwnerLog, event: Event) -> int:
        before = log.size_bytes
        n = log.append(event)
        self._size_bytes += log.size_bytes - before
        if self._size_bytes > self._max_bytes_of_all:
            # By some more than needed, so that not every token looks through all logs.
            self._shrink(self._size_bytes - self._max_bytes_of_all * 15 // 16)
        return n

    def _shrink(self, num_bytes: int) -> None:
        longest = max(self._logs.values(), key=lambda log: log.size_bytes)
        before = longest.size_bytes
        longest.shrink(before - num_bytes)
        self._size_bytes += longest.size_bytes - before

    def _log(self, owner: str) -> OwnerLog:
        log = self._logs.get(owner)
        if log is None:
            log = self._logs[owner] = OwnerLog(self._max_events, self._max_bytes, self._first_n)
        return log

    def _place(self, after: str | None) -> int | None:
        boot, _, number = (after or "").rpartition(":")
        if boot != self.boot or not (number.isascii() and number.isdigit()) or len(number) > 18:
            return None
        return int(number)
