"""How far a load is, and for how long it has not gone on.

Knows fractions and a clock; knows no process. Runs on the event loop.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MIN_FRACTION_STEP = 0.01
STALL_S = 60.0
RETELL_S = 15.0


class LoadWatch:
    """The progress of one load.

    Args:
        stall_s: So long without a sign of progress is worth telling.
        on_change: Called when what people see has changed.

    Attributes:
        fraction: How much is read, 0 to 1.
        stalled_s: Seconds since the last sign of progress; None while it goes on.
    """

    def __init__(self, stall_s: float, on_change: Callable[[], None]) -> None:
        self.fraction = 0.0
        self.stalled_s: int | None = None
        self._stall_s = stall_s
        self._on_change = on_change
        self._loop = asyncio.get_running_loop()
        self._heard_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._is_waiting = False

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Expect signs of progress while the model is being opened."""
        self._is_waiting = True
        self._hear()
        try:
            yield
        finally:
            self._is_waiting = False
            self._stop()

    def note(self, fraction: float) -> None:
        """Take a sign that the load goes on, be it no further than before."""
        self._hear()
        is_step = fraction - self.fraction >= MIN_FRACTION_STEP
        if is_step:
            self.fraction = min(fraction, 1.0)
        if is_step or self.stalled_s is not None:
            self.stalled_s = None
            self._on_change()

    def _hear(self) -> None:
        self._heard_s = self._loop.time()
        self._look_in(self._stall_s)

    def _look_in(self, seconds: float) -> None:
        self._stop()
        if self._is_waiting:  # a worker that is being ended may still tell something
            self._timer = self._loop.call_later(seconds, self._look)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self.stalled_s = round(self._loop.time() - self._heard_s)
        self._look_in(RETELL_S)
        self._on_change()
