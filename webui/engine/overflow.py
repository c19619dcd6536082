"""Which turns of a conversation are left out of a prompt that is longer than the context.

Pure: knows roles and counts of tokens, no text, no template and no earlier answer. The same
conversation is always cut at the same place, and the place moves only every quarter of the room, so
that a prompt cut today is mostly the beginning of the one cut at the next turn.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

CUT_PARTS = 4  # the cut moves in steps of a quarter of the room
REPLY_SHARE = 4  # at most a quarter of the context is kept free for the reply


class ContextOverflow(StrEnum):
    """What happens to a conversation that is longer than the context."""

    STOP = "stop"
    DROP_OLDEST = "drop_oldest"
    CUT_MIDDLE = "cut_middle"
    SHIFT = "shift"  # as `DROP_OLDEST`, and goes on in `context_shift`


@dataclass(frozen=True, slots=True)
class CountedMessage:
    """A message's role and its tokens, those that the template writes around it included."""

    role: str
    num_tokens: int


@dataclass(frozen=True, slots=True)
class LeftOut:
    """The messages `start` to `stop` (exclusive) that are not sent, and their tokens."""

    start: int
    stop: int
    num_tokens: int


def prompt_room(context_length: int, max_tokens: int) -> int:
    """Return how many tokens a cut prompt may have, so that a reply finds room behind it."""
    return context_length - min(max_tokens, context_length // REPLY_SHARE)


def choose_left_out(
    messages: Sequence[CountedMessage], room: int, policy: ContextOverflow
) -> LeftOut | None:
    """Choose whole turns to leave out so that the rest has at most `room` tokens.

    System messages at the beginning and everything from the last user message on are always kept.
    `CUT_MIDDLE` keeps the first turn too, unless it does not fit beside what must be kept.

    Returns:
        What is left out, an empty range if all fits; None if nothing that may be left out makes
        the rest fit, or the policy is `STOP`.
    """
    excess = sum(message.num_tokens for message in messages) - room
    starts = _turn_starts(messages)
    if excess <= 0:
        return LeftOut(starts[0], starts[0], 0)
    if policy is ContextOverflow.STOP:
        return None
    if policy is ContextOverflow.CUT_MIDDLE:
        left_out = _cut(messages, starts[1:], excess, room)
        if left_out is not None:
            return left_out
    return _cut(messages, starts, excess, room)


def _turn_starts(messages: Sequence[CountedMessage]) -> list[int]:
    """Return where turns begin: behind the system prompt, then at each later user message."""
    head = 0
    while head < len(messages) and messages[head].role == "system":
        head += 1
    users = [at for at in range(head + 1, len(messages)) if messages[at].role == "user"]
    return [head, *users]


def _cut(
    messages: Sequence[CountedMessage], starts: Sequence[int], excess: int, room: int
) -> LeftOut | None:
    """Leave out turns from the first of `starts` on; the last of `starts` is kept."""
    if len(starts) < 2:  # the one turn is the last one
        return None
    sums = [0, *accumulate(message.num_tokens for message in messages)]
    first, last = starts[0], starts[-1]
    if sums[last] - sums[first] < excess:
        return None
    unit = max(1, room // CUT_PARTS)
    wanted = -(-excess // unit) * unit
    stop = next((at for at in starts[1:] if sums[at] - sums[first] >= wanted), last)
    return LeftOut(first, stop, sums[stop] - sums[first])
