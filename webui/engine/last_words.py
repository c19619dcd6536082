"""What a process says on standard error, kept for its end.

Knows lines and when they came; knows no process. Runs on the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import deque
from typing import TYPE_CHECKING

from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

KEPT_LINES = 200
MAX_LINE_CHARS = 2000
MAX_SHOWN_CHARS = 300
LAST_S = 2.0  # before the end; what was said earlier is about something else
_UNPRINTABLE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|[\x00-\x1f\x7f-\x9f]")


class LastWords(asyncio.Protocol):
    """The newest lines of a pipe.

    Args:
        clock: Monotonic seconds.

    Attributes:
        ended: Done when the pipe has ended.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._clock = clock
        self._lines: deque[tuple[float, str]] = deque(maxlen=KEPT_LINES)
        self._rest = b""
        self._ended_s: float | None = None

    @override
    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._keep(line)
        self._rest = self._rest[-MAX_LINE_CHARS:]

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._keep(self._rest)
        self._ended_s = self._clock()
        if not self.ended.done():
            self.ended.set_result(None)

    def last_line(self) -> str:
        """Return what a person may be shown of the last line; empty if it came long before."""
        if not self._lines:
            return ""
        said_s, line = self._lines[-1]
        ended_s = self._clock() if self._ended_s is None else self._ended_s
        return line[:MAX_SHOWN_CHARS] if ended_s - said_s <= LAST_S else ""

    def _keep(self, line: bytes) -> None:
        text = _UNPRINTABLE.sub("", line.decode("utf-8", "replace")).strip()
        if text:
            logger.debug("worker: %s", text[:MAX_LINE_CHARS])
            self._lines.append((self._clock(), text[:MAX_LINE_CHARS]))
