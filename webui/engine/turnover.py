"""How soon one of several requests ends, from how long those before it took.

Pure: told what ended; knows no clock, no queue and no owner.
Source: Little, "A Proof for the Queuing Formula: L = λW", 1961.
"""

from __future__ import annotations

NEW_SHARE = 0.25  # of the latest request in what one takes


class Turnover:
    """What was learned so far."""

    def __init__(self) -> None:
        self._took_s: float | None = None  # from arrival to end

    def note(self, took_s: float) -> None:
        """Learn from a request that came to its end."""
        before_s = took_s if self._took_s is None else self._took_s
        self._took_s = before_s + NEW_SHARE * (took_s - before_s)

    def next_s(self, num_requests: int) -> float | None:
        """Return in how many seconds one of so many, at least one, ends; None is not known."""
        return None if self._took_s is None else self._took_s / num_requests
