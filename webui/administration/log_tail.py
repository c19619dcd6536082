"""The last lines of the log, for administrators; prompts and keys are in no log.

Knows records and how a line is laid out; nothing of who reads it.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING

from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_LINES = 1000
MAX_LINE_CHARS = 2000


class LogTail(logging.Handler):
    """Keeps the last lines in memory.

    Args:
        formatter: Lays a record out as one line.
    """

    def __init__(self, formatter: logging.Formatter | None = None) -> None:
        super().__init__()
        self._lines: deque[str] = deque(maxlen=MAX_LINES)
        self.setFormatter(formatter or logging.Formatter("%(asctime)s %(levelname)s %(message)s"))

    @override
    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record; called by the logging of any thread, under the handler's lock."""
        try:
            self._lines.append(self.format(record)[:MAX_LINE_CHARS])
        except Exception:  # noqa: BLE001 - as all handlers of the standard library do
            self.handleError(record)

    def open(self) -> None:
        """Begin to listen, with the layout of whoever writes the log."""
        root = logging.getLogger()
        written = next((handler.formatter for handler in root.handlers if handler.formatter), None)
        if written is not None:
            self.setFormatter(written)
        root.addHandler(self)

    @override
    def close(self) -> None:
        """End to listen."""
        logging.getLogger().removeHandler(self)
        super().close()

    def last(self, num_lines: int) -> Sequence[str]:
        """Return the last lines, oldest first."""
        return list(self._lines)[-num_lines:]
