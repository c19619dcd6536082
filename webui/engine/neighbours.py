"""How many cores other processes leave.

Knows what the system counts for all processes and for this one; knows nothing of models.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable

LOOK_S = 1.0  # the system counts in hundredths of a second for each core
# What a core does not do, or what is counted in other fields too.
NOT_BUSY = ("idle", "iowait", "guest", "guest_nice")


def busy_s() -> float:
    """Return the seconds that all cores together were busy since the system started."""
    times = psutil.cpu_times()
    spent_s: float = sum(times)
    return spent_s - sum(getattr(times, name, 0.0) for name in NOT_BUSY)


class Neighbours:
    """Other processes, and other machines on the same cores, as far as they compute.

    Args:
        clock: Monotonic seconds.
        own_s: Seconds that this process has computed.
        all_s: Seconds that all together have.
        num_cores: Of the machine, logical ones: with two of them in a core none waits for another.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        own_s: Callable[[], float] = time.process_time,
        all_s: Callable[[], float] = busy_s,
        num_cores: int | None = None,
    ) -> None:
        self._num_cores = num_cores or psutil.cpu_count() or 1
        self._clock = clock
        self._own_s = own_s
        self._all_s = all_s
        self._looked_s = clock()
        self._others_s = all_s() - own_s()

    def num_free_cores(self) -> float | None:
        """Return how many cores others left lately; None while there is nothing new."""
        now_s = self._clock()
        took_s = now_s - self._looked_s
        if took_s < LOOK_S:
            return None
        others_s = self._all_s() - self._own_s()
        num_busy = max(0.0, others_s - self._others_s) / took_s
        self._looked_s, self._others_s = now_s, others_s
        return max(0.0, self._num_cores - num_busy)
