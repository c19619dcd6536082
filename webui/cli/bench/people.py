"""Many people who chat at once, each with an account and an open page: what the server itself costs.

The model is a made-up one of a fixed speed, so that what is measured is the web process: events,
saving, and whether it still answers. Touches no user's data.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass

import click
import psutil

from webui.cli.bench.own_server import hearthside
from webui.cli.bench.person import Person, make_crowd
from webui.cli.bench.statistics import percentile

HEALTH_EVERY_S = 0.1
WARM_UP_S = 3.0


@dataclass(frozen=True, slots=True)
class Figures:
    """What one round showed.

    Attributes:
        num_done: Of how many a reply came to its end.
        cores: Of the web process, on average: CPU seconds by seconds.
        tokens_per_s: Of all replies together, as pieces that were written.
        health_s: Times of `/health` meanwhile.
        rss_mb: Memory before and after.
        num_fds: Open descriptors before and after.
    """

    num_done: int
    cores: float
    tokens_per_s: float
    health_s: list[float]
    rss_mb: tuple[float, float]
    num_fds: tuple[int, int]


@click.command()
@click.option("--people", default=100, show_default=True, type=click.IntRange(1, 500))
@click.option("--rate", default=40, show_default=True, help="Tokens a second of each reply.")
@click.option("--seconds", default=20, show_default=True, help="Length of each reply.")
@click.option("--drop", default=30, show_default=True, help="So many leave in the rough round.")
@click.option("--hold", default=20, show_default=True, help="So many never read in it.")
def people(people: int, rate: int, seconds: int, drop: int, hold: int) -> None:
    """Have many people chat at once with a made-up model, then some of them badly."""
    asyncio.run(_measure(people, rate, seconds, drop, hold))


async def _measure(num: int, rate: int, seconds: int, drop: int, hold: int) -> None:
    with hearthside("--fake-engine", str(rate)) as started:
        say = click.echo
        with started.told_if_it_fails():
            _, crowd = await make_crowd(started.port, started.first_run_code(), num)
        process = psutil.Process(started.process.pid)
        text = f"long {rate * seconds}"
        for name, num_bad in (("all read", (0, 0)), ("some leave", (drop, hold))):
            figures = await _round(crowd, process, text, *num_bad)
            health = figures.health_s
            say(f"{name}: {figures.num_done} of {num - sum(num_bad)} replies whole")
            say(
                f"  web process {figures.cores:.2f} cores, {figures.tokens_per_s:.0f} events/s read"
            )
            say(
                f"  /health median {percentile(health, 0.5) * 1000:.0f} ms, "
                f"p95 {percentile(health, 0.95) * 1000:.0f} ms ({len(health)} asked)"
            )
            say(
                f"  memory {figures.rss_mb[0]:.0f} -> {figures.rss_mb[1]:.0f} MB, "
                f"descriptors {figures.num_fds[0]} -> {figures.num_fds[1]}"
            )


async def _round(
    crowd: list[Person], process: psutil.Process, text: str, drop: int, hold: int
) -> Figures:
    """Have everybody say something at once, and wait for the replies of those who listen."""
    before = process.memory_info().rss / 1e6, process.num_fds()
    held = [await person.hold() for person in crowd[:hold]]
    leaving = [asyncio.create_task(person.listen()) for person in crowd[hold : hold + drop]]
    good = crowd[hold + drop :]
    for person in good:
        person.is_done.clear()
        person.num_pieces = 0
    listening = [asyncio.create_task(person.listen()) for person in good]
    health_s: list[float] = []
    asking = asyncio.create_task(_watch_health(good[0].port, health_s))
    await asyncio.gather(*(person.say(text) for person in crowd))
    await asyncio.sleep(WARM_UP_S)
    for task in leaving:
        task.cancel()
    cpu_s, began_s, pieces = _cpu_s(process), time.monotonic(), _pieces(good)
    await good[0].is_done.wait()
    took_s = time.monotonic() - began_s
    used_s, read = _cpu_s(process) - cpu_s, _pieces(good) - pieces
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(60):
            await asyncio.gather(*(person.is_done.wait() for person in good))
    for task in (asking, *listening):
        task.cancel()
    await asyncio.gather(asking, *listening, *leaving, return_exceptions=True)
    for writer in held:
        writer.close()
    await asyncio.sleep(WARM_UP_S)
    after = process.memory_info().rss / 1e6, process.num_fds()
    return Figures(
        num_done=sum(person.is_done.is_set() for person in good),
        cores=used_s / took_s,
        tokens_per_s=read / took_s,
        health_s=health_s,
        rss_mb=(before[0], after[0]),
        num_fds=(before[1], after[1]),
    )


async def _watch_health(port: int, times_s: list[float]) -> None:
    stranger = Person(port)
    while True:
        began_s = time.monotonic()
        await stranger.ask("GET", "/health")
        times_s.append(time.monotonic() - began_s)
        await asyncio.sleep(HEALTH_EVERY_S)


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _pieces(crowd: list[Person]) -> int:
    return sum(person.num_pieces for person in crowd)
