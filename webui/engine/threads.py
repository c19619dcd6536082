"""How many compute threads the next step takes, found by trying neighbours of the present number.

Pure: knows the tokens and the seconds of the steps it is told; knows neither clocks nor llama.cpp.
A spinning barrier waits for the slowest thread, so that one busy neighbour makes all threads
slow: the best number changes while the engine runs. Steps of decoding and of reading prompts
(`reading_threads`) are searched apart, because memory bounds the one and arithmetic the other;
what one finds the others look into soon. A trial of decoding is compared with the steps just
before it and with steps of its own size only, by medians; what trials lose is bounded by a share
of all time. Where it is known that others keep the cores busy, more threads are hardly tried.
"""

from __future__ import annotations

from collections import deque
from enum import StrEnum
from math import inf
from statistics import median
from typing import TYPE_CHECKING

from webui.engine.reading_threads import CROWDED_PAUSE_S, SLACK_CORES, ReadingThreads

if TYPE_CHECKING:
    from webui.engine.reading_threads import ReadStep

LARGE_TOKENS = 16  # steps of so many are compared with others of about their size
WINDOW_STEPS = 5
OUTLIERS = 3  # so many bad steps end a trial early, and so many of another size end a comparison
PLAIN = 1.3  # two steps so much slower than before end a trial
HOPELESS = 4.0  # one step so much slower than before ends a trial at once
GAIN = 0.95  # what a trial must take of the time before, so that noise changes nothing
ALARM = 1.4  # a change of the steps' cost by this factor: somebody came or went
ALARM_PAUSE_S = 1.0
REFERENCE_SHARE = 0.05  # steps grow slowly with the cells that they read; that is no alarm
TRIAL_SHARE = 0.01  # of all time may be lost by trials
MIN_PAUSE_S = 2.0
MAX_PAUSE_S = 120.0  # after the dearest trial, so that a neighbour's leaving is found in time


class StepKind(StrEnum):
    """What a step does, as far as its threads are concerned."""

    DECODE = "decode"
    PROMPT = "prompt"
    MIXED = "mixed"  # reads while replies are being written


class ThreadChoice:
    """Choose the threads of each step.

    Args:
        start: Threads of the first steps, at least 1.
        max_threads: The most that may be taken; below `start` the number stays fixed.
    """

    def __init__(self, start: int, max_threads: int) -> None:
        self._decode = _Search(start, max_threads)
        self._readings = {
            kind: ReadingThreads(start, max_threads) for kind in (StepKind.PROMPT, StepKind.MIXED)
        }
        self._latest = StepKind.PROMPT  # of those that read

    def threads(self, kind: StepKind) -> int:
        """Return the threads of the next step."""
        return self._decode.present if kind is StepKind.DECODE else self._readings[kind].present

    def settled(self, kind: StepKind) -> int:
        """Return the threads of steps outside of trials."""
        return self._decode.settled if kind is StepKind.DECODE else self._readings[kind].settled

    def candidate(self, kind: StepKind) -> int | None:
        """Return the number that steps which read are tried with; None outside of trials."""
        return None if kind is StepKind.DECODE else self._readings[kind].candidate

    def trial_tokens(self, kind: StepKind) -> int | None:
        """Return how many tokens the next step of a trial is to read and write in all."""
        return None if kind is StepKind.DECODE else self._readings[kind].trial_tokens

    @property
    def present(self) -> tuple[int, int]:
        """The threads of steps that decode, and of those that read prompts."""
        return self._decode.present, self._readings[self._latest].settled

    def note_room(self, cores: float) -> None:
        """Learn how many cores other processes leave; what is not known is not told."""
        self._decode.note_room(cores)
        for reading in self._readings.values():
            reading.note_room(cores)

    def note_decode(self, num_tokens: int, step_s: float) -> None:
        """Learn from a step that read no prompt."""
        before = self._decode.settled
        self._decode.note(_size(num_tokens), step_s / num_tokens, step_s)
        if self._decode.settled != before:
            for reading in self._readings.values():
                reading.suggest(self._decode.settled)

    def decode_s(self, num_tokens: int) -> float | None:
        """Return how long a step that reads no prompt should take; None is not known."""
        return self._decode.usual(_size(num_tokens), num_tokens)

    def note_broken_decode(self, num_tokens: int, step_s: float) -> None:
        """Learn from a step that took so long that it was broken off."""
        self._decode.fall(step_s / num_tokens, step_s)

    def note_reading(self, kind: StepKind, step: ReadStep) -> None:
        """Learn from a step that read."""
        reading = self._readings[kind]
        self._latest = kind
        before = reading.settled
        reading.note(step)
        if reading.settled != before:
            for other in self._readings.values():
                if other is not reading:
                    other.suggest(reading.settled)


def _size(num_tokens: int) -> int:
    """Return what steps have in common that may be compared."""
    return num_tokens if num_tokens < LARGE_TOKENS else -num_tokens.bit_length()


