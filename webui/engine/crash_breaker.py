"""When a worker that died is started again: after growing pauses, and not for ever.

Pure but for the clock it is given; knows no process.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class CrashBreaker:
    """Counts deaths.

    Args:
        max_deaths: So many within the window open it.
        window_s: See `max_deaths`; so long it stays open, too.
        pauses_s: Before the first, second … start again; the last one repeats.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        max_deaths: int,
        window_s: float,
        pauses_s: Sequence[float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.max_deaths = max_deaths
        self.window_s = window_s
        self._pauses_s = pauses_s
        self._clock = clock
        self._deaths: deque[float] = deque()
        self._opened_s: float | None = None

    @property
    def num_deaths(self) -> int:
        """How many there were within the window."""
        while self._deaths and self._deaths[0] < self._clock() - self.window_s:
            self._deaths.popleft()
        return len(self._deaths)

    @property
    def pause_s(self) -> float:
        """How long to wait before the next start."""
        return self._pauses_s[min(max(1, self.num_deaths), len(self._pauses_s)) - 1]

    @property
    def closed_in_s(self) -> float:
        """How long no start is worth a try; 0 when it is."""
        if self._opened_s is None:
            return 0.0
        return max(0.0, self._opened_s + self.window_s - self._clock())

    def note_death(self) -> bool:
        """Count a death; return whether it is one too many, which opens the breaker."""
        self._deaths.append(self._clock())
        is_open = self.num_deaths >= self.max_deaths
        if is_open:
            self.open()
        return is_open

    def open(self) -> None:
        """Let nothing be started for the length of the window."""
        self._opened_s = self._clock()

    def close(self) -> None:
        """Begin to count anew: it is tried again."""
        self._opened_s = None
        self._deaths.clear()
