"""What those who wait are told: their place and how long it may take.

Pure. A newcomer hears its place at once, later at most every `MIN_NEWS_S` and only when the
place or, markedly, the estimate has changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from webui.engine.interface import Queued
    from webui.engine.scheduler import Scheduler

MIN_NEWS_S = 1.0
MARKED_SHARE = 0.25
MARKED_S = 2.0


class _Told(NamedTuple):
    """What a request heard last, and when."""

    queued: Queued
    at_s: float


class QueueNews:
    """Remembers who was told what.

    Args:
        scheduler: Knows places and estimates.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._told: dict[str, _Told] = {}
        self._looked_s = float("-inf")

    def take(self, now_s: float, *, has_newcomers: bool) -> dict[str, Queued]:
        """Return what is to be told now, by request."""
        if not self._scheduler.num_waiting:
            self._told = {}
            return {}
        if not has_newcomers and now_s - self._looked_s < MIN_NEWS_S:
            return {}
        self._looked_s = now_s
        told, self._told = self._told, {}
        news: dict[str, Queued] = {}
        for request_id, queued in self._scheduler.outlook(now_s).items():
            last = told.get(request_id)
            if last is None or (now_s - last.at_s >= MIN_NEWS_S and _differs(queued, last.queued)):
                news[request_id] = queued
                last = _Told(queued, now_s)
            self._told[request_id] = last
        return news


def _differs(queued: Queued, last: Queued) -> bool:
    if queued.place != last.place or queued.eta_s is None or last.eta_s is None:
        return queued != last
    return abs(queued.eta_s - last.eta_s) > max(MARKED_S, MARKED_SHARE * last.eta_s)
