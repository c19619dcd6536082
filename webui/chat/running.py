"""What a model is doing for whom, at one moment: no text is in it."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from webui.engine.interface import Prefill, Queued, Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from webui.engine.interface import Delta


class Doing(StrEnum):
    """How far a request is."""

    WAITING = "waiting"  # for a model, or for its turn
    READING = "reading"
    WRITING = "writing"


def doing_after(doing: Doing, delta: Delta) -> Doing:
    """Return how far a reply is when its engine has said something more."""
    match delta:
        case Text():
            return Doing.WRITING
        case Prefill():
            return Doing.READING
        case Queued():  # also in the middle, where it gave way to somebody else
            return Doing.WAITING
        case _:
            return doing


class Task(StrEnum):
    """What a model is to do."""

    REPLY = "reply"
    EMBED = "embed"  # make vectors of texts
    RERANK = "rerank"  # put documents in order for a query


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """One request that is not at its end.

    Attributes:
        owner: Id of the user.
        is_api: Asked for by a program, and kept by nobody.
        doing: How far it is; texts without a reply are read from when the model has them.
        num_tokens: Tokens written so far.
        since_s: Seconds since it was asked for.
        task: What is to be done.
    """

    owner: str
    is_api: bool
    doing: Doing
    num_tokens: int
    since_s: float
    task: Task = Task.REPLY


class ProgramRequest:
    """What a program asked for and nobody keeps, while it is at work.

    Args:
        owner: Id of the user.
        began_at: Monotonic seconds.
        task: What is to be done.
    """

    def __init__(self, owner: str, began_at: float, task: Task = Task.REPLY) -> None:
        self.owner = owner
        self.doing = Doing.WAITING
        self.num_tokens = 0
        self._began_at = began_at
        self._task = task

    def take(self, delta: Delta) -> None:
        """Note how far the engine is."""
        self.doing = doing_after(self.doing, delta)
        if isinstance(delta, Text):
            self.num_tokens += delta.num_tokens

    def at(self, now: float) -> Running:
        """Return how it stands at a moment."""
        return Running(
            owner=self.owner,
            is_api=True,
            doing=self.doing,
            num_tokens=self.num_tokens,
            since_s=now - self._began_at,
            task=self._task,
        )


class ProgramRequests:
    """All of them that are at work.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._at_work: dict[str, ProgramRequest] = {}

    @contextmanager
    def opened(
        self, request_id: str, owner: str, task: Task = Task.REPLY
    ) -> Iterator[ProgramRequest]:
        """Keep a request for as long as it is at work."""
        request = self._at_work[request_id] = ProgramRequest(owner, self._clock(), task)
        try:
            yield request
        finally:
            del self._at_work[request_id]

    def running(self) -> list[Running]:
        """Return what is at work and what waits."""
        now = self._clock()
        return [request.at(now) for request in self._at_work.values()]