class _Search:
    """Climb to the best number of threads for steps of one kind."""

    def __init__(self, start: int, max_threads: int) -> None:
        self.present = start
        self.settled = start
        self._max = max_threads
        self._is_fixed = max_threads <= 1 or max_threads < start
        self._stride = max(1, max_threads // 4)
        self._direction = 1
        self._num_failed = 0  # directions that brought nothing with this stride
        self._size = 0
        self._num_strange = 0
        self._before: deque[float] = deque(maxlen=WINDOW_STEPS)
        self._trial: list[float] = []
        self._lost_s = 0.0
        self._pause_s = 0.0
        self._since_s = 0.0  # spent in steps since the last trial
        self._reference = 0.0
        self._room = inf  # cores that others leave; endless where that is not known
        self._is_falling = False  # a step was broken off

    def note_room(self, cores: float) -> None:
        """Learn how many cores others leave; a change for this number is looked into at once."""
        before, self._room = self._room, cores + SLACK_CORES
        more = self.settled + 1
        if self._room < self.settled <= before:
            self._look(-1)
        elif before < more <= self._room and before != inf:
            self._look(1)

    def _look(self, direction: int) -> None:
        """Try a direction as soon as there is something to compare it with."""
        self._direction = direction
        self._stride = 1
        self._num_failed = 0
        self._pause_s = 0.0

    def note(self, size: int, cost: float, step_s: float) -> None:
        """Learn from a step.

        Args:
            size: Steps of one size may be compared.
            cost: Seconds for each token.
            step_s: Seconds in all.
        """
        if self._is_fixed or not self._is_known_size(size):
            return
        if self.present != self.settled:
            self._note_trial(cost, step_s)
            return
        self._since_s += step_s
        self._before.append(cost)
        if len(self._before) == WINDOW_STEPS:
            self._consider()

    def usual(self, size: int, num_tokens: int) -> float | None:
        """Return how long a step of this size takes outside of trials; None is not known."""
        is_known = size == self._size and len(self._before) == WINDOW_STEPS
        return median(self._before) * num_tokens if is_known else None

    def fall(self, cost: float, step_s: float) -> None:
        """Take fewer threads at once, as after an alarm: a step took so long that it was broken off.

        Args:
            cost: Seconds for each token, at least.
            step_s: Seconds in all.
        """
        if self._is_fixed:
            return
        if self.present > self.settled:
            self._lost_s += step_s
            self._lose()
        elif self.present == self.settled > 1:
            self._before.extend([cost] * WINDOW_STEPS)
            self._reference = cost
            self._look(-1)
            self._begin(-1)
            self._is_falling = True

    def _is_known_size(self, size: int) -> bool:
        if size == self._size:
            self._num_strange = 0
            return True
        self._num_strange += 1
        if self._num_strange >= OUTLIERS or not self._size:
            self._size = size
            self._num_strange = 0
            self.present = self.settled
            self._forget_costs()
            return True
        return False

    def _forget_costs(self) -> None:
        self._before.clear()
        self._trial.clear()
        self._reference = 0.0

    def _consider(self) -> None:
        """Begin a trial when one is due, or when the machine seems to have changed."""
        cost = median(self._before)
        reference = self._reference or cost
        self._reference = reference + REFERENCE_SHARE * (cost - reference)
        if self._since_s >= ALARM_PAUSE_S and not reference / ALARM < cost < reference * ALARM:
            self._reference = cost
            self._stride = 1
            self._num_failed = 0
            self._begin(-1 if cost > reference else 1)
        elif self._since_s >= self._due_s():
            self._begin(self._direction)

    def _due_s(self) -> float:
        is_up = self._direction > 0 or self.settled == 1
        is_crowded = is_up and self.settled < self._max and self.settled + 1 > self._room
        return max(self._pause_s, CROWDED_PAUSE_S) if is_crowded else self._pause_s

    def _begin(self, direction: int) -> None:
        """Try a neighbour, on the other side where there is none on this."""
        for way in (direction, -direction):
            candidate = min(self._max, max(1, self.settled + way * self._stride))
            if candidate != self.settled:
                self._direction = way
                self.present = candidate
                self._trial.clear()
                return

    def _note_trial(self, cost: float, step_s: float) -> None:
        before = median(self._before)
        self._trial.append(cost)
        self._lost_s += step_s * (1 - before / cost) if cost > 0 else 0.0
        num_bad = sum(trial > before / GAIN for trial in self._trial)
        is_plain = min(self._trial[-2:]) > before * PLAIN and len(self._trial) > 1
        if cost > before * HOPELESS or is_plain or num_bad >= OUTLIERS:
            self._lose()
        elif len(self._trial) == WINDOW_STEPS:
            if median(self._trial) < before * GAIN:
                self._win()
            else:
                self._lose()

    def _win(self) -> None:
        self.settled = self.present
        self._stride *= 2
        self._num_failed = 0
        self._pause_s = MIN_PAUSE_S if self._is_falling else 0.0
        self._is_falling = False
        self._since_s = 0.0
        self._before.clear()
        self._before.extend(self._trial)
        self._reference = median(self._trial)

    def _lose(self) -> None:
        self.present = self.settled
        self._is_falling = False
        self._direction = -self._direction
        self._num_failed += 1
        is_narrow = self._stride == 1
        if self._num_failed >= 2:  # both directions
            self._num_failed = 0
            self._stride = max(1, self._stride // 2)
        self._since_s = 0.0
        self._pause_s = 0.0
        if is_narrow:  # else this is a search that has not ended; what it loses is paid at its end
            self._pause_s = min(max(self._lost_s / TRIAL_SHARE, MIN_PAUSE_S), MAX_PAUSE_S)
            self._lost_s = 0.0
