"""What an install says: plain lines, and one that moves where there is a terminal.

Never reads; nobody is asked anything.
"""

from __future__ import annotations

import shutil
import sys
import time

QUIET_EVERY_S = 15.0


class Stop(Exception):  # noqa: N818 - it is no bug: it ends the install with one line
    """The install cannot go on; the text is one line for the person at the terminal."""


def say(line: str = "") -> None:
    """Print one line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


class Progress:
    """One moving line on a terminal; elsewhere a plain line now and then.

    Args:
        label: What is being done.
    """

    def __init__(self, label: str) -> None:
        self._label = label
        self._moves = sys.stdout.isatty()
        self._started = time.monotonic()
        self._shown = self._started - QUIET_EVERY_S + 2
        self._dirty = False

    def show(self, what: str) -> None:
        """Show where it stands."""
        line = f"  {self._label}  {self.elapsed}  {what}"
        if self._moves:
            width = shutil.get_terminal_size().columns - 1
            sys.stdout.write(f"\r\x1b[K{line[:width]}")
            sys.stdout.flush()
            self._dirty = True
        elif what and time.monotonic() - self._shown >= QUIET_EVERY_S:
            self._shown = time.monotonic()
            say(line)

    def done(self, what: str = "") -> None:
        """Leave the final line behind."""
        sys.stdout.write("\r\x1b[K" if self._dirty else "")
        say(f"  {self._label}  {self.elapsed}  {what}".rstrip())

    @property
    def elapsed(self) -> str:
        """Return minutes and seconds since the start."""
        seconds = int(time.monotonic() - self._started)
        return f"{seconds // 60}:{seconds % 60:02}"
