"""How many compute threads the next step takes, found by trying neighbours of the present number.

Pure: knows the tokens and the seconds of the steps it is told; knows neither clocks nor llama.cpp.
A spinning barrier waits for the slowest thread, so that one busy neighbour makes all threads
slow: the best number changes while the engine runs. Steps of decoding and of reading prompts are
searched apart, because memory bounds the one and arithmetic the other. A trial is compared with
the steps just before it and with steps of its own size only, by medians; what trials lose is
bounded by a share of all time.
"""

from __future__ import annotations

from collections import deque
from statistics import median

PROMPT_TOKENS = 16  # a step of so many reads a prompt, or is as heavy as one that does
WINDOW_STEPS = 5
OUTLIERS = 3  # so many bad steps end a trial early, and so many of another size end a comparison
PLAIN = 1.3  # two steps so much slower than before end a trial
HOPELESS = 4.0  # one step so much slower than before ends a trial at once
GAIN = 0.95  # what a trial must take of the time before, so that noise changes nothing
ALARM = 1.4  # a change of the steps' cost by this factor: somebody came or went
ALARM_PAUSE_S = 1.0
STANDSTILL_S = 1.0  # a step that takes so long and
STANDSTILL = 10.0  # is so much slower than others is alarm enough by itself
REFERENCE_SHARE = 0.05  # steps grow slowly with the cells that they read; that is no alarm
TRIAL_SHARE = 0.01  # of all time may be lost by trials
MIN_PAUSE_S = 2.0
MAX_PAUSE_S = 120.0  # after the dearest trial, so that a neighbour's leaving is found in time


class ThreadChoice:
    """Choose the threads of each step.

    Args:
        start: Threads of the first steps, at least 1.
        max_threads: The most that may be taken; below `start` the number stays fixed.
    """

    def __init__(self, start: int, max_threads: int) -> None:
        self._decode = _Search(start, max_threads)
        self._prompt = _Search(start, max_threads)
        self._latest = start

    def change(self, num_tokens: int) -> int | None:
        """Return the threads for the next step, of so many tokens; None if they are as before."""
        before, self._latest = self._latest, self.threads(num_tokens)
        return None if self._latest == before else self._latest

    def threads(self, num_tokens: int) -> int:
        """Return the threads for a step of so many tokens."""
        return self._search(num_tokens).present

    @property
    def present(self) -> tuple[int, int]:
        """The threads of steps that decode, and of those that read prompts."""
        return self._decode.present, self._prompt.present

    def note(self, num_tokens: int, step_s: float) -> None:
        """Learn from a step that took the threads it was told to take."""
        size = num_tokens if num_tokens < PROMPT_TOKENS else -num_tokens.bit_length()
        self._search(num_tokens).note(size, step_s / num_tokens, step_s)

    def _search(self, num_tokens: int) -> _Search:
        return self._decode if num_tokens < PROMPT_TOKENS else self._prompt


class _Search:
    """Climb to the best number of threads for steps of one kind."""

    def __init__(self, start: int, max_threads: int) -> None:
        self.present = start
        self._settled = start
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

    def note(self, size: int, cost: float, step_s: float) -> None:
        """Learn from a step.

        Args:
            size: Steps of one size may be compared.
            cost: Seconds for each token.
            step_s: Seconds in all.
        """
        if self._is_fixed or not self._is_known_size(size):
            return
        if self.present != self._settled:
            self._note_trial(cost, step_s)
            return
        self._since_s += step_s
        if _stands_still(cost, self._reference, step_s):
            self._flee(cost)
            return
        self._before.append(cost)
        if len(self._before) == WINDOW_STEPS:
            self._consider()

    def _is_known_size(self, size: int) -> bool:
        if size == self._size:
            self._num_strange = 0
            return True
        self._num_strange += 1
        if self._num_strange >= OUTLIERS or not self._size:
            self._size = size
            self._num_strange = 0
            self.present = self._settled
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
            self._alarm(cost, -1 if cost > reference else 1)
        elif self._since_s >= self._pause_s:
            self._begin(self._direction)

    def _flee(self, cost: float) -> None:
        """Try fewer threads at once: more steps like this one would be a standstill.

        What was before says nothing any more. If it was this step alone, the way back is short.
        """
        self._before.clear()
        self._before.append(cost)
        self._alarm(cost, -1)

    def _alarm(self, cost: float, direction: int) -> None:
        self._reference = cost
        self._stride = 1
        self._num_failed = 0
        self._begin(direction)

    def _begin(self, direction: int) -> None:
        """Try a neighbour, on the other side where there is none on this."""
        for way in (direction, -direction):
            candidate = min(self._max, max(1, self._settled + way * self._stride))
            if candidate != self._settled:
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
            self._lose(is_final=_stands_still(cost, before, step_s))
        elif len(self._trial) == WINDOW_STEPS:
            if median(self._trial) < before * GAIN:
                self._win()
            else:
                self._lose(is_final=False)

    def _win(self) -> None:
        self._settled = self.present
        self._lost_s = max(self._lost_s, 0.0)  # what was won here pays for nothing that follows
        self._stride *= 2
        self._num_failed = 0
        self._pause_s = 0.0
        self._since_s = 0.0
        self._before.clear()
        self._before.extend(self._trial)
        self._reference = median(self._trial)

    def _lose(self, *, is_final: bool) -> None:
        self.present = self._settled
        self._direction = -self._direction
        self._num_failed += 1
        is_narrow = is_final or self._stride == 1
        if self._num_failed >= 2:  # both directions
            self._num_failed = 0
            self._stride = max(1, self._stride // 2)
        self._since_s = 0.0
        self._pause_s = 0.0
        if is_narrow:  # else this is a search that has not ended; what it loses is paid at its end
            self._pause_s = min(max(self._lost_s / TRIAL_SHARE, MIN_PAUSE_S), MAX_PAUSE_S)
            self._lost_s = 0.0


def _stands_still(cost: float, usual: float, step_s: float) -> bool:
    return step_s >= STANDSTILL_S and 0 < usual * STANDSTILL < cost
