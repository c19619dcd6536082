"""What a model is doing for whom, at one moment: no text is in it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from webui.engine.interface import Prefill, Queued, Text

if TYPE_CHECKING:
    from webui.engine.interface import Delta


class Doing(StrEnum):
    """How far a reply is."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """One reply that is not at its end.

    Attributes:
        owner: Id of the user.
        is_api: Asked for by a program, and kept by nobody.
        doing: How far it is.
        num_tokens: Tokens written so far.
        since_s: Seconds since it was asked for.
    """

    owner: str
    is_api: bool
    doing: Doing
    num_tokens: int
    since_s: float


class Completion:
    """A reply that nobody keeps, while it is being written.

    Args:
        owner: Id of the user.
        began_at: Monotonic seconds.
    """

    def __init__(self, owner: str, began_at: float) -> None:
        self.owner = owner
        self.doing = Doing.WAITING
        self.num_tokens = 0
        self._began_at = began_at

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
        )
