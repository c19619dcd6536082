"""Many people who chat at once, each with an account and an open page: what the server itself costs.

The model is a made-up one of a fixed speed, so that what is measured is the web process: events,
saving, and whether it still answers. Knows HTTP as a browser speaks it; touches no user's data.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import secrets
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import psutil

from webui.cli.bench.peers import free_port
from webui.cli.bench.statistics import percentile
from webui.errors import LoadFailed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ADMINISTRATOR = "Bench"
START_TIMEOUT_S = 60
HEALTH_EVERY_S = 0.1
WARM_UP_S = 3.0
LIMIT = 1 << 20
CODE = re.compile(rb"The code is (\S+);")


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer to a short request."""

    status: int
    headers: str
    body: bytes

    def json(self) -> dict[str, Any]:
        """Return the body.

        Raises:
            LoadFailed: It is an error.
        """
        if self.status >= 400:
            raise LoadFailed(f"the server answered {self.status}: {self.body[:300]!r}")
        found: dict[str, Any] = json.loads(self.body)
        return found


@dataclass(slots=True)
class Person:
    """Somebody with a page open.

    Attributes:
        num_pieces: Events with text that came.
        is_done: The reply is whole and saved.
    """

    port: int
    token: str = ""
    num_pieces: int = 0
    is_done: asyncio.Event = field(default_factory=asyncio.Event)

    async def ask(self, method: str, path: str, body: object = None) -> Answer:
        """Send one request."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=LIMIT)
        try:
            writer.write(self._head(method, path, body))
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", head)
            raw = await reader.readexactly(int(length[1])) if length else await reader.read()
        finally:
            writer.close()
        return Answer(int(head.split(b" ", 2)[1]), head.decode("latin-1"), raw)

    async def sign_in(self, name: str, password: str, **code: str) -> None:
        """Get a token, as the first administrator where there is a code."""
        path = "/api/first-run" if code else "/api/session"
        answer = await self.ask("POST", path, {"name": name, "password": password, **code})
        answer.json()
        self.token = answer.headers.partition("hearthside=")[2].partition(";")[0]

    async def listen(self) -> None:
        """Read the events of the page until the connection ends."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=LIMIT)
        try:
            writer.write(self._head("GET", "/api/events", None))
            while line := await reader.readline():
                if b'"type":"text"' in line:
                    self.num_pieces += 1
                elif b'"type":"done"' in line:
                    self.is_done.set()
        finally:
            writer.close()

    async def hold(self) -> asyncio.StreamWriter:
        """Open the events of the page and never read them."""
        _, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1)
        writer.write(self._head("GET", "/api/events", None))
        return writer

    async def say(self, text: str) -> int:
        """Send a message in a new conversation; returns the status."""
        made = await self.ask("POST", "/api/conversations", {})
        conversation_id = made.json()["conversation"]["id"]
        body = {"mode": "send", "parent_id": None, "text": text}
        return (
            await self.ask("POST", f"/api/conversations/{conversation_id}/messages", body)
        ).status

    def _head(self, method: str, path: str, body: object) -> bytes:
        raw = b"" if body is None else json.dumps(body).encode()
        lines = [
            f"{method} {path} HTTP/1.1",
            f"host: 127.0.0.1:{self.port}",
            f"origin: http://127.0.0.1:{self.port}",
            f"cookie: hearthside={self.token}",
            "content-type: application/json",
            f"content-length: {len(raw)}",
            "connection: close" if path != "/api/events" else "accept: text/event-stream",
        ]
        return "\r\n".join([*lines, "", ""]).encode() + raw


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
    async with _server(rate) as (port, process):
        say = click.echo
        crowd = await _crowd(port, process, num)
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


@contextlib.asynccontextmanager
async def _server(rate: int) -> AsyncIterator[tuple[int, psutil.Process]]:
    """Start a Hearthside with a made-up model and end it.

    Raises:
        LoadFailed: It did not get ready.
    """
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "output"
        flags = ["--port", str(port), "--data-dir", f"{folder}/data", "--models-dir", folder]
        flags += ["--no-ui", "--no-browser", "--fake-engine", str(rate)]
        with (
            output.open("wb") as log,
            subprocess.Popen(  # noqa: ASYNC220 - nobody else waits on this loop yet
                [sys.executable, "-m", "webui", "serve", *flags], stdout=log
            ) as started,
        ):
            try:
                await _claimed(port, output)
                yield port, psutil.Process(started.pid)
            finally:
                started.terminate()


async def _claimed(port: int, output: Path) -> None:
    """Wait for the code that the server prints."""
    ends_at = time.monotonic() + START_TIMEOUT_S
    while CODE.search(output.read_bytes()) is None:  # noqa: ASYNC240 - a file of one line
        if time.monotonic() > ends_at:
            raise LoadFailed(f"the server on port {port} did not get ready")
        await asyncio.sleep(0.1)
    (output.parent / "code").write_bytes(CODE.findall(output.read_bytes())[-1])  # noqa: ASYNC240


async def _crowd(port: int, process: psutil.Process, num: int) -> list[Person]:
    """Make as many accounts and sign them in."""
    folder = Path(process.cmdline()[process.cmdline().index("--models-dir") + 1])
    code, password = (folder / "code").read_text(), secrets.token_urlsafe(16)
    first = Person(port)
    await first.sign_in(ADMINISTRATOR, password, code=code)
    crowd = []
    for number in range(num):
        body = {"name": f"Person {number}", "password": password}
        (await first.ask("POST", "/api/users", body)).json()
        person = Person(port)
        await person.sign_in(f"Person {number}", password)
        crowd.append(person)
    return crowd


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
