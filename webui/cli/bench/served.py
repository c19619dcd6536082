"""A server that was started for a measurement: where it answers, when it is ready, its end.

Knows processes and `/health`; neither how a side is started nor what it is asked.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

START_TIMEOUT_S = 120
STOP_TIMEOUT_S = 15
HEALTH_TIMEOUT_S = 30
LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class Served:
    """A server that answers `/v1/chat/completions` on this machine.

    Attributes:
        port: Of the loopback address.
        pid: Of its process.
        keys: An API key of each owner; none where it knows no owners, as the peer.
    """

    port: int
    pid: int
    keys: tuple[str, ...] = ()

    def headers(self, owner_index: int = 0) -> dict[str, str]:
        """Return the headers of a request of one owner."""
        said = {"content-type": "application/json"}
        return said | ({"authorization": f"Bearer {self.keys[owner_index]}"} if self.keys else {})


def free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def is_ready(
    process: subprocess.Popen[bytes], port: int, is_wanted: Callable[[dict[str, Any]], bool]
) -> bool:
    """Wait until `/health` is as wanted; False when the process ended or the time is over."""
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline_s and process.poll() is None:
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            if is_wanted(health_of(port)):
                return True
        time.sleep(LOOK_S)
    return False


def health_of(port: int) -> dict[str, Any]:
    """Return what `/health` says, of a server that is not ready too.

    Raises:
        OSError: Nobody listens yet.
        HTTPException: What answers is no web server.
        ValueError: It says no JSON.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=HEALTH_TIMEOUT_S)
    with contextlib.closing(connection):
        connection.request("GET", "/health")
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
    return answer


def end(process: subprocess.Popen[bytes]) -> None:
    """Have a process end, and kill it if it does not in time."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
