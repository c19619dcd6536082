"""A server whose database is held, full or damaged: accounts are told so, and nothing is lost."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.other_programs import held, run_on_small_disk
from tests.serving import Server

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

PASSWORD = "four words in a row"  # noqa: S105 - of nobody
SHORT_S, LONG_S = 5, 30
PATIENCE_S = 10  # of the server with another program
MAX_READ_S = 3

FULL = """
import json, sys
from pathlib import Path
from tests.serving import Server

folder = Path(sys.argv[1])
server = Server(folder / "data", "--no-ui", "--fake-engine", "50")
said = {}
try:
    server.start()
    server.token = server.claim("Ann", "four words in a row")
    chat = server.new_conversation()
    (folder / "ballast").write_bytes(b"")
    with (folder / "ballast").open("ab", buffering=0) as ballast:
        try:
            while True:
                ballast.write(bytes(4096))
        except OSError:
            pass
    body = {"name": "Bob", "password": "four words in a row"}
    refused = server.request("POST", "/api/users", body)
    while refused[0] < 300:  # what is left in the file itself
        body["name"] += "b"
        refused = server.request("POST", "/api/users", body)
    said["refused"] = [refused[0], json.loads(refused[1])]
    text = {"mode": "send", "parent_id": None, "text": "x" * 200_000}
    sent = server.request("POST", f"/api/conversations/{chat}/messages", text)
    said["sent"] = sent[0]
    said["me"] = server.request("GET", "/api/me")[0]
    said["chat"] = len(server.transcript(chat)["messages"])
    (folder / "ballast").unlink()
    said["after"] = server.request("POST", "/api/users", body)[0]
    said["people"] = [user["name"] for user in server.ask("GET", "/api/users")["users"]]
    said["name"] = body["name"]
    said["exit"] = server.stop()
finally:
    server.close()
    print(json.dumps(said | {"log": server.log.read_text()[-3000:]}))
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server with an administrator, who asks."""
    made = Server(tmp_path / "data", "--no-ui", "--fake-engine", "50").start()
    made.token = made.claim("Ann", PASSWORD)
    yield made
    made.close()


def add(server: Server, name: str) -> tuple[int, dict[str, dict[str, str]], float]:
    """Add somebody; returns status, answer and how long it took."""
    began = time.monotonic()
    body = {"name": name, "password": PASSWORD}
    status, answer = server.request("POST", "/api/users", body)
    return status, json.loads(answer), time.monotonic() - began


def names(server: Server) -> set[str]:
    return {user["name"] for user in server.ask("GET", "/api/users")["users"]}


@pytest.mark.parametrize("held_s", [SHORT_S, pytest.param(LONG_S, marks=pytest.mark.soak)])
def test_database_that_another_program_holds_costs_time_and_no_account(
    server: Server, held_s: float
) -> None:
    chat = server.new_conversation()
    server.send(chat, "long 100")
    path = server.data_dir / "hearthside.db"
    with ThreadPoolExecutor(4) as people:
        with held(path):
            began = time.monotonic()
            added = [people.submit(add, server, name) for name in ("Bob", "Cid")]
            for route in ("/api/me", "/api/users", "/api/sessions", "/health"):
                asked = time.monotonic()
                server.ask("GET", route)
                assert time.monotonic() - asked < MAX_READ_S  # reading goes on
            time.sleep(max(0.0, began + held_s - time.monotonic()))
        answers = [one.result(40) for one in added]
    for status, answer, took_s in answers:
        if held_s == SHORT_S:
            assert status == 201
            assert took_s > held_s - 2
        else:
            assert status == 503
            assert answer["error"]["code"] == "storage_busy"
            assert answer["error"]["hint"]
            assert PATIENCE_S - 1 < took_s < 2 * PATIENCE_S + 5  # behind a reply that is saved
    kept = {answer["user"]["name"] for status, answer, _ in answers if status == 201}
    assert names(server) == {"Ann"} | kept
    assert add(server, "Dan")[0] == 201
    assert server.sign_in("Ann", PASSWORD)
    reply = server.wait_for_reply(chat)  # begun before, and saved in the end
    assert reply["status"] == "complete"
    assert len(reply["text"].split()) == 100


def test_full_disk_refuses_people_and_keeps_those_there_are(tmp_path: Path) -> None:
    said = json.loads(run_on_small_disk(tmp_path, FULL, size="6m"))
    status, answer = said["refused"]
    assert status == 507, said
    assert answer["error"]["code"] == "storage_full"
    assert "is full" in answer["error"]["message"]
    assert answer["error"]["hint"]
    assert said["sent"] == 507
    assert said["chat"] == 0
    assert said["me"] == 200  # who is signed in stays so
    assert said["after"] == 201
    assert {"Ann", said["name"]} <= set(said["people"])
    assert said["exit"] == 0
    assert "Traceback" not in said["log"]


def test_damaged_accounts_are_refused_and_come_back_from_the_backup(server: Server) -> None:
    assert add(server, "Bob")[0] == 201
    server.ask("POST", "/api/admin/backups")
    assert server.stop() == 0
    path = server.data_dir / "hearthside.db"
    with closing(sqlite3.connect(path)) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'users'")
        (size,) = connection.execute("PRAGMA page_size")
    raw = bytearray(path.read_bytes())
    begin = (page[0] - 1) * size[0]
    raw[begin : begin + size[0]] = b"\xa5" * size[0]
    path.write_bytes(raw)

    server.start(ready=False)
    assert server.process is not None
    assert server.process.wait(60) == 1
    assert path.read_bytes() == raw  # left for who wants to save what can be read
    said = server.log.read_text().splitlines()[-1]
    assert "cannot be used" in said
    backup = said.partition("webui restore ")[2].partition(";")[0]
    assert Path(backup).is_file()
    restore = [sys.executable, "-m", "webui", "restore", backup, "--yes"]
    done = subprocess.run(
        [*restore, "--data-dir", str(server.data_dir)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    server.start()
    server.token = server.sign_in("Ann", PASSWORD)
    assert names(server) == {"Ann", "Bob"}
