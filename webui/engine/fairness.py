"""Whose turn it is: what each owner was served, and who takes part in a step.

The policy, in one place:

*Slots and reading* go to the owner who runs least, then to the one who was served the fewest
tokens, read and written. The ledger counts as start-time fair queueing does: who comes back from
idleness starts level with the least served of those present, so that nobody saves up, and no
debt grows beyond `MAX_DEBT_TOKENS`, so that an owner who had the machine alone is not punished.

*Steps of decoding.* On most machines a step grows with its rows, so that one owner's eight
sequences would slow everybody's even with a slot for each. While several owners decode, every
step therefore holds one row of each owner, in turn among that owner's sequences, and beyond
those only as many rows as make steps longer by `STRETCH` on the average. How much a row costs is
measured, and a number is kept for a block of steps: where rows are almost free (a large GPU) all
sequences take part in every step, where a row costs its full share few do. An owner alone uses
all rows. Background work takes part with what is left of the stretch, and in full when nobody
else decodes.

Pure: told how long steps took; knows no clock, no slots and no cells.
Source: Goyal et al., "Start-time Fair Queueing", 1996.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Sequence as Several

    from webui.engine.sequence import Sequence

MAX_DEBT_TOKENS = 8192
MAX_REMEMBERED_OWNERS = 1024
STRETCH = 0.12  # others keep 0.89 of their rate, the machine at least 0.7 of its own
KEPT_WEIGHT = 0.99  # of the steps measured before, at each new one
MIN_VARIANCE = 0.01  # of the number of rows, below which nothing is known of a row's cost
MAX_SURPRISE = 3.0  # a step that took more than so many times what was expected counts as this
MAX_STEEPNESS = 3.0  # of the line, as a multiple of the mean cost of a row
BLOCK_STEPS = 16  # have the same number of rows: every change makes llama.cpp plan anew
LEAN_STEPS = 16 * BLOCK_STEPS  # every so many steps a block goes without more, to measure both
MAX_EXTRA = 1e6


class Ledger:
    """How many tokens each owner was served, as far as that matters for the next turn."""

    def __init__(self) -> None:
        self._served: dict[str, int] = {}
        self._floor = 0

    def of(self, owner: str) -> int:
        """Return the tokens an owner counts as served."""
        return max(self._served.get(owner, 0), self._floor)

    def charge(self, owner: str, num_tokens: int) -> None:
        """Note that an owner was served."""
        self._served[owner] = self.of(owner) + num_tokens

    def settle(self, present: Iterable[str]) -> None:
        """Level who comes next with the least served of those present."""
        here = set(present)
        served = [self.of(owner) for owner in here] or list(self._served.values())
        self._floor = max(min(served) if here else max(served, default=0), self._floor)
        top = self._floor + MAX_DEBT_TOKENS
        is_crowded = len(self._served) > MAX_REMEMBERED_OWNERS
        self._served = {
            owner: min(num, top)
            for owner, num in self._served.items()
            if num > self._floor and (owner in here or not is_crowded)
        }


class DecodeShares:
    """Chooses who takes part in each step of decoding."""

    def __init__(self) -> None:
        self._costs = _RowCosts()
        self._num_picks = 0
        self._num_shared = 0
        self._num_added = 0  # in each step of this block
        self._unused = 0.0  # rows that could have been added, less those that were too many
        self._last_extra: dict[str, int] = {}  # by owner in the latest shared step

    def pick(self, decoding: Several[Sequence], *, is_crowded: bool = False) -> list[Sequence]:
        """Return those of the decoding sequences that get a row in the next step.

        Args:
            decoding: All that could.
            is_crowded: Whether somebody else waits for the step to end.
        """
        first, rest = self._split(decoding, is_crowded=is_crowded)
        if rest:
            num = self._num_extra(len(first), len(rest))
            first += rest[:num]
            for sequence in rest[:num]:
                self._last_extra[sequence.owner] = self._num_picks
        for sequence in first:
            self._num_picks += 1
            sequence.picked_at = self._num_picks
        return first

    def note(self, num_rows: int, step_s: float) -> None:
        """Learn from a step that only decoded."""
        self._costs.note(num_rows, step_s)

    def _split(
        self, decoding: Several[Sequence], *, is_crowded: bool
    ) -> tuple[list[Sequence], list[Sequence]]:
        """Return who surely takes part, and the others in the order of their turns."""
        foreground = [sequence for sequence in decoding if not sequence.is_background]
        background = [sequence for sequence in decoding if sequence.is_background]
        if not foreground:
            foreground, background = background, []
        owners: dict[str, list[Sequence]] = {}
        for sequence in foreground:
            owners.setdefault(sequence.owner, []).append(sequence)
        background.sort(key=_latest)
        if len(owners) <= 1 and not is_crowded:
            return foreground, background
        for mine in owners.values():
            mine.sort(key=_latest)
        last = {owner: self._last_extra.get(owner, -1) for owner in owners}
        self._last_extra = last
        turns = sorted(owners, key=last.__getitem__)
        longest = max(map(len, owners.values()), default=0)
        rest = [
            owners[owner][rank]
            for rank in range(1, longest)
            for owner in turns
            if rank < len(owners[owner])
        ]
        return [mine[0] for mine in owners.values()], rest + background

    def _num_extra(self, num_first: int, num_rest: int) -> int:
        """Return how many of the others fit into the stretch of this step."""
        room = self._costs.rows_in(STRETCH, num_first)
        if self._num_shared % BLOCK_STEPS == 0:
            is_lean = self._num_shared % LEAN_STEPS == 0
            self._num_added = 0 if is_lean else int(max(self._unused / BLOCK_STEPS + room, 0))
        self._num_shared += 1
        num = min(self._num_added, num_rest)
        self._unused = min(self._unused + room - num, BLOCK_STEPS)
        return num


class _RowCosts:
    """The line through rows and seconds of the latest steps: a fixed part and one per row."""

    def __init__(self) -> None:
        self._weight = 0.0
        self._rows = self._seconds = 0.0  # weighted sums
        self._rows_rows = self._rows_seconds = 0.0

    def note(self, num_rows: int, step_s: float) -> None:
        """Take in a step."""
        if self._weight > 1 / (1 - KEPT_WEIGHT) / 10:
            fixed_s, row_s = self._line()
            step_s = min(step_s, MAX_SURPRISE * (fixed_s + row_s * num_rows))
        self._weight = self._weight * KEPT_WEIGHT + 1
        self._rows = self._rows * KEPT_WEIGHT + num_rows
        self._seconds = self._seconds * KEPT_WEIGHT + step_s
        self._rows_rows = self._rows_rows * KEPT_WEIGHT + num_rows * num_rows
        self._rows_seconds = self._rows_seconds * KEPT_WEIGHT + num_rows * step_s

    def rows_in(self, share: float, num_rows: int) -> float:
        """Return how many rows cost this share of a step of `num_rows`."""
        if not self._seconds:
            return share * num_rows
        fixed_s, row_s = self._line()
        return min(share * (fixed_s + row_s * num_rows) / max(row_s, 1e-12), MAX_EXTRA)

    def _line(self) -> tuple[float, float]:
        """Return the seconds of a step by itself and of each row more, which is not negative.

        The first may be: where rows are computed in fours, a fifth costs more than its share.
        """
        rows, seconds = self._rows / self._weight, self._seconds / self._weight
        variance = self._rows_rows / self._weight - rows * rows
        mean = seconds / rows
        if variance < MIN_VARIANCE:
            return 0.0, mean
        row_s = (self._rows_seconds / self._weight - rows * seconds) / variance
        row_s = min(max(row_s, 0.0), MAX_STEEPNESS * mean)
        return seconds - row_s * rows, row_s


def _latest(sequence: Sequence) -> int:
    return sequence.picked_at
