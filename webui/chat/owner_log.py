"""The latest events of one owner: a ring with consecutive numbers, bounded by count and bytes.

Knows events and who waits for the next one. The pieces of a reply's text are kept as one text and
the places where they end: as events of their own they would take twenty times the memory.
"""

from __future__ import annotations

import asyncio
from array import array
from collections import deque
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from webui.chat.events import (
    ConversationChanged,
    Done,
    Event,
    Failed,
    FiguresChanged,
    MeChanged,
    Reasoning,
    SharesChanged,
    Text,
    ToolCall,
)

MAX_BATCH = 1_000
MAX_RUN_EVENTS = 256
MAX_RUN_BYTES = 16 * 1024
EVENT_BYTES = 300  # what an event takes beside its text, roughly
PIECE_BYTES = 9  # and one within a run

Piece: TypeAlias = Text | Reasoning


class Entry(msgspec.Struct, frozen=True, gc=False):
    """An event with its place in the log of its owner.

    Attributes:
        n: Number of the event, of the last one when several were merged.
        event: What happened.
    """

    n: int
    event: Event


@dataclass(slots=True)
class _Single:
    """One event.

    Attributes:
        first_n: Number of the first event in whose place this one stands.
        n: Its number.
        joins: Whether it goes on with the text of what is kept before it.
    """

    first_n: int
    n: int
    event: Event
    joins: bool
    size_bytes: int

    def read(self, _position: int, _limit: int) -> tuple[Entry, int]:
        return Entry(self.n, self.event), 1


class _Run:
    """Pieces of one text, with numbers that follow each other.

    Attributes:
        first_n: Number of the first piece that is still kept.
        joins: Whether it goes on with the text of what is kept before it.
        event: The first piece.
    """

    __slots__ = ("_ends", "_seqs", "_start_n", "_text", "event", "first_n", "joins")

    def __init__(self, first: _Single, event: Piece) -> None:
        self.event: Piece = event
        self.first_n = self._start_n = first.n
        self.joins = first.joins
        self._text = bytearray()
        self._ends, self._seqs = array("I"), array("I")

    @property
    def n(self) -> int:
        """Return the number of the last piece."""
        return self._start_n + len(self._ends) - 1

    @property
    def has_room(self) -> bool:
        return len(self._ends) < MAX_RUN_EVENTS and len(self._text) < MAX_RUN_BYTES

    def add(self, event: Piece) -> int:
        """Add a piece; returns what it takes in bytes."""
        before = len(self._text)
        self._text += event.text.encode(errors="surrogatepass")
        self._ends.append(len(self._text))
        self._seqs.append(event.seq)
        return PIECE_BYTES + len(self._text) - before

    def drop_first(self) -> int:
        """Drop the first piece, though not the last; returns what it took."""
        index = self.first_n - self._start_n
        self.first_n += 1
        return PIECE_BYTES + self._ends[index] - self._start_of(index)

    def read(self, position: int, limit: int) -> tuple[Entry, int]:
        """Return what comes after a position as one event, and of how many it is made."""
        first = max(self.first_n, position + 1) - self._start_n
        end = min(len(self._ends), first + limit)
        raw = self._text[self._start_of(first) : self._ends[end - 1]]
        text = raw.decode(errors="surrogatepass")
        event = msgspec.structs.replace(self.event, seq=self._seqs[end - 1], text=text)
        return Entry(self._start_n + end - 1, event), end - first

    def _start_of(self, index: int) -> int:
        return self._ends[index - 1] if index else 0


