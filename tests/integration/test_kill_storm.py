"""Kills of the whole server while people write: what it answered 202 to is there afterwards."""

from __future__ import annotations

import http.client
import signal
import sqlite3
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.serving import Server

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

NUM_ROUNDS, NUM_ROUNDS_IN_FULL = 3, 50
NUM_WRITERS = 4
NUM_ACKNOWLEDGED = 25


class Writers:
    """People who send one message after the other until the server is gone."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.acknowledged: dict[str, str] = {}  # by the id of a message, its text
        self.refused: list[BaseException] = []
        self.enough = threading.Event()
        self.threads = [
            threading.Thread(target=self._write, args=(number,)) for number in range(NUM_WRITERS)
        ]

    def write_until_killed(self, num_more: int) -> None:
        """Kill the server once so many more messages are acknowledged."""
        self.wanted = len(self.acknowledged) + num_more
        for thread in self.threads:
            thread.start()
        assert self.enough.wait(60), self.server.log.read_text()[-2000:]
        self.server.stop(signal.SIGKILL)
        for thread in self.threads:
            thread.join(60)
        assert not self.refused, self.refused

    def _write(self, number: int) -> None:
        try:
            while True:
                conversation = self.server.new_conversation()
                text = f"writer {number} says {len(self.acknowledged)} äöü"
                turn = self.server.send(conversation, text)
                self.acknowledged[turn["messages"][0]["id"]] = text
                if len(self.acknowledged) >= self.wanted:
                    self.enough.set()
        except (OSError, http.client.HTTPException):
            pass  # the server is gone, and what it did not answer is nobody's promise
        except BaseException as error:  # noqa: BLE001 - told in the test's own thread
            self.refused.append(error)
            self.enough.set()


@pytest.mark.parametrize(
    "num_rounds", [NUM_ROUNDS, pytest.param(NUM_ROUNDS_IN_FULL, marks=pytest.mark.soak)]
)
def test_what_was_acknowledged_outlives_kills_of_the_server(
    tmp_path: Path, num_rounds: int
) -> None:
    data_dir = tmp_path / "data"
    acknowledged: dict[str, str] = {}
    for number in range(num_rounds):
        server = Server(data_dir, "--no-ui", "--fake-engine", "2000", "--requests-per-s", "1000")
        server.start()
        try:
            writers = Writers(server)
            writers.write_until_killed(NUM_ACKNOWLEDGED + number % 7)
            acknowledged |= writers.acknowledged
        finally:
            server.close()
        with closing(sqlite3.connect(data_dir / "hearthside.db")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
            kept = dict(connection.execute("SELECT id, text FROM messages WHERE role = 'user'"))
        assert acknowledged.items() <= kept.items()
    assert len(acknowledged) >= num_rounds * NUM_ACKNOWLEDGED

    server = Server(data_dir, "--no-ui", "--fake-engine", "2000").start()
    try:
        with closing(sqlite3.connect(data_dir / "hearthside.db")) as connection:
            states = {row[0] for row in connection.execute("SELECT DISTINCT status FROM messages")}
        assert states <= {"complete", "interrupted"}
    finally:
        server.close()
