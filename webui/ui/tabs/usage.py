"""The Usage tab: what was used by day and model, and what is left of the limits.

Knows `runtime.usage` and Gradio's bar plots. All is asked anew when the tab is opened, for whoever
opens it; the plot of everybody is filled for administrators alone.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, time, timedelta
from html import escape
from typing import TYPE_CHECKING, ClassVar

import gradio as gr
from typing_extensions import override

from webui.actor import Permission
from webui.errors import InvalidRequest
from webui.ui.form import heading, state, state_line
from webui.ui.tab import Tab

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from webui.accounts.views import LimitView, UsageRowView
    from webui.actor import Actor

DAYS = (7, 30, 90, 365)
DEFAULT_DAYS = 30
HEIGHT_PX = 260
UNKNOWN = "?"  # a model of which no name is known


class UsageTab(Tab):
    """Tokens by day, model and person."""

    id: ClassVar[str] = "usage"
    days: gr.Dropdown
    limits: gr.HTML
    own: gr.BarPlot
    everybody: gr.BarPlot
    state: gr.HTML

    @override
    def build(self) -> None:
        with gr.Column(elem_classes="page form-page usage-page"):
            with gr.Row(elem_classes="form-head"):
                heading(self.strings("usage.title"), level=2, note=self.strings("usage.note"))
                self.state = state_line(self.id, state(""))
                self.days = gr.Dropdown(
                    [(self.strings("usage.days", count=days), days) for days in DAYS],
                    value=DEFAULT_DAYS,
                    show_label=False,
                    label=self.strings("usage.period"),
                    interactive=True,
                    container=False,
                    elem_id="usage-days",
                )
            self.limits = gr.HTML("", apply_default_css=False, elem_id="usage-limits")
            self.own = self._plot("own", self.strings("usage.own"), visible=True)
            self.everybody = self._plot("everybody", self.strings("usage.everybody"), visible=False)

    @override
    def wire(self, page: gr.Blocks, tab: gr.Tab) -> None:
        shown = [self.limits, self.own, self.everybody, self.state]
        for event in (tab.select, self.days.input):
            self.bind(event, self.show, inputs=[self.days], outputs=shown, latest=True)

    async def show(self, actor: Actor, _sent: Mapping[str, object], days: object) -> list[object]:
        """Show what the actor used, and what everybody did where the actor may see that.

        Raises:
            InvalidRequest: The number of days is none that can be chosen.
        """
        if days not in DAYS:
            raise InvalidRequest(self.strings("usage.wrong_days"), field="days")
        usage = self.runtime.usage
        limits = _table(await usage.limits(actor), self.strings)
        own = _bars(await usage.list(actor, days), days, lambda row: row.model or UNKNOWN)
        everybody: object = gr.skip()
        if Permission.ADMINISTER in actor.permissions:
            found = await usage.list_all(actor, days)
            bars = _bars(found, days, lambda row: row.user)
            everybody = gr.update(value=bars, visible=True)
        return [limits, own, everybody, state("")]

    def _plot(self, name: str, label: str, *, visible: bool) -> gr.BarPlot:
        return gr.BarPlot(
            x="day",
            y="tokens",
            color="of",
            x_bin="1d",
            y_aggregate="sum",
            x_title=" ",
            y_title=self.strings("usage.tokens"),
            color_title=" ",
            label=label,
            height=HEIGHT_PX,
            visible=visible,
            buttons=[],
            elem_id=f"usage-{name}",
            elem_classes="usage-plot",
        )


def _bars(
    rows: Sequence[UsageRowView], days: int, of: Callable[[UsageRowView], str]
) -> dict[str, object]:
    """Return what a plot shows, in the form that Gradio sends, which needs no data frame.

    A day stands for its noon in UTC, so that browsers in nearly all zones put it where it belongs.
    """
    counts: Counter[tuple[str, str]] = Counter()
    for row in rows:
        counts[of(row), row.day.isoformat()] += row.counted_tokens
    names = sorted({name for name, _ in counts}) or [UNKNOWN]
    today = datetime.now(UTC).date()
    data = []
    for name in names:
        for back in range(days - 1, -1, -1):
            day = today - timedelta(days=back)
            noon = datetime.combine(day, time(12), UTC)
            data.append([int(noon.timestamp() * 1000), counts[name, day.isoformat()], name])
    return {
        "columns": ["day", "tokens", "of"],
        "data": data,
        "datatypes": {"day": "temporal", "tokens": "quantitative", "of": "nominal"},
        "mark": "bar",
    }


def _table(limits: Sequence[LimitView], strings: Callable[..., str]) -> str:
    """Return the limits that there are as a table; nothing where there is none."""
    rows = []
    for one in limits:
        if one.limit is None:
            continue
        left = strings("usage.left", remaining=f"{one.remaining:,}", limit=f"{one.limit:,}")
        if one.name == "context_tokens":
            left = f"{one.limit:,}"
        name = strings(f"limits.{one.name}")
        rows.append(f"<tr><th scope='row'>{escape(name)}</th><td>{escape(left)}</td></tr>")
    if not rows:
        return f"<p>{escape(strings('usage.no_limits'))}</p>"
    return f"<table>{''.join(rows)}</table>"
