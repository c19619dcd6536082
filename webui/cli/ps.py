"""`webui ps`: the loaded model, and for whom it works; no word of what they say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import msgspec

from webui.api.control.messages import ListRunning, Running
from webui.cli.columns import columns, printable
from webui.cli.control import DATA_DIR, connected
from webui.engine.pool_status import PoolState

if TYPE_CHECKING:
    from pathlib import Path

    from webui.chat.views import ModelStatus


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@DATA_DIR
def ps(*, as_json: bool, data_dir: Path | None) -> None:
    """Show the loaded model, for whom it works and who waits for it."""
    with connected(data_dir) as control:
        running = control.ask(ListRunning(), Running)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(running)))
        return
    click.echo(_told(running.status))
    if not running.requests:
        click.echo("Nobody waits.")
        return
    rows = [
        (
            request.name,
            "api" if request.is_api else "chat",
            request.task,
            request.doing,
            f"{request.num_tokens:,}",
            f"{request.since_s:.1f} s",
        )
        for request in running.requests
    ]
    click.echo(columns(("WHO", "BY", "TASK", "STATE", "TOKENS", "TIME"), rows))


def _told(status: ModelStatus) -> str:
    name = printable(status.name or "")
    match status.state:
        case PoolState.NONE:
            return "No model is loaded."
        case PoolState.LOADING:
            return f"{name} is being loaded: {status.fraction or 0:.0%}."
        case PoolState.READY:
            return f"{name} is loaded."
        case PoolState.UNLOADING:
            return f"{name} is being unloaded once its replies have ended."
        case PoolState.RESTARTING:
            return f"{name} died and is being started again."
        case _:
            why = f": {printable(status.error.message)}" if status.error else ""
            return f"{name} failed{why}."
