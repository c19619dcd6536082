"""What can be computed together: sequences on which the adapters work alike.

A step has one set of scales. Sequences of other scales form lanes, and lanes take turns: the lane
of the owner goes next who had no part in a step for longest, of this owner's sequences the one
that had none. So nobody gets more by asking for many scales, and whoever waits for too many turns
goes first. Background work that shares its lane with nobody gets few turns while others want
any. To change the scales costs a part of a step, so a lane keeps its turn for several short steps.

Pure: told how long steps took; knows no clock and no model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from webui.engine.fairness import DecodeShares
from webui.engine.prompt_reading import PromptReading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from collections.abc import Sequence as Several

    from webui.engine.adapters import Scales
    from webui.engine.following import Following
    from webui.engine.sequence import Sequence

TURN_S = 0.05  # with two lanes a reply still goes on ten times a second
MAX_TURN_STEPS = 8
BACKGROUND_TURNS = 9  # one of so many, as much as its stretch of a common step
MAX_MISSED_ROUNDS = 8  # turns of all lanes that a sequence may be without one
MAX_KEPT_LANES = 8  # in which nobody runs, and of which something was measured


class Lane:
    """One set of scales.

    Args:
        turn: What sorts those who read; see `PromptReading`.
        following: Who lets another read.

    Attributes:
        shares: Who takes part in its steps of decoding.
        reading: Who reads in its steps.
    """

    def __init__(
        self, turn: Callable[[Sequence], tuple[bool, int, int]], following: Following
    ) -> None:
        self.shares = DecodeShares()
        self.reading = PromptReading(turn, following)


class Lanes:
    """The lanes of a model and whose turn it is.

    Args:
        turn: What sorts those who read; see `PromptReading`.
        following: Who lets another read, of all lanes.
    """

    def __init__(
        self, turn: Callable[[Sequence], tuple[bool, int, int]], following: Following
    ) -> None:
        self._turn = turn
        self._following = following
        self._lanes: dict[Scales, Lane] = {}  # used longest ago first
        self._present: Scales = ()
        self._turn_s = 0.0  # of the present turn
        self._num_steps = 0
        self._num_turns = 0
        self._owner_turns: dict[str, int] = {}  # the latest one of each
        self._turns: dict[str, int] = {}  # by request

    def order(self, running: Several[Sequence]) -> list[list[Sequence]]:
        """Return the sequences of each lane, that of the next step first."""
        lanes: dict[Scales, list[Sequence]] = {}
        for sequence in running:
            lanes.setdefault(sequence.scales, []).append(sequence)
        if len(lanes) <= 1:
            self._owner_turns, self._turns = {}, {}
            return list(lanes.values())
        ranked = dict.fromkeys(sequence.scales for sequence in self._ranked(running, len(lanes)))
        has_time = self._turn_s < TURN_S and self._num_steps < MAX_TURN_STEPS
        if has_time and self._num_steps and self._present in lanes:
            ranked = {self._present: None} | ranked
        return [lanes[scales] for scales in ranked]

    def begin(self, sequences: Several[Sequence], running: Iterable[Sequence]) -> None:
        """Note that a lane makes the next step.

        Args:
            sequences: All of the lane, at least one.
            running: Those of all lanes.
        """
        scales, here = sequences[0].scales, list(running)
        if len(sequences) == len(here):  # there is but one
            self._present, self._turn_s, self._num_steps = scales, 0.0, 0
            return
        if scales != self._present or self._turn_s >= TURN_S or self._num_steps >= MAX_TURN_STEPS:
            self._present = scales
            self._turn_s, self._num_steps = 0.0, 0
            self._num_turns += 1
        self._num_steps += 1
        mine = {sequence.request_id for sequence in sequences}
        owners = {sequence.owner for sequence in sequences}
        now = self._num_turns
        self._turns = {
            s.request_id: now if s.request_id in mine else self._turns.get(s.request_id, 0)
            for s in here
        }
        self._owner_turns = {
            s.owner: now if s.owner in owners else self._owner_turns.get(s.owner, 0) for s in here
        }

    def note(self, step_s: float) -> None:
        """Learn how long the latest step took."""
        self._turn_s += step_s

    @property
    def present(self) -> Lane:
        """The lane of the latest step."""
        return self.lane(self._present)

    def lane(self, scales: Scales) -> Lane:
        """Return what is known of a lane."""
        lane = self._lanes.pop(scales, None) or Lane(self._turn, self._following)
        self._lanes[scales] = lane
        return lane

    def tidy(self, running: Iterable[Sequence]) -> None:
        """Forget lanes in which nobody runs, used longest ago first, beyond a few."""
        used = {sequence.scales for sequence in running}
        idle = [scales for scales in self._lanes if scales not in used]
        for scales in idle[: max(0, len(idle) - MAX_KEPT_LANES)]:
            del self._lanes[scales]

    def _ranked(self, running: Several[Sequence], num_lanes: int) -> list[Sequence]:
        """Return sequences in the order in which their lanes should go next."""
        oldest = self._num_turns - MAX_MISSED_ROUNDS * num_lanes

        def key(sequence: Sequence) -> tuple[bool, int, int, int]:
            turn = self._turns.get(sequence.request_id, self._num_turns)
            owner_turn = self._owner_turns.get(sequence.owner, -1)
            return turn >= oldest, owner_turn, turn, sequence.arrival

        foreground = sorted((s for s in running if not s.is_background), key=key)
        background = sorted((s for s in running if s.is_background), key=key)
        if self._num_turns % BACKGROUND_TURNS == 0:
            return background + foreground
        return foreground + background
