"""A Hearthside of our own in a process of its own, with accounts, keys and a model.

Knows how it is started, entered and loaded; sends no prompts. Touches neither the user's data
folder nor a running server. What it says is read by nobody, unless it does not get ready.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from webui.cli.bench.person import make_crowd
from webui.cli.bench.served import LOOK_S, START_TIMEOUT_S, Served, end, free_port, is_ready
from webui.errors import LoadFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SEE_ABOVE = "See its output above."
_CODE = re.compile(r"The code is (\S+);")


@dataclass(frozen=True, slots=True)
class Hearthside:
    """`webui serve`, started.

    Attributes:
        process: Its process.
        port: Where it answers, once it does.
        log: File of all that it says.
    """

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @contextlib.contextmanager
    def told_if_it_fails(self) -> Iterator[None]:
        """Print what it said to standard error where it does not get ready."""
        try:
            yield
        except LoadFailed:
            click.echo(self._said(), nl=False, err=True)
            raise

    def first_run_code(self) -> str:
        """Wait for the code that makes the administrator, and return it.

        Raises:
            LoadFailed: It does not come.
        """
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline_s:
            has_ended = self.process.poll() is not None
            if found := _CODE.search(self._said()):
                return found[1]
            if has_ended:
                break
            time.sleep(LOOK_S)
        raise LoadFailed("the server for the measurement did not start", SEE_ABOVE)

    def wait_for_model(self) -> None:
        """Wait until its model is loaded.

        Raises:
            LoadFailed: It did not get there.
        """
        states: list[str] = []

        def has_settled(health: Mapping[str, Any]) -> bool:
            states.append(health.get("model", {}).get("state", ""))
            return states[-1] in {"ready", "failed"}

        if not is_ready(self.process, self.port, has_settled) or states[-1] == "failed":
            raise LoadFailed("the server for the measurement did not get ready", SEE_ABOVE)

    def _said(self) -> str:
        return self.log.read_text("utf-8", "replace")


@contextlib.contextmanager
def hearthside(*flags: str, data_dir: Path | None = None) -> Iterator[Hearthside]:
    """Start a Hearthside without a page on a free port, and end it.

    Args:
        flags: Further flags of `webui serve`; without one that names models there are none.
        data_dir: Kept when it ends; None takes a fresh one.
    """
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        command = [sys.executable, "-m", "webui", "serve", "--port", str(port), "--no-ui"]
        command += ["--no-browser", "--data-dir", str(data_dir or Path(folder) / "data")]
        command += ["--models-dir", folder, *flags]
        with (
            log.open("wb") as output,
            subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            ) as process,
        ):
            try:
                yield Hearthside(process, port, log)
            finally:
                end(process)


@contextlib.contextmanager
def own_server(
    model: Path,
    options: Mapping[str, int | str],
    data_dir: Path | None = None,
    *,
    num_owners: int = 1,
    keys: tuple[str, ...] = (),
) -> Iterator[Served]:
    """Start a Hearthside with nothing but this model, wait until it is loaded, and end it.

    It has an administrator and so many owners with an API key each; requests are not counted.

    Args:
        model: GGUF file.
        options: Of our llama.cpp loader.
        data_dir: Kept when it ends; None takes a fresh one each time.
        num_owners: Accounts beside the administrator's.
        keys: Those of the accounts that a kept folder has; it remembers its model, too.

    Raises:
        LoadFailed: It did not get ready; what it said is on standard error.
    """
    flags = ["--models-dir", str(model.parent), "--requests-per-s", "0"]
    with hearthside(*flags, data_dir=data_dir) as started:
        with started.told_if_it_fails():
            if not keys:
                keys = asyncio.run(_enter(started, model, options, num_owners))
            started.wait_for_model()
        yield Served(started.port, started.process.pid, keys)


async def _enter(
    started: Hearthside, model: Path, options: Mapping[str, int | str], num_owners: int
) -> tuple[str, ...]:
    """Make the accounts and begin to load the model; returns a key of each owner."""
    code = started.first_run_code()
    administrator, owners = await make_crowd(started.port, code, num_owners)
    keys = [await owner.make_key() for owner in owners]
    body = {"model_id": model.name, "options": dict(options)}
    (await administrator.ask("POST", "/api/models/load", body)).json()
    return tuple(keys)
