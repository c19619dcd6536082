"""`webui models`, `load` and `unload`: model files and the loaded model of the running server.

Knows what people type and read; a load goes on when the command is interrupted.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click
import msgspec

from webui.api.control.messages import GetStatus, ListModels, LoadModel, UnloadModel
from webui.chat.views import ModelList, ModelStatus
from webui.cli.columns import columns, printable
from webui.cli.control import DATA_DIR, connected
from webui.cli.doctor import size
from webui.engine.pool_status import LoadOutcome, PoolState
from webui.errors import Conflict, LoadFailed

if TYPE_CHECKING:
    from pathlib import Path

    from webui.chat.views import ModelCard
    from webui.cli.control import Control

POLL_S = 0.2
FORCE = click.option("--force", is_flag=True, help="End running replies at once.")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@DATA_DIR
def models(*, as_json: bool, data_dir: Path | None) -> None:
    """Show the model files and which one is loaded."""
    with connected(data_dir) as control:
        found = control.ask(ListModels(), ModelList)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found)))
        return
    rows = [
        (card.id, size(card.size_bytes), card.quantization or "", _state(card, found.status))
        for card in found.models
    ]
    if rows:
        click.echo(columns(("NAME", "SIZE", "KIND", "STATE"), rows))
    else:
        click.echo("There are no model files yet.")


@click.command()
@click.argument("name")
@FORCE
@DATA_DIR
def load(*, name: str, force: bool, data_dir: Path | None) -> None:
    """Load a model, with the options of last time, and wait until it is there.

    What runs on the loaded one may end first. Interrupted, the load goes on.
    """
    with connected(data_dir) as control:
        status = control.ask(LoadModel(name, force), ModelStatus)
        wanted = status.model_id
        status = _wait_for_load(control, status)
    if status.outcome == LoadOutcome.LOADED and status.model_id == wanted:
        context = f", {status.info.context_length:,} tokens of context" if status.info else ""
        click.echo(f"{printable(status.name or name)} is loaded{context}.")
        return
    if status.outcome == LoadOutcome.CANCELLED:
        raise Conflict(f"the load of {name} was cancelled", _left(status))
    if status.error is not None:
        raise LoadFailed(f"{name} was not loaded: {status.error.message}", status.error.hint)
    raise Conflict(f"{name} was loaded, but is no more", _left(status))


@click.command()
@FORCE
@DATA_DIR
def unload(*, force: bool, data_dir: Path | None) -> None:
    """Take the loaded model out of memory, once its replies have ended."""
    with connected(data_dir) as control:
        before = control.ask(GetStatus(), ModelStatus)
        if before.state == PoolState.NONE:
            click.echo("No model is loaded.")
            return
        status = control.ask(UnloadModel(force), ModelStatus)
        if _is_same(status, before):
            click.echo("Waiting for its replies to end; --force ends them.", err=True)
        while _is_same(status, before):
            time.sleep(POLL_S)
            status = control.ask(GetStatus(), ModelStatus)
    click.echo(f"{printable(before.name or 'The model')} is unloaded.")


def _is_same(status: ModelStatus, before: ModelStatus) -> bool:
    return status.state != PoolState.NONE and status.model_id == before.model_id


def _wait_for_load(control: Control, status: ModelStatus) -> ModelStatus:
    """Show how far a load is, where somebody sees it, until it has ended."""
    is_seen, shown = sys.stderr.isatty(), ""
    while status.state == PoolState.LOADING:
        said = f"Loading {printable(status.name or '')}: {status.fraction or 0:.0%}"
        if status.stalled_s is not None:
            said += f", no progress for {status.stalled_s} s"
        if is_seen:
            click.echo(f"\r{said:<{len(shown)}}", nl=False, err=True)
        shown = said
        time.sleep(POLL_S)
        status = control.ask(GetStatus(), ModelStatus)
    if is_seen and shown:
        click.echo(f"\r{'':<{len(shown)}}\r", nl=False, err=True)
    return status


def _state(card: ModelCard, status: ModelStatus) -> str:
    if card.error is not None:
        return f"cannot be loaded: {card.error}"
    if card.id != status.model_id or status.state == PoolState.NONE:
        return ""
    is_loaded = status.state == PoolState.READY
    return "loaded" if is_loaded else status.state


def _left(status: ModelStatus) -> str:
    """Return what is loaded now, as a hint."""
    if status.state == PoolState.READY and status.name:
        return f"{printable(status.name)} is loaded."
    return "No model is loaded."