class OwnerLog:
    """The ring.

    Args:
        max_events: Events kept.
        max_bytes: Their size, roughly.
        last_n: Number after which the first event comes.

    Attributes:
        num_changes: How often a conversation changed.
        size_bytes: What the events take, roughly.
    """

    def __init__(self, max_events: int, max_bytes: int, last_n: int = 0) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._kept: deque[_Single | _Run] = deque()
        self._num_events = 0
        self._last_n = last_n
        self._sealed_n = 0
        self._waiters: set[asyncio.Future[None]] = set()
        self.size_bytes = 0
        self.num_changes = 0

    @property
    def last_n(self) -> int:
        """Return the latest number."""
        return self._last_n

    def append(self, event: Event) -> int:
        """Add one event and return its number; wakes who waits."""
        self._last_n += 1
        if isinstance(event, ConversationChanged):
            self.num_changes += 1
        last = self._kept[-1] if self._kept else None
        if isinstance(event, Text | Reasoning):
            self._append_piece(event, last)
        elif (
            isinstance(event, FiguresChanged | SharesChanged | MeChanged)
            and isinstance(last, _Single)
            and type(last.event) is type(event)
        ):
            last.n, last.event = self._last_n, event  # who reads later needs the latest alone
        else:
            self._append_single(event)
        while self._num_events > self._max_events:
            self._drop_first()
        self.shrink(self._max_bytes)
        if self._waiters:
            self.wake()
        return self._last_n

    def shrink(self, max_bytes: int) -> None:
        """Drop the oldest events until the others take no more than this; the latest stays."""
        while self._num_events > 1 and self.size_bytes > max_bytes:
            self._drop_first()

    def seal(self) -> int:
        """Return the latest number; what comes after it is never merged with what is before."""
        self._sealed_n = self._last_n
        return self._last_n

    def reaches(self, position: int) -> bool:
        """Whether everything after `position` is still here."""
        first_n = self._kept[0].first_n if self._kept else self._last_n + 1
        return first_n - 1 <= position <= self._last_n

    def read(self, position: int) -> list[Entry]:
        """Return what comes after `position`, adjacent text merged."""
        fresh: list[_Single | _Run] = []
        for kept in reversed(self._kept):
            if kept.n <= position:
                break
            fresh.append(kept)
        batch: list[Entry] = []
        joins: list[bool] = []
        left = MAX_BATCH
        while fresh and left > 0:
            kept = fresh.pop()
            entry, num_events = kept.read(position, left)
            batch.append(entry)
            joins.append(kept.joins)
            left -= num_events
        return _merge(batch, joins)

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
        """Let everybody who waits look again."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    def _append_single(self, event: Event, *, joins: bool = False) -> None:
        size_bytes = EVENT_BYTES + _text_bytes(event)
        self._kept.append(_Single(self._last_n, self._last_n, event, joins, size_bytes))
        self._num_events += 1
        self.size_bytes += size_bytes

    def _append_piece(self, event: Piece, last: _Single | _Run | None) -> None:
        joins = (
            last is not None
            and self._sealed_n != self._last_n - 1
            and type(last.event) is type(event)
            and last.event.generation_id == event.generation_id
        )
        if joins and isinstance(last, _Single) and isinstance(last.event, Text | Reasoning):
            run = self._kept[-1] = _Run(last, last.event)
            self.size_bytes += EVENT_BYTES - last.size_bytes + run.add(last.event)
            last = run
        if joins and isinstance(last, _Run) and last.has_room:
            self.size_bytes += last.add(event)
            self._num_events += 1
        else:
            self._append_single(event, joins=joins)

    def _drop_first(self) -> None:
        first = self._kept[0]
        self._num_events -= 1
        if isinstance(first, _Single):
            self.size_bytes -= first.size_bytes
        else:
            self.size_bytes -= first.drop_first()
            if first.first_n <= first.n:
                return
            self.size_bytes -= EVENT_BYTES
        self._kept.popleft()


def _text_bytes(event: Event) -> int:
    match event:
        case Text() | Reasoning():
            return len(event.text)
        case ToolCall():
            return len(event.name) + len(event.arguments)
        case Done():
            return len(event.message.text) + len(event.message.reasoning)
        case Failed():
            return len(event.message_view.text) + len(event.message_view.reasoning)
        case _:
            return 0


def _merge(entries: list[Entry], joins: list[bool]) -> list[Entry]:
    """Merge runs of joining entries; each takes number and `seq` of its last one."""
    merged: list[Entry] = []
    start = 0
    for index in range(1, len(entries) + 1):
        if index < len(entries) and joins[index]:
            continue
        merged.append(_joined(entries[start:index]))
        start = index
    return merged


def _joined(run: list[Entry]) -> Entry:
    last = run[-1]
    if len(run) == 1 or not isinstance(last.event, Text | Reasoning):
        return last
    text = "".join(e.event.text for e in run if isinstance(e.event, Text | Reasoning))
    return Entry(last.n, msgspec.structs.replace(last.event, text=text))
