"""How long it takes until those who wait get a slot, from what those before them have still to do.

Learns how long tokens take and how many a reply has, from the replies that run and ended here.
Knows no queue and no cells: told who runs and who waits in which order. Pure.
"""

from __future__ import annotations

from heapq import heapify, heapreplace
from typing import TYPE_CHECKING, NamedTuple

from webui.engine.interface import Queued

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from webui.engine.sequence import Sequence

MIN_TOKENS = 8  # measured before anything is guessed: the first ones of a model are slow
KEPT_WEIGHT = 0.98  # of the tokens measured before, at each new one
NEW_REPLY_SHARE = 0.25  # weight of the latest reply in the means of replies
OVERDUE_SHARE = 0.5  # what a reply longer than the mean has still to write, of what it has written


class _Mark(NamedTuple):
    """How many tokens a reply had, and when."""

    num_reply: int
    at_s: float


class WaitingTimes:
    """What was learned so far."""

    def __init__(self) -> None:
        # Of each reply, beside the others that are written; both count the latest tokens most.
        self._measured_s = self._num_measured = 0.0
        self._num_seen = 0
        self._read_s = 0.0  # for each token of a prompt
        self._num_tokens: float | None = None  # of a reply
        self._marks: dict[str, _Mark] = {}

    def note(self, sequence: Sequence, now_s: float) -> None:
        """Learn from a running sequence that a step made longer."""
        num_reply = sequence.num_reply
        if not num_reply:
            return
        before = self._marks.get(sequence.request_id)
        self._marks[sequence.request_id] = _Mark(num_reply, now_s)
        num_new = num_reply - before.num_reply if before is not None else 0
        if before is None or num_new <= 0:
            return
        kept = KEPT_WEIGHT**num_new
        self._measured_s = kept * self._measured_s + now_s - before.at_s
        self._num_measured = kept * self._num_measured + num_new
        self._num_seen += num_new

    def leave(self, sequence: Sequence) -> None:
        """Note that a sequence has no slot any more; it may come again."""
        self._marks.pop(sequence.request_id, None)

    def end(self, sequence: Sequence) -> None:
        """Learn from a sequence that came to its end."""
        self._num_tokens = _mean(self._num_tokens, sequence.num_reply, NEW_REPLY_SHARE)
        num_read = sequence.num_prompt - sequence.num_cached
        read_s = sequence.timings().prefill_s / max(1, num_read)
        self._read_s = _mean(self._read_s or None, read_s, NEW_REPLY_SHARE)

    def next_s(self, running: Iterable[Sequence]) -> float | None:
        """Return when the first of those who run will have ended, in seconds from now.

        None is unknown: too few tokens are measured yet.
        """
        if self._num_seen < MIN_TOKENS:
            return None
        return round(min(map(self._left_s, running), default=0.0), 1)

    def outlook(
        self, running: Collection[Sequence], waiting: Iterable[Sequence]
    ) -> dict[str, Queued]:
        """Return place and time of each request that waits.

        Args:
            running: Those with a slot; who waits gets one of theirs.
            waiting: In the order in which they would come.
        """
        ends_s = [self._left_s(sequence) for sequence in running] or [0.0]
        heapify(ends_s)
        told: dict[str, Queued] = {}
        for place, sequence in enumerate(waiting, 1):
            start_s = ends_s[0]
            eta_s = None if self._num_seen < MIN_TOKENS else round(start_s, 1)
            told[sequence.request_id] = Queued(place, eta_s)
            heapreplace(ends_s, start_s + self._left_s(sequence))
        return told

    def _left_s(self, sequence: Sequence) -> float:
        """Return the seconds that a sequence still needs of a slot."""
        token_s = self._measured_s / max(1.0, self._num_measured)
        return sequence.num_unread * self._read_s + self._num_left(sequence) * token_s

    def _num_left(self, sequence: Sequence) -> float:
        """Return how many tokens will still be written: as many as usual, never above its limit."""
        if self._num_tokens is None:
            return sequence.max_left
        num = max(self._num_tokens - sequence.num_reply, OVERDUE_SHARE * sequence.num_reply)
        return min(num, sequence.max_left)


def _mean(mean: float | None, new: float, share: float) -> float:
    return new if mean is None else mean + share * (new - mean)
