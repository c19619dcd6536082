"""`webui bench stack`: what the whole stack keeps of the bare library's speed, on this machine.

Starts its own server and its own bare decode loop as child processes, lets them take turns and
prints medians and their ratio. Touches neither the user's data folder nor a running server.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
import psutil

from webui.cli.bench.own_server import own_server
from webui.cli.bench.peers import find_model
from webui.engine.cores import num_cores
from webui.errors import LoadFailed
from webui.settings import load as load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from webui.cli.bench.served import Served

REQUEST_TIMEOUT_S = 600
IDLE_S = 8
CONTEXT_LENGTH = 2048


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one side.

    Attributes:
        prompt_tokens_per_s: Prompt tokens over the time to the first token.
        tokens_per_s: Tokens after the first over the time from first to last.
        web_cpu_ms_per_token: All CPU of the web process over the tokens; 0 for the bare loop.
        web_cpu_beyond_idle_ms_per_token: The same without what it takes idle in that time.
    """

    prompt_tokens_per_s: float
    tokens_per_s: float
    web_cpu_ms_per_token: float = 0.0
    web_cpu_beyond_idle_ms_per_token: float = 0.0


@dataclass(frozen=True, slots=True)
class Report:
    """Medians over paired runs; ratios are served over bare, pair by pair."""

    model: str
    num_threads: int
    num_pairs: int
    num_prompt: int
    num_tokens: int
    bare: Run
    served: Run
    prompt_ratio: float
    tokens_ratio: float
    web_rss_mb: float
    worker_rss_mb: float
    idle_cpu_percent: float


@click.command()
@click.option("--model", help="Model to measure: name or path; the first one found by default.")
@click.option("--models-dir", type=click.Path(path_type=Path), help="Folder of model files.")
@click.option("--threads", type=click.IntRange(1), help="Compute threads [cores - 1].")
@click.option("--pairs", type=click.IntRange(1, 99), default=7, show_default=True)
@click.option("--prompt", "num_prompt", type=click.IntRange(32, 1024), default=256)
@click.option("--tokens", "num_tokens", type=click.IntRange(16, 1000), default=192)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def stack(
    *,
    model: str | None,
    models_dir: Path | None,
    threads: int | None,
    pairs: int,
    num_prompt: int,
    num_tokens: int,
    as_json: bool,
) -> None:
    """Measure prompt and generation speed through HTTP beside the bare decode loop."""
    settings = load_settings({"models_dir": models_dir} if models_dir else {})
    path = find_model(model, settings.models_dir or settings.data_dir / "models")
    num_threads = threads or max(1, num_cores() - 1)
    report = measure(path, num_threads, pairs, num_prompt, num_tokens)
    click.echo(json.dumps(asdict(report)) if as_json else table(report))


def measure(path: Path, num_threads: int, pairs: int, num_prompt: int, num_tokens: int) -> Report:
    """Run both sides in turn, A B A B, and take medians.

    Raises:
        LoadFailed: One of the two sides did not start or did not answer.
    """
    bare_runs, served_runs = [], []
    options = {"threads": num_threads, "context_length": CONTEXT_LENGTH}
    with bare_loop(path, num_threads) as bare, own_server(path, options) as served:
        server = OwnServer(served)
        server.run(num_prompt, num_tokens, 1)
        bare.run(server.prompt_tokens, num_tokens, 1)
        idle = server.measure_idle(IDLE_S)
        for pair in range(2, pairs + 2):
            served_runs.append(server.run(num_prompt, num_tokens, pair))
            bare_runs.append(bare.run(server.prompt_tokens, num_tokens, pair))
        web_mb, worker_mb = server.rss_mb()
    return Report(
        model=path.stem,
        num_threads=num_threads,
        num_pairs=pairs,
        num_prompt=server.prompt_tokens,
        num_tokens=num_tokens,
        bare=_median(bare_runs),
        served=_median(served_runs),
        prompt_ratio=_ratio(served_runs, bare_runs, "prompt_tokens_per_s"),
        tokens_ratio=_ratio(served_runs, bare_runs, "tokens_per_s"),
        web_rss_mb=web_mb,
        worker_rss_mb=worker_mb,
        idle_cpu_percent=idle,
    )


def table(report: Report) -> str:
    """Lay a report out for reading."""
    rows = [
        ("", "bare loop", "served", "ratio"),
        (
            "prompt tok/s",
            f"{report.bare.prompt_tokens_per_s:.1f}",
            f"{report.served.prompt_tokens_per_s:.1f}",
            f"{report.prompt_ratio:.3f}",
        ),
        (
            "generation tok/s",
            f"{report.bare.tokens_per_s:.1f}",
            f"{report.served.tokens_per_s:.1f}",
            f"{report.tokens_ratio:.3f}",
        ),
    ]
    lines = ["".join(f"{cell:>18}" for cell in row) for row in rows]
    return "\n".join(
        [
            f"{report.model}, {report.num_threads} thread(s), {report.num_pairs} pairs of "
            f"{report.num_prompt} prompt + {report.num_tokens} new tokens, medians",
            *lines,
            f"web process: {report.served.web_cpu_ms_per_token:.3f} ms CPU a token "
            f"({report.served.web_cpu_beyond_idle_ms_per_token:.3f} beyond idle), "
            f"{report.web_rss_mb:.0f} MB, {report.idle_cpu_percent:.1f} % of a core idle; "
            f"worker: {report.worker_rss_mb:.0f} MB",
        ]
    )


