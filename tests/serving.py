"""A real server process for tests: start, ask, listen to its events, kill."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

START_TIMEOUT_S = 60
LISTEN_TIMEOUT_S = 60


def free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """`python -m webui serve` on a free port and a data folder of its own.

    Args:
        data_dir: Folder that outlives the process, so that a test can start it again.
        flags: Further flags.
    """

    def __init__(self, data_dir: Path, *flags: str) -> None:
        self.data_dir = data_dir
        self.flags = flags
        self.port = free_port()
        self.log = data_dir.parent / f"{data_dir.name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.token = ""  # whose requests are sent; none is the machine's own user

    @property
    def url(self) -> str:
        """Return the address of the page, without a slash at its end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Return the process id of the web process."""
        assert self.process is not None
        return self.process.pid

    def start(self, *, ready: bool = True) -> Server:
        """Start the process and wait until `/health` answers."""
        command = [sys.executable, "-m", "webui", "serve", "--no-browser"]
        flags = ["--port", str(self.port), "--data-dir", str(self.data_dir), *self.flags]
        environment = {
            key: value for key, value in os.environ.items() if not key.startswith("WEBUI_")
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *flags],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=environment,
            )
        if ready:
            self.wait_for(lambda: self.health() is not None, START_TIMEOUT_S)
        return self

    def health(self) -> dict[str, Any] | None:
        """Return what `/health` says; None while nobody listens."""
        try:
            return self.ask("GET", "/health")
        except OSError:
            return None

    def wait_for(self, condition: Callable[[], bool], timeout_s: float = 20) -> None:
        """Wait until something is so.

        Raises:
            AssertionError: It is not so in time, or the server ended; shows the end of its log.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            assert self.process is not None
            if condition():
                return
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            time.sleep(0.05)
        raise AssertionError(f"not so after {timeout_s} s; log:\n{self.log.read_text()[-3000:]}")

    def wait_for_ui(self, timeout_s: float = 90) -> None:
        """Wait until the Gradio page is served."""
        self.wait_for(lambda: (self.health() or {}).get("ui") == "ready", timeout_s)

    def wait_for_model(self, state: str = "ready", timeout_s: float = 60) -> None:
        """Wait until the model has reached a state."""
        self.wait_for(lambda: (self.health() or {})["model"]["state"] == state, timeout_s)

    def request(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Send one request; return status and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            data = None if body is None else json.dumps(body)
            sent = {"content-type": "application/json"} if data is not None else {}
            if self.token:
                sent |= {"cookie": f"hearthside={self.token}", "origin": self.url}
            connection.request(method, path, data, {**sent, **(headers or {})})
            response = connection.getresponse()
            return response.status, response.read()

    def ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Send one JSON request that must succeed; return the answer."""
        status, answer = self.request(method, path, body)
        assert status < 400, f"{method} {path}: {status} {answer!r}"
        return json.loads(answer) if answer else {}

    def first_run_code(self) -> str:
        """Return the code that the server printed at its last start."""
        code = re.findall(r"The code is (\S+);", self.log.read_text())
        return str(code[-1])

    def claim(self, name: str, password: str) -> str:
        """Make the administrator; returns their token, which further requests do not use."""
        body = {"code": self.first_run_code(), "name": name, "password": password}
        return self._token_of("/api/first-run", body)

    def sign_in(self, name: str, password: str) -> str:
        """Sign in; returns the token, which further requests do not use."""
        return self._token_of("/api/session", {"name": name, "password": password})

    def _token_of(self, path: str, body: dict[str, str]) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            kind = {"content-type": "application/json"}
            connection.request("POST", path, json.dumps(body), kind)
            response = connection.getresponse()
            answer = response.read()
            assert response.status < 300, answer
            cookie = response.headers["set-cookie"]
            return str(cookie.partition("=")[2].partition(";")[0])

    def new_conversation(self) -> str:
        """Create a conversation and return its id."""
        conversation_id: str = self.ask("POST", "/api/conversations", {})["conversation"]["id"]
        return conversation_id

    def send(self, conversation_id: str, text: str, parent_id: str | None = None) -> dict[str, Any]:
        """Send a message; return the turn."""
        body = {"mode": "send", "parent_id": parent_id, "text": text}
        return self.ask("POST", f"/api/conversations/{conversation_id}/messages", body)

    def transcript(self, conversation_id: str) -> dict[str, Any]:
        """Return a whole conversation."""
        return self.ask("GET", f"/api/conversations/{conversation_id}")

    def reply(self, conversation_id: str) -> dict[str, Any]:
        """Return the newest message of a conversation."""
        message: dict[str, Any] = self.transcript(conversation_id)["messages"][-1]
        return message

    def wait_for_reply(self, conversation_id: str, timeout_s: float = 60) -> dict[str, Any]:
        """Wait until the newest message is no longer being written; return it."""
        unfinished = {"pending", "streaming"}
        self.wait_for(lambda: self.reply(conversation_id)["status"] not in unfinished, timeout_s)
        return self.reply(conversation_id)

    @contextlib.contextmanager
    def events(self, after: str | None = None) -> Iterator[Iterator[dict[str, Any]]]:
        """Listen to the event stream of this user."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request("GET", "/api/events" + (f"?after={after}" if after else ""))
            response = connection.getresponse()
            assert response.status == 200
            yield _parse_sse(response)

    def children(self) -> list[psutil.Process]:
        """Return the processes that the server started."""
        return psutil.Process(self.pid).children(recursive=True)

    def stop(self, how: signal.Signals = signal.SIGTERM, timeout_s: float = 15) -> int:
        """Signal the server and wait for its end; return the exit code."""
        assert self.process is not None
        self.process.send_signal(how)
        return self.process.wait(timeout_s)

    def close(self) -> None:
        """Make sure that nothing of it is left."""
        if self.process is not None and self.process.poll() is None:
            left = self.children()
            self.process.kill()
            self.process.wait(10)
            for child in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()


@contextlib.contextmanager
def house_with_page(folder: Path, *flags: str) -> Iterator[Server]:
    """Serve the whole page to its administrator Ann, with a made-up model and an empty library."""
    models = folder / "models"
    models.mkdir()
    fast = ("--fake-engine", "500", "--requests-per-s", "1000")
    server = Server(folder / "data", *fast, "--models-dir", str(models), *flags).start()
    try:
        server.token = server.claim("Ann", "four words in a row")
        server.wait_for_ui()
        yield server
    finally:
        server.close()


def _parse_sse(response: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    event_id, deadline = "", time.monotonic() + LISTEN_TIMEOUT_S
    while line := response.readline():
        assert time.monotonic() < deadline, "the event that was waited for did not come"
        if line.startswith(b"id: "):
            event_id = line[4:].decode().strip()
        elif line.startswith(b"data: "):
            yield {"id": event_id, **json.loads(line[6:])}
