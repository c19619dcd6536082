"""What the page shows of the engine while it works: told to everybody as it comes.

Knows the counts of an engine and where events go; knows neither HTTP nor who asked for what.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from webui.chat.events import FiguresChanged
from webui.chat.views import figures_view
from webui.engine.stats import EngineStats

if TYPE_CHECKING:
    from webui.chat.event_log import EventLog
    from webui.chat.views import FiguresView


class Figures:
    """Makes figures of the engine's counts; it is told them at most every second or so.

    Args:
        events: Where everybody hears of them.
    """

    def __init__(self, events: EventLog) -> None:
        self._events = events
        self._stats = EngineStats()
        self._told: FiguresView | None = None

    def note(self, stats: EngineStats) -> None:
        """Take new counts; tell what a person sees of them when that changed."""
        before, self._stats = self._stats, stats
        worked_s = _worked_s(stats) - _worked_s(before)
        num_tokens = stats.num_reply_tokens - before.num_reply_tokens
        is_rated = stats.num_running and worked_s > 0 and num_tokens > 0
        figures = figures_view(stats, num_tokens / worked_s if is_rated else 0.0)
        if figures != self._told:
            self._told = figures
            self._events.broadcast(FiguresChanged(figures))


def _worked_s(stats: EngineStats) -> float:
    """Return the seconds of steps; pauses between replies slow no rate."""
    return stats.prefill_s + stats.decode_s
