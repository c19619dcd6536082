"""How many compute threads read prompts, found by pairs of steps.

A step that reads takes long, so that a few of them have to do: a step of another number of
threads and one of the present number, of the same size and one right behind the other, are a
pair. What both have alone they share: how deep in a prompt they are, what else the machine does.
The steps of a trial are short, because a number that is too large may take many times as long.

Pure: told how long steps took and when they ended; knows neither clocks nor llama.cpp.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf, sqrt
from statistics import median

REFERENCE_STEPS = 2  # of the present number, before a trial
TRIAL_SHARE = 0.25  # of the tokens of a step that the first pair of a trial reads; then twice that
LEAST_TOKENS = 16  # shorter steps say little of longer ones
ALIKE = 1.25  # sizes of the steps of a pair may differ by this factor
NEAR_TOKENS = 512  # and their places in a prompt by so much: attention takes longer further on
PAIR_S = 1.0  # between the end of a step and the begin of the other of its pair
MAX_BLOCKS = 4
MAX_VOID = 6  # steps that are no half of a pair end a trial without a result
PLAIN_GAIN = 0.85  # what a block must show to end a trial, and one pair of an urgent one
GAIN = 0.97  # what all blocks of a trial must show, so that noise changes nothing
PLAIN_LOSS = 1.25  # what one pair must show
LOSS = 1.02  # what a block must show
ALARM = 1.5  # a step so much slower than expected makes fewer threads worth a try at once
ALARM_PAUSE_S = 1.0
LOST_SHARE = 0.01  # of all time may be lost by trials
MIN_PAUSE_S = 2.0  # after a trial in vain, twice as long after each further one
MAX_PAUSE_S = 60.0
CROWDED_PAUSE_S = 120.0  # before more threads are tried than others leave cores
SLACK_CORES = 0.35  # others may take so much of a core that a thread is to have


@dataclass(frozen=True, slots=True)
class ReadStep:
    """A step that read.

    Attributes:
        num_tokens: Read and written in it.
        depth: Tokens before those that were read, on the average.
        step_s: Seconds.
        ended_s: When it ended.
        expected_s: What a step of this size should take with the settled number; None is not
            known.
        is_late: Whether it took longer than those who write may have to wait.
        is_broken: Whether it was broken off at its limit and must be made anew.
    """

    num_tokens: int
    depth: float
    step_s: float
    ended_s: float
    expected_s: float | None = None
    is_late: bool = False
    is_broken: bool = False

    @property
    def token_s(self) -> float:
        """Seconds of a token."""
        return self.step_s / self.num_tokens

    def is_pair_of(self, other: ReadStep) -> bool:
        """Return whether it may be compared with the step before it."""
        return (
            self.num_tokens / ALIKE <= other.num_tokens <= self.num_tokens * ALIKE
            and abs(self.depth - other.depth) <= max(NEAR_TOKENS, ALIKE * self.num_tokens)
            and self.ended_s - self.step_s - other.ended_s <= PAIR_S
        )


@dataclass(slots=True)
class _Trial:
    """Another number of threads beside the settled one, in blocks of two pairs.

    The second pair of a block comes in the other order, so that what grows from step to step
    counts for both alike.

    Attributes:
        threads: The number on trial.
        full_tokens: What a step read before it.
        is_urgent: Whether one clear pair is enough.
        ratios: Of each pair, how many times as long the number on trial took.
        lost_s: What the trial has cost so far.
        half: The step whose counterpart is to come.
        num_void: Steps that were no half of a pair.
    """

    threads: int
    full_tokens: int
    is_urgent: bool
    ratios: list[float] = field(default_factory=list)
    lost_s: float = 0.0
    half: ReadStep | None = None
    num_void: int = 0

    @property
    def is_on_trial(self) -> bool:
        """Whether the next step takes the number on trial."""
        return (len(self.ratios) % 2 == 0) == (self.half is None)

    @property
    def num_tokens(self) -> int:
        """Tokens of the next step, as many as its counterpart had."""
        if self.half is not None:
            return self.half.num_tokens
        share = TRIAL_SHARE if not self.ratios else 2 * TRIAL_SHARE
        return max(LEAST_TOKENS, int(self.full_tokens * share))

    def note(self, step: ReadStep) -> bool | None:
        """Take in a step; return whether the number on trial is better, None if that is open."""
        half, self.half = self.half, None
        if half is None and step.num_tokens >= LEAST_TOKENS:
            self.half = step
            return None
        if half is not None and step.token_s > 0 and step.is_pair_of(half):
            is_reversed = len(self.ratios) % 2 == 1
            tried, settled = (step, half) if is_reversed else (half, step)
            self.ratios.append(tried.token_s / settled.token_s)
            self.lost_s += max(0.0, tried.step_s - settled.step_s)
            return self._verdict()
        self.num_void += 1
        return False if self.num_void >= MAX_VOID else None

    def _verdict(self) -> bool | None:
        if len(self.ratios) == 1:
            if self.ratios[0] > PLAIN_LOSS:
                return False
            return True if self.is_urgent and self.ratios[0] < PLAIN_GAIN else None
        if len(self.ratios) % 2 == 1:
            return None
        blocks = [sqrt(a * b) for a, b in zip(self.ratios[::2], self.ratios[1::2], strict=True)]
        middle = median(blocks)
        if middle < PLAIN_GAIN and max(self.ratios) < 1:
            return True
        if middle > LOSS:
            return False
        return middle < GAIN if len(blocks) >= MAX_BLOCKS else None


class ReadingThreads:
    """Climb to the best number of threads for steps that read prompts.

    Args:
        start: Threads of the first steps, at least 1.
        max_threads: The most that may be taken; below `start` the number stays fixed.

    Attributes:
        settled: The number that all steps outside of trials take.
    """

    def __init__(self, start: int, max_threads: int) -> None:
        self.settled = start
        self._max = max_threads
        self._is_fixed = max_threads <= 1 or max_threads < start
        self._trial: _Trial | None = None
        self._is_proven = False  # a trial has ended here
        self._direction = 1
        self._stride = 1
        self._num_failed = 0  # directions that brought nothing
        self._num_in_vain = 0  # rounds of trials without any gain
        self._num_steady = 0  # steps since the last trial
        self._lost_s = 0.0
        self._due_s = -inf
        self._ended_s = -inf  # of the last trial
        self._calm_since_s: float | None = None  # end of the last trial, or of the first step
        self._room = inf  # cores that others leave; endless where that is not known

    @property
    def present(self) -> int:
        """The threads of the next step."""
        trial = self._trial
        return trial.threads if trial is not None and trial.is_on_trial else self.settled

    @property
    def candidate(self) -> int | None:
        """The number on trial; None outside of trials."""
        return self._trial.threads if self._trial else None

    @property
    def trial_tokens(self) -> int | None:
        """What the next step is to read and write in all; None outside of trials."""
        return self._trial.num_tokens if self._trial else None

    def suggest(self, threads: int) -> None:
        """Take in what turned out to be best for steps of another kind."""
        if self._is_fixed or threads == self.settled:
            return
        if threads > self.settled and not self._is_proven and self._trial is None:
            self.settled = threads
            return
        self._direction = 1 if threads > self.settled else -1
        self._num_failed = 0
        self._due_s = -inf

    def note_room(self, cores: float) -> None:
        """Learn how many cores others leave; a change for this number is looked into at once."""
        before, self._room = self._room, cores + SLACK_CORES
        more = self.settled + 1
        if self._room < self.settled <= before:
            self._direction, self._due_s = -1, -inf
        elif before < more <= self._room and before != inf:
            self._direction, self._due_s = 1, -inf

    def note(self, step: ReadStep) -> None:
        """Learn from a step that took the threads it was told to take."""
        if self._is_fixed:
            return
        if self._calm_since_s is None:
            self._calm_since_s = step.ended_s
        if self._trial is not None:
            is_better = self._trial.note(step)
            if is_better is not None:
                self._end(self._trial, step.ended_s, is_better=is_better)
            return
        self._num_steady += 1
        is_slow = step.expected_s is not None and step.step_s > ALARM * step.expected_s
        is_rested = step.is_broken or step.ended_s - self._ended_s >= ALARM_PAUSE_S
        if (is_slow or step.is_late) and self.settled > 1 and is_rested:
            self._alarm(step, is_slow=is_slow)
        elif self._num_steady >= REFERENCE_STEPS and step.num_tokens >= LEAST_TOKENS:
            direction = self._possible()
            if step.ended_s >= self._due(direction):
                self._begin(direction, step.num_tokens, is_urgent=False)

    def _alarm(self, step: ReadStep, *, is_slow: bool) -> None:
        """Try fewer threads at once; take as many as others leave where that is known."""
        self._stride, self._direction = 1, -1
        if is_slow and self._room < self.settled:
            trial = _Trial(max(1, int(self._room)), step.num_tokens, is_urgent=True)
            self._end(trial, step.ended_s, is_better=True)
        else:
            self._begin(-1, step.num_tokens, is_urgent=is_slow)

    def _possible(self) -> int:
        """Return the direction to go in, the other one at the end of the numbers."""
        is_end = self.settled == (self._max if self._direction > 0 else 1)
        return -self._direction if is_end else self._direction

    def _due(self, direction: int) -> float:
        """Return when a trial may begin."""
        if direction < 0 or self.settled + 1 <= self._room:
            return self._due_s
        return max(self._due_s, (self._calm_since_s or 0.0) + CROWDED_PAUSE_S)

    def _begin(self, direction: int, num_tokens: int, *, is_urgent: bool) -> None:
        threads = min(self._max, max(1, self.settled + direction * self._stride))
        self._direction = direction
        self._trial = _Trial(threads, num_tokens, is_urgent)

    def _end(self, trial: _Trial, now_s: float, *, is_better: bool) -> None:
        self._trial = None
        self._is_proven = True
        self._num_steady = 0
        self._ended_s = self._calm_since_s = now_s
        self._lost_s += trial.lost_s
        if is_better:
            self.settled = trial.threads
            self._stride *= 2
            self._num_failed = 1  # where it came from is worse
            self._num_in_vain = 0
            is_last = self._possible() != self._direction
            # After a fall the neighbour may be gone soon.
            pause_s = MIN_PAUSE_S if trial.is_urgent else MAX_PAUSE_S if is_last else 0.0
        else:
            self._direction = -self._direction
            self._num_failed += 1
            self._stride = 1
            pause_s = 0.0
            if self._num_failed >= 2 or self._possible() != self._direction:
                self._num_failed = 0
                pause_s = MIN_PAUSE_S * 2**self._num_in_vain
                if not trial.threads <= self._room < inf:  # else it may have been bad luck
                    pause_s = max(pause_s, self._lost_s / LOST_SHARE)
                pause_s = min(pause_s, MAX_PAUSE_S)
                self._num_in_vain = min(self._num_in_vain + 1, 8)
                self._lost_s = 0.0
        self._due_s = now_s + pause_s
