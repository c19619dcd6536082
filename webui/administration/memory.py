"""Memory that a busy time took and nobody needs any more goes back to the system.

Knows the process and whether it has work; not what takes the memory. After a hundred clients at
once glibc holds some 20 MB that are free, in pieces between what is in use, and cycles of closed
connections wait for a collection that comes only with more work.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import sys
from typing import TYPE_CHECKING, NoReturn

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable

EVERY_S = 10.0
GROWN = 1.03  # so much more than the last time is worth the tenth of a second that it takes


async def keep_small(is_busy: Callable[[], bool], *, every_s: float = EVERY_S) -> NoReturn:
    """Look now and then, and give back while there is no work, until cancelled.

    Args:
        is_busy: Whether there is work that must not wait.
        every_s: Seconds between two looks.
    """
    process = psutil.Process()
    least_bytes = process.memory_info().rss
    while True:
        await asyncio.sleep(every_s)
        used_bytes = process.memory_info().rss
        if used_bytes > least_bytes * GROWN and not is_busy():
            await asyncio.to_thread(give_back)
            used_bytes = process.memory_info().rss
            least_bytes = used_bytes
        least_bytes = min(least_bytes, used_bytes)


def give_back() -> None:
    """Collect what is garbage and return free memory to the system. Blocks."""
    gc.collect()
    if sys.platform != "linux":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc alone
    if trim is not None:
        trim(0)
