"""Who lets another read what both prompts begin with, and goes on from there.

Where prompts of one owner have a long beginning in common, the one that is furthest in it leads:
it reads on, and the others wait for a copy of what it has read up to where they part (`handing`).
A memory that cannot be cut is copied as it stands, so that there a chunk ends where they part.
Nobody comes later for that than by reading alone: who leads is at least as urgent, has less left
to read, and takes the turn of whoever of them is first. Leading goes by an order of all, so that
there is always one who waits for nobody; when a leader goes, the next one leads.

Pure: knows sequences, no cells and no clock. Compares tokens, never hashes, and only those of one
owner.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from webui.engine.states import MIN_GAIN_TOKENS, num_common

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from collections.abc import Sequence as Several

    from webui.engine.sequence import Sequence

MIN_LED_TOKENS = 128  # fewer are read beside the leader's as soon as after them


class Following:
    """Remembers how far prompts agree.

    Attributes:
        can_cut: Whether a copy can be cut to what serves; `Handing` finds out.
        alone: The requests that got no copy and read for themselves; `Handing` sets it.
        postponed: Those that wait for their copy until the next step; `Handing` sets it.
    """

    def __init__(self) -> None:
        self._borders: dict[tuple[int, int], int] = {}  # by the arrivals of both
        self.can_cut = True
        self.alone: set[str] = set()
        self.postponed: set[str] = set()

    def border(self, one: Sequence, other: Sequence) -> int:
        """Return how many tokens of its beginning one may have from another of its owner."""
        is_same = one.arrival == other.arrival
        if is_same or one.owner != other.owner or one.scales != other.scales:
            return 0
        if not (_has_prompt(one) and _has_prompt(other)):
            return 0
        pair = min(one.arrival, other.arrival), max(one.arrival, other.arrival)
        if pair not in self._borders:
            self._borders[pair] = _border(one, other)
        return self._borders[pair]

    def furthest_first(self, reading: Iterable[Sequence]) -> list[Sequence]:
        """Return them in an order in which nobody comes before one who leads it."""
        return sorted(reading, key=_rank, reverse=True)

    def is_led(self, sequence: Sequence, reading: Iterable[Sequence]) -> bool:
        """Return whether one of those who read is ahead in what a sequence has to read as well."""
        return any(self._leads(other, sequence) for other in reading)

    def reader(self, sequence: Sequence, reading: Iterable[Sequence]) -> Sequence:
        """Return who reads for a sequence: who leads it furthest, else itself."""
        leaders = [other for other in reading if self._leads(other, sequence)]
        return max(leaders, key=lambda it: (self.border(it, sequence), _rank(it)), default=sequence)

    def in_turn(
        self, reading: Several[Sequence], turn: Callable[[Sequence], tuple[bool, int, int]]
    ) -> list[tuple[Sequence, int]]:
        """Return those who read for themselves, in order.

        Args:
            reading: All who could read in the next step.
            turn: What sorts them; smaller comes first.

        Returns:
            Each with where it must stop for others to have a copy; 0 is nowhere.
        """
        turns = {sequence.request_id: turn(sequence) for sequence in reading}
        stops = dict.fromkeys(turns, 0)
        waiting = set(self.postponed)
        for sequence in sorted(reading, key=_rank):
            name, reader = sequence.request_id, self.reader(sequence, reading)
            if reader is sequence:
                continue
            waiting.add(name)
            leader, border = reader.request_id, self.border(reader, sequence)
            turns[leader] = min(turns[leader], turns[name])  # whoever it follows comes later here
            if not self.can_cut:
                stops[leader] = min(stops[leader] or border, border)
        heads = [sequence for sequence in reading if sequence.request_id not in waiting]
        heads.sort(key=lambda sequence: turns[sequence.request_id])
        return [(sequence, stops[sequence.request_id]) for sequence in heads]

    def tidy(self, running: Iterable[Sequence]) -> None:
        """Forget those who run no more."""
        here = {sequence.arrival for sequence in running}
        self._borders = {
            pair: border for pair, border in self._borders.items() if here.issuperset(pair)
        }

    def _leads(self, leader: Sequence, sequence: Sequence) -> bool:
        """Return whether one reads for another; a chunk of one token is none, see `_border`."""
        if leader.owner != sequence.owner or _rank(leader) <= _rank(sequence):
            return False
        may_lead = not (leader.is_held or leader.num_reply or sequence.num_reply)
        is_urgent = leader.request.priority <= sequence.request.priority
        if not (may_lead and is_urgent) or sequence.request_id in self.alone:
            return False
        border = self.border(leader, sequence)
        least = least_gain(sequence, border, MIN_LED_TOKENS)
        return leader.num_read + 1 < border and border - sequence.num_read >= least


def least_gain(sequence: Sequence, num_tokens: int, usual: int) -> int:
    """Return how many tokens one must be spared that takes so many from another.

    Fewer than usual are enough where nothing but the last token is left to read then.
    """
    return MIN_GAIN_TOKENS if num_tokens == sequence.num_prompt - 1 else usual


def _has_prompt(sequence: Sequence) -> bool:
    """Return whether its prompt still stands at the beginning; a shift takes of it."""
    return sequence.num_reply == len(sequence.tokens) - sequence.num_prompt


def _rank(sequence: Sequence) -> tuple[int, int]:
    return sequence.num_read, -sequence.arrival


def _border(one: Sequence, other: Sequence) -> int:
    """Return how far two prompts agree, without the last token of either.

    Behind it neither has a single token left to read before its last one, as that would be
    computed in another order than beside others.
    """
    ends = one.num_prompt - 1, other.num_prompt - 1
    num = min(num_common(one.tokens, other.tokens), *ends)
    while any(end - num == 1 for end in ends):
        num -= 1
    return max(num, 0)
