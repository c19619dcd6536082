"""What happens to a person's conversations, numbered and kept for a while.

Knows owners, events and subscribers; knows neither HTTP nor storage. Everything runs on one
event loop and nothing here blocks: `append` costs microseconds and is called once a token.

Numbers and snapshots: whoever takes a `cursor` builds his snapshot in the same breath, without
awaiting. Events up to the cursor are in the snapshot, later ones are not, and a merged event
never reaches across a cursor that was handed out. So a client that applies exactly the events
with a number above its cursor loses and doubles nothing.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from typing import TYPE_CHECKING

import msgspec

from webui.chat.views import (
    ConversationView,
    FiguresView,
    JobView,
    LeftOutView,
    MessageView,
    ModelStatus,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

MAX_EVENTS = 10_000
MAX_BYTES = 8 * 1024 * 1024
MAX_BATCH = 1_000
PACE_S = 0.02
KEEP_ALIVE_S = 15.0
EVENT_BYTES = 240  # what an event takes beside its text, roughly


class OfGeneration(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """An event of one running reply; `seq` counts within the reply."""

    generation_id: str
    conversation_id: str
    message_id: str
    seq: int


class Queued(OfGeneration, frozen=True, kw_only=True, tag="queued"):
    """The reply waits; `place` 1 is next."""

    place: int
    eta_s: float | None


class Loading(OfGeneration, frozen=True, kw_only=True, tag="loading"):
    """The reply waits for a model that is being loaded."""

    fraction: float


class Prefill(OfGeneration, frozen=True, kw_only=True, tag="prefill"):
    """The prompt is being read, in tokens."""

    done: int
    total: int
    cached: int


class Reasoning(OfGeneration, frozen=True, kw_only=True, tag="reasoning"):
    """More of what the model thinks before it answers."""

    text: str


class Text(OfGeneration, frozen=True, kw_only=True, tag="text"):
    """More of the answer."""

    text: str


class ToolCall(OfGeneration, frozen=True, kw_only=True, tag="tool_call"):
    """The model calls a function; `arguments` is the JSON text as the model wrote it."""

    call_id: str
    name: str
    arguments: str


class Notice(OfGeneration, frozen=True, kw_only=True, tag="notice"):
    """Something to know while the reply goes on."""

    code: str
    message: str


class LeftOut(OfGeneration, frozen=True, kw_only=True, tag="left_out"):
    """The model does not see the whole conversation."""

    left_out: LeftOutView


class Done(OfGeneration, frozen=True, kw_only=True, tag="done"):
    """The reply ended and is saved."""

    message: MessageView


class Failed(OfGeneration, frozen=True, kw_only=True, tag="error"):
    """The reply ended early and is saved with what there is of it."""

    code: str
    message: str
    hint: str
    message_view: MessageView


class ConversationChanged(msgspec.Struct, frozen=True, tag_field="type", tag="conversations"):
    """A conversation is new or changed, or is gone."""

    conversation: ConversationView | None = None
    deleted_id: str | None = None


class ModelsChanged(msgspec.Struct, frozen=True, tag_field="type", tag="models"):
    """The loaded model changed; `changed` says that the list of files did too."""

    status: ModelStatus
    changed: bool = False


class FiguresChanged(msgspec.Struct, frozen=True, tag_field="type", tag="figures"):
    """The engine works; at most once a second, and never while it rests."""

    figures: FiguresView


class JobChanged(msgspec.Struct, frozen=True, tag_field="type", tag="jobs"):
    """Long work moved on."""

    job: JobView


class SharesChanged(msgspec.Struct, frozen=True, tag_field="type", tag="shares"):
    """What one shares, or is shown by others, changed."""


class Hello(msgspec.Struct, frozen=True, tag_field="type", tag="hello"):
    """The first event of every subscription: where it starts."""

    cursor: str


class Reset(msgspec.Struct, frozen=True, tag_field="type", tag="reset"):
    """Events were missed: the client fetches everything anew."""


GenerationEvent = (
    Queued | Loading | Prefill | Reasoning | Text | ToolCall | Notice | LeftOut | Done | Failed
)
Event = (
    GenerationEvent
    | ConversationChanged
    | ModelsChanged
    | FiguresChanged
    | JobChanged
    | SharesChanged
    | Hello
    | Reset
)


class Entry(msgspec.Struct, frozen=True, gc=False):
    """An event with its place in the log of its owner.

    Attributes:
        n: Number of the event, of the last one when several were merged.
        event: What happened.
        joins: Whether it may be merged with the entry before it.
        size_bytes: What it counts against the limit of the log.
    """

    n: int
    event: Event
    joins: bool = False
    size_bytes: int = EVENT_BYTES


class EventLog:
    """The latest events of every owner, by number; slow readers are told to start anew.

    Args:
        max_events: Events kept for each owner.
        max_bytes: Their size, roughly.
        pace_s: Shortest time between two batches to one subscriber.
    """

    def __init__(
        self,
        *,
        max_events: int = MAX_EVENTS,
        max_bytes: int = MAX_BYTES,
        pace_s: float = PACE_S,
    ) -> None:
        self.boot = secrets.token_urlsafe(9)
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._pace_s = pace_s
        self._logs: dict[str, _OwnerLog] = {}
        self._closed = False

    def append(self, owner: str, event: Event) -> int:
        """Add one event and return its number; wakes the owner's subscribers."""
        return self._log(owner).append(event)

    def broadcast(self, event: Event) -> None:
        """Add one event to the log of everybody who has one."""
        for log in self._logs.values():
            log.append(event)

    def num_changes(self, owner: str) -> int:
        """Return how often a conversation changed; a read during which it grew may be stale."""
        return self._log(owner).num_changes

    def cursor(self, owner: str) -> str:
        """Return the place of the latest event; the caller's snapshot must be of this instant."""
        return f"{self.boot}:{self._log(owner).seal()}"

    async def subscribe(
        self, owner: str, after: str | None = None, *, keep_alive_s: float = KEEP_ALIVE_S
    ) -> AsyncGenerator[list[Entry], None]:
        """Yield `Hello`, then batches of events as they come, until the log is closed.

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
        while not self._closed:
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

    def _log(self, owner: str) -> _OwnerLog:
        log = self._logs.get(owner)
        if log is None:
            log = self._logs[owner] = _OwnerLog(self._max_events, self._max_bytes)
        return log

    def _place(self, after: str | None) -> int | None:
        boot, _, number = (after or "").rpartition(":")
        if boot != self.boot or not (number.isascii() and number.isdigit()) or len(number) > 18:
            return None
        return int(number)


class _OwnerLog:
    """A ring of entries with consecutive numbers, bounded by count and bytes."""

    def __init__(self, max_events: int, max_bytes: int) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._entries: deque[Entry] = deque()
        self._size_bytes = 0
        self._last_n = 0
        self._sealed_n = 0
        self._waiters: set[asyncio.Future[None]] = set()
        self.num_changes = 0

    def append(self, event: Event) -> int:
        self._last_n += 1
        size_bytes, joins = EVENT_BYTES, False
        if isinstance(event, Text | Reasoning):
            size_bytes += len(event.text)
            joins = self._sealed_n != self._last_n - 1 and self._continues(event)
        elif isinstance(event, ToolCall):
            size_bytes += len(event.name) + len(event.arguments)
        elif isinstance(event, Done | Failed):
            view = event.message if isinstance(event, Done) else event.message_view
            size_bytes += len(view.text) + len(view.reasoning)
        elif isinstance(event, ConversationChanged):
            self.num_changes += 1
        self._entries.append(Entry(self._last_n, event, joins, size_bytes))
        self._size_bytes += size_bytes
        while len(self._entries) > 1 and (
            len(self._entries) > self._max_events or self._size_bytes > self._max_bytes
        ):
            self._size_bytes -= self._entries.popleft().size_bytes
        if self._waiters:
            self.wake()
        return self._last_n

    def seal(self) -> int:
        """Return the latest number; what comes after it is never merged with what is before."""
        self._sealed_n = self._last_n
        return self._last_n

    def reaches(self, position: int) -> bool:
        """Whether everything after `position` is still here."""
        return self._last_n - len(self._entries) <= position <= self._last_n

    def read(self, position: int) -> list[Entry]:
        """Return what comes after `position`, adjacent text merged."""
        fresh: list[Entry] = []
        for entry in reversed(self._entries):
            if entry.n <= position:
                break
            fresh.append(entry)
        fresh.reverse()
        return _merge(fresh[:MAX_BATCH])

    async def wait(self, timeout_s: float) -> bool:
        """Wait for the next event; False when none came in time."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            async with asyncio.timeout(timeout_s):
                await waiter
        except TimeoutError:
            return False
        finally:
            self._waiters.discard(waiter)
        return True

    def wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    def _continues(self, event: Text | Reasoning) -> bool:
        if not self._entries:
            return False
        before = self._entries[-1].event
        return type(before) is type(event) and _generation_id(before) == event.generation_id


def _generation_id(event: Event) -> str | None:
    return event.generation_id if isinstance(event, OfGeneration) else None


def _merge(entries: list[Entry]) -> list[Entry]:
    """Merge runs of joining entries; each takes number and `seq` of its last one."""
    merged: list[Entry] = []
    start = 0
    for index in range(1, len(entries) + 1):
        if index < len(entries) and entries[index].joins:
            continue
        merged.append(_joined(entries[start:index]))
        start = index
    return merged


def _joined(run: list[Entry]) -> Entry:
    last = run[-1]
    if len(run) == 1 or not isinstance(last.event, Text | Reasoning):
        return last
    text = "".join(e.event.text for e in run if isinstance(e.event, Text | Reasoning))
    event = type(last.event)(
        generation_id=last.event.generation_id,
        conversation_id=last.event.conversation_id,
        message_id=last.event.message_id,
        seq=last.event.seq,
        text=text,
    )
    return Entry(last.n, event)
