"""`webui bench engine`: Hearthside beside llama-server, the same model, in turns A B A B.

Starts both itself. A bar is met when the worse end of the 90 % bootstrap interval of the paired
ratio misses it by no more than 0.03, or 3 % of a ceiling below 1. Without a llama-server there is no
figure at all.
"""

from __future__ import annotations

import json
import shlex
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from webui.cli.bench.peers import find_model, find_peer, peer_command, peer_system_info
from webui.cli.bench.report import EngineReport, ScenarioReport, head, judge, section
from webui.cli.bench.scenario import Contest
from webui.cli.bench.scenarios import choose
from webui.cli.doctor import llama
from webui.errors import InvalidRequest
from webui.settings import load as load_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from webui.cli.bench.scenario import Scenario


def _read_threads(_context: click.Context, _option: click.Parameter, text: str) -> list[int]:
    """Return the numbers of a list such as `1,2`."""
    numbers = text.split(",")
    if not all(number.strip().isdecimal() and 1 <= int(number) <= 256 for number in numbers):
        raise click.BadParameter("numbers from 1 to 256 with commas between them, such as 1,2")
    return [int(number) for number in numbers]


@click.command()
@click.option("--llama-server", "peer", type=click.Path(path_type=Path), help="The peer's program.")
@click.option("--model", help="Model to measure: name or path; the first one found by default.")
@click.option("--draft-model", "draft", help="Guesses in the scenario speculation: name or path.")
@click.option("--scenario", "names", multiple=True, help="Only this one; may be repeated.")
@click.option("--pairs", type=click.IntRange(1, 99), default=7, show_default=True)
@click.option("--threads", default="1,2", show_default=True, callback=_read_threads)
@click.option(
    "--soak",
    "soak_s",
    type=click.IntRange(1),
    default=600,
    show_default=True,
    help="Seconds of the scenarios that only last.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def engine(  # noqa: PLR0913 - each is a flag of the command
    *,
    peer: Path | None,
    model: str | None,
    draft: str | None,
    names: tuple[str, ...],
    pairs: int,
    threads: list[int],
    soak_s: int,
    as_json: bool,
) -> None:
    """Measure the engine beside llama-server, scenario by scenario."""
    binary = find_peer(peer)
    scenarios = choose(names)
    settings = load_settings({})
    models_dir = settings.models_dir or settings.data_dir / "models"
    path = find_model(model, models_dir)
    draft_path = find_model(draft, models_dir) if draft else None
    own_info = llama()
    if "error" in own_info:
        raise InvalidRequest(f"our llama.cpp cannot be asked: {own_info['error']}")
    report = EngineReport(
        path.name, f"{own_info['version']} {own_info['built_with']}", peer_system_info(binary), ()
    )
    say: Callable[[str], None] = (lambda _text: None) if as_json else click.echo
    say(head(report))
    done: list[ScenarioReport] = []
    for scenario in scenarios:
        for number in threads if scenario.is_by_threads else [None]:
            contest = Contest(path, binary, number, pairs, soak_s, draft_path)
            done.append(measure(scenario, contest))
            say("\n" + section(done[-1]))
    if as_json:
        whole = EngineReport(
            report.model, report.own_system_info, report.peer_system_info, tuple(done)
        )
        click.echo(json.dumps(asdict(whole)))


def measure(scenario: Scenario, contest: Contest) -> ScenarioReport:
    """Run one scenario at one number of threads.

    Raises:
        LoadFailed: A side did not start.
        EngineError: A stream broke off.
    """
    shape = scenario.shape(contest.threads)
    command = peer_command(contest.peer, contest.model, shape) if scenario.has_peer else []
    started_s, cpu_before_s = time.perf_counter(), time.process_time()
    samples = list(scenario.run(contest))
    cpu_s, took_s = time.process_time() - cpu_before_s, time.perf_counter() - started_s
    return ScenarioReport(
        title=scenario.title,
        path=scenario.path,
        peer_command=shlex.join(command),
        own_options=shape.load_options(),
        client_cpu_percent=100 * cpu_s / took_s,
        findings=judge(scenario, contest.threads, samples),
    )
