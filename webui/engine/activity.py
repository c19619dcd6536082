"""Whether a process does anything: reads files, or computes.

Knows what the system counts for a process; knows nothing of models.
"""

from __future__ import annotations

import contextlib

import psutil

MIN_CPU_SHARE = 0.05  # of one core; threads that only wait and tell take less


class Activity:
    """What a process did since the last look.

    Args:
        pid: Of a child that was not reaped.
        look_s: Time between two looks.
    """

    def __init__(self, pid: int, look_s: float) -> None:
        self._pid = pid
        self._min_cpu_s = look_s * MIN_CPU_SHARE
        self._cpu_s, self._num_bytes = self._counts()

    def has_moved(self) -> bool:
        """Return whether it read anything or computed since the last call.

        A read that waits for its drive counts as nothing. Where the system does not tell what
        a process reads, as on a Mac, only computing shows.
        """
        cpu_s, num_bytes = self._counts()
        has_moved = num_bytes > self._num_bytes or cpu_s - self._cpu_s >= self._min_cpu_s
        self._cpu_s, self._num_bytes = cpu_s, num_bytes
        return has_moved

    def _counts(self) -> tuple[float, int]:
        """Return CPU seconds and bytes read; nought for what the system does not tell."""
        cpu_s, num_bytes = 0.0, 0
        # It may be gone, and a hardened system may keep either to itself.
        with contextlib.suppress(psutil.Error, OSError):
            process = psutil.Process(self._pid)
            times = process.cpu_times()
            cpu_s = times.user + times.system
            if hasattr(process, "io_counters"):
                io = process.io_counters()
                # Of a mapped file the system counts only what came from the drive.
                num_bytes = io.read_bytes + getattr(io, "read_chars", 0)
        return cpu_s, num_bytes