class BareLoop:
    """The bare decode loop in a child process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, num_prompt: int, num_tokens: int, seed: int) -> Run:
        """Make one run.

        Raises:
            LoadFailed: The child ended.
        """
        job = {"num_prompt": num_prompt, "num_tokens": num_tokens, "seed": seed}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise LoadFailed("the bare decode loop ended", "Try another model or --threads 1.")
        return Run(**json.loads(answer))


class OwnServer:
    """A Hearthside of our own on a free port, driven over HTTP streaming."""

    def __init__(self, served: Served) -> None:
        self._web = psutil.Process(served.pid)
        self._port = served.port
        self._headers = served.headers()
        self._idle_share = 0.0
        self.prompt_tokens = 0

    def run(self, num_prompt: int, num_tokens: int, seed: int) -> Run:
        """Ask for one reply to a prompt never seen before and time its stream."""
        words = " ".join(f"{seed}{i % 10}" for i in range(max(1, num_prompt // 3 - 10)))
        body = {
            "messages": [{"role": "user", "content": words}],
            "max_tokens": num_tokens,
            "seed": seed,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        cpu_before_s = self._cpu_s()
        started = time.perf_counter()
        stamps, usage = self._stream(json.dumps(body))
        idle_s = self._idle_share * (time.perf_counter() - started)
        cpu_s = self._cpu_s() - cpu_before_s
        self.prompt_tokens = usage["prompt_tokens"]
        return Run(
            prompt_tokens_per_s=usage["prompt_tokens"] / (stamps[0] - started),
            tokens_per_s=(usage["completion_tokens"] - 1) / (stamps[-1] - stamps[0]),
            web_cpu_ms_per_token=1000 * cpu_s / usage["completion_tokens"],
            web_cpu_beyond_idle_ms_per_token=1000 * (cpu_s - idle_s) / usage["completion_tokens"],
        )

    def _stream(self, body: str) -> tuple[list[float], dict[str, int]]:
        """Return when each piece of text came, and the token counts."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=REQUEST_TIMEOUT_S)
        stamps: list[float] = []
        usage: dict[str, int] = {}
        with contextlib.closing(connection):
            connection.request("POST", "/v1/chat/completions", body, self._headers)
            response = connection.getresponse()
            if response.status != http.HTTPStatus.OK:
                raise LoadFailed(f"the server answered {response.status}: {response.read()!r}")
            while line := response.readline():
                if b'"content":"' in line and b'"content":""' not in line:
                    stamps.append(time.perf_counter())
                elif b'"usage":{' in line:
                    usage = json.loads(line.removeprefix(b"data: "))["usage"]
        if not usage or len(stamps) < 2:
            raise LoadFailed("the stream ended without figures")
        return stamps, usage

    def measure_idle(self, seconds: float) -> float:
        """Return the percentage of a core the web process takes while nobody asks anything."""
        before_s = self._cpu_s()
        time.sleep(seconds)
        self._idle_share = (self._cpu_s() - before_s) / seconds
        return 100 * self._idle_share

    def _cpu_s(self) -> float:
        """Return the CPU seconds of the web process so far, to the nanosecond where there is a way.

        psutil counts in clock ticks of 10 ms: of a short reply that is a quarter.
        """
        if psutil.LINUX:
            # The clock id of another process: MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED), Linux.
            return time.clock_gettime((~self._web.pid << 3) | 2)
        return sum(self._web.cpu_times()[:2])

    def rss_mb(self) -> tuple[float, float]:
        """Return the resident megabytes of the web process and of its children."""
        children = sum(child.memory_info().rss for child in self._web.children(recursive=True))
        return self._web.memory_info().rss / 1e6, children / 1e6


@contextlib.contextmanager
def bare_loop(path: Path, num_threads: int) -> Iterator[BareLoop]:
    """Start the bare loop and end it."""
    command = [sys.executable, "-m", "webui.loaders.llama_cpp.bare_loop"]
    with subprocess.Popen(
        [*command, str(path), str(num_threads), str(CONTEXT_LENGTH)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise LoadFailed(f"the bare decode loop cannot load {path}")
            yield BareLoop(process)
        finally:
            process.kill()


def _median(runs: list[Run]) -> Run:
    return Run(*(statistics.median(getattr(run, name) for run in runs) for name in Run.__slots__))


def _ratio(served: list[Run], bare: list[Run], name: str) -> float:
    pairs = zip(served, bare, strict=True)
    ratios: list[float] = [getattr(ours, name) / getattr(theirs, name) for ours, theirs in pairs]
    return statistics.median(ratios)
