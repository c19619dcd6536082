"""Whether a process does anything: reads files, or computes.

Knows what the system counts for a process; knows nothing of models.
"""

from __future__ import annotations

import psutil

MIN_CPU_SHARE = 0.05  # of one core; threads that only wait and tell take less


class Activity:
    """What a process did since the last look.

    Args:
        pid: Of a child that was not reaped.
        look_s: Time between two looks.
    """

    def __init__(self, pid: int, look_s: float) -> None:
        self._process = psutil.Process(pid)
        self._min_cpu_s = look_s * MIN_CPU_SHARE
        self._cpu_s, self._num_bytes = self._counts()

    def has_moved(self) -> bool:
        """Return whether it read anything or computed since the last call.

        A read that waits for its drive counts as nothing. Where the system does not count what
        a process reads, as on a Mac, only computing shows.
        """
        try:
            cpu_s, num_bytes = self._counts()
        except psutil.Error:  # it is gone, or about to be
            return False
        has_moved = num_bytes != self._num_bytes or cpu_s - self._cpu_s >= self._min_cpu_s
        self._cpu_s, self._num_bytes = cpu_s, num_bytes
        return has_moved

    def _counts(self) -> tuple[float, int]:
        times = self._process.cpu_times()
        if not hasattr(self._process, "io_counters"):
            return times.user + times.system, 0
        io = self._process.io_counters()
        # A mapped file is read without a call for it: the system counts what came from the drive.
        return times.user + times.system, io.read_bytes + getattr(io, "read_chars", 0)
