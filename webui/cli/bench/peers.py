"""The processes that are measured: a Hearthside of our own and llama-server, both on free ports.

Knows how each is started, loaded alike and ended; sends no prompts. Touches neither the user's
data folder nor a running server.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from webui.errors import LoadFailed
from webui.hub.catalog import Catalog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

START_TIMEOUT_S = 120
STOP_TIMEOUT_S = 15
INFO_TIMEOUT_S = 60
STDERR = 2
PORT = "PORT"  # in commands that are shown
BATCH_SIZE = 2048
UBATCH_SIZE = 512
KV_TYPE = "f16"
HOW_TO_BUILD = 'webui/docs/development.md, "llama-server to measure against", says how to build it.'
_SYSTEM_INFO = re.compile(r"system_info:.*")


@dataclass(frozen=True, slots=True)
class Shape:
    """How both sides are loaded.

    Attributes:
        threads: Compute threads; None leaves each side its default.
        num_streams: Replies at once: our slots, the peer's `-np`.
        context_length: Tokens of each of them; the peer's `-c` is the product.
        flash_attn: Of both sides: `on`, `off` or `auto`. Off is faster on a processor, with
            llama-server too.
    """

    threads: int | None
    num_streams: int
    context_length: int
    flash_attn: str = "off"

    def load_options(self) -> dict[str, int | str]:
        """Return the options of our llama.cpp loader; flash attention and KV type are fixed."""
        options: dict[str, int | str] = {
            "flash_attn": self.flash_attn,
            "slots": self.num_streams,
            "context_length": self.context_length,
            "batch_size": BATCH_SIZE,
            "ubatch_size": UBATCH_SIZE,
        }
        if self.threads is not None:
            options |= {"threads": self.threads, "threads_batch": self.threads}
        return options


@dataclass(frozen=True, slots=True)
class Served:
    """A server that answers `/v1/chat/completions` on this machine."""

    port: int
    pid: int


def peer_command(binary: Path, model: Path, shape: Shape, port: int | str = PORT) -> list[str]:
    """Return the peer's full command; what is not named, its prompt cache too, is its default."""
    command = [str(binary), "-m", str(model), "--host", "127.0.0.1", "--port", str(port)]
    command += ["-np", str(shape.num_streams), "-c", str(shape.num_streams * shape.context_length)]
    command += ["-b", str(BATCH_SIZE), "-ub", str(UBATCH_SIZE), "-fa", shape.flash_attn]
    command += ["-ctk", KV_TYPE, "-ctv", KV_TYPE, "--no-webui"]
    if shape.threads is not None:
        command += ["-t", str(shape.threads), "-tb", str(shape.threads)]
    return command


def find_peer(path: Path | None) -> Path:
    """Return the peer's program.

    Raises:
        LoadFailed: None is named, or it is none: no number is made up without it.
    """
    if path is None:
        raise LoadFailed("bench engine measures beside llama-server: --llama-server", HOW_TO_BUILD)
    if not path.is_file():
        raise LoadFailed(f"{path} is not a file", HOW_TO_BUILD)
    return path.resolve()


def peer_system_info(binary: Path) -> str:
    """Return the peer's own line about its build, which it tells before it opens a model.

    Raises:
        LoadFailed: It cannot be run or is no llama-server.
    """
    command = [str(binary), "-lv", "4", "-m", "/nonexistent.gguf", "--port", str(free_port())]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=INFO_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LoadFailed(f"{binary} does not run: {error}", HOW_TO_BUILD) from error
    found = _SYSTEM_INFO.search((done.stderr + done.stdout).decode("utf-8", "replace"))
    if found is None:
        raise LoadFailed(f"{binary} is not a llama-server: it tells no system_info", HOW_TO_BUILD)
    return found[0].strip()


@contextlib.contextmanager
def peer_server(binary: Path, model: Path, shape: Shape) -> Iterator[Served]:
    """Start the peer, wait until its model is loaded, and end it.

    Raises:
        LoadFailed: It did not get ready; its last words are in the message.
    """
    port = free_port()
    with tempfile.TemporaryFile() as log:
        command = peer_command(binary, model, shape, port)
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log) as process:
            try:
                if not _is_ready(process, port, lambda health: health.get("status") == "ok"):
                    log.seek(0)
                    lines = log.read().decode("utf-8", "replace").strip().splitlines() or ["silent"]
                    raise LoadFailed(f"llama-server did not get ready: {lines[-1]}")
                yield Served(port, process.pid)
            finally:
                _end(process)


@contextlib.contextmanager
def own_server(
    model: Path, options: Mapping[str, int | str], data_dir: Path | None = None
) -> Iterator[Served]:
    """Start a Hearthside with nothing but this model, wait until it is loaded, and end it.

    Args:
        model: GGUF file.
        options: Of our llama.cpp loader.
        data_dir: Kept when it ends; None takes a fresh one each time.

    Raises:
        LoadFailed: It did not get ready.
    """
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        flags = ["--port", str(port), "--data-dir", str(data_dir or folder)]
        flags += ["--models-dir", str(model.parent), "--no-ui", "--no-browser"]
        command = [sys.executable, "-m", "webui", "serve", *flags]
        # Standard output is for figures alone.
        with subprocess.Popen(command, stdout=STDERR) as process:
            try:
                # A kept folder remembers the model and how it was loaded.
                if _wait_for_model_state(process, port, "none", "ready") == "none":
                    body = {"model_id": model.name, "options": dict(options)}
                    _ask(port, "POST", "/api/models/load", body)
                    _wait_for_model_state(process, port, "ready")
                yield Served(port, process.pid)
            finally:
                _end(process)


def find_model(name: str | None, models_dir: Path) -> Path:
    """Return the file of a model: by path, by name, or the first one that can be opened.

    Raises:
        LoadFailed: There is none.
    """
    if name and Path(name).is_file():
        return Path(name).resolve()
    catalog = Catalog(models_dir)
    if name:
        return catalog.get(name).path
    usable = [file for file in catalog.list() if not file.error]
    if not usable:
        raise LoadFailed(
            f"there is no model in {models_dir}", "Start “webui --starter” once, or use --model."
        )
    return usable[0].path


def free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _ask(port: int, method: str, path: str, body: object = None) -> dict[str, Any]:
    """Send one JSON request and return the answer.

    Raises:
        LoadFailed: The server refused.
        OSError: Nobody listens yet.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(connection):
        connection.request(method, path, json.dumps(body), {"content-type": "application/json"})
        response = connection.getresponse()
        answer: dict[str, Any] = json.loads(response.read())
    if response.status >= http.HTTPStatus.BAD_REQUEST:
        raise LoadFailed(f"{path} answered {response.status}: {answer}")
    return answer


def _wait_for_model_state(process: subprocess.Popen[bytes], port: int, *wanted: str) -> str:
    """Wait until the model is in one of the states, and return that.

    Raises:
        LoadFailed: It did not get there.
    """
    states = {*wanted, "failed"}
    if _is_ready(process, port, lambda health: health["model"]["state"] in states):
        state: str = _ask(port, "GET", "/health")["model"]["state"]
        if state in wanted:
            return state
    raise LoadFailed("the server for the measurement did not get ready", "See its output above.")


def _is_ready(
    process: subprocess.Popen[bytes], port: int, is_wanted: Callable[[dict[str, Any]], bool]
) -> bool:
    """Wait until `/health` is as wanted; False when the process ended or the time is over."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError, LoadFailed):
            if is_wanted(_ask(port, "GET", "/health")):
                return True
        time.sleep(0.1)
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
