"""What is acknowledged survives `kill -9`; what was half done can be done again."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections import defaultdict
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from webui.errors import StorageUnusable
from webui.storage import api_keys, generations, messages, sessions, usage, users
from webui.storage.database import Database
from webui.storage.schema import SCRIPTS, Schema
from webui.storage.tables import MessageStatus, utc_now

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

ROOT = Path(__file__).parents[3]
STORM = Path(__file__).with_name("storm.py")
NUM_ROUNDS, NUM_ROUNDS_IN_FULL = 5, 50
NUM_ACKNOWLEDGED = 60

NEXT = """
import os, signal
import sqlalchemy as sa
from alembic import op
revision, down_revision, branch_labels, depends_on = "{after}", "{head}", None, None
def upgrade():
    op.add_column("users", sa.Column("age", sa.Integer()))
    op.execute("UPDATE settings SET value = '\\"changed\\"'")
    {end}
def downgrade():
    op.drop_column("users", "age")
"""


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def storm_until_killed(path: Path, num_lines: int) -> list[list[str]]:
    """Let a process write, kill it in the middle, return all it said was saved."""
    with start(STORM, path) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        first = child.stdout.readline()
        assert first == "open\n", child.stderr.read()
        lines = [child.stdout.readline() for _ in range(num_lines)]
        child.send_signal(signal.SIGKILL)
        lines += child.stdout.readlines()
    acknowledged = [line.split() for line in lines if line.endswith("\n")]
    assert len(acknowledged) >= num_lines
    return acknowledged


class Acknowledged:
    """What was said to be saved, by all processes so far."""

    def __init__(self) -> None:
        self.num_lines = 0
        self._asked: dict[str, set[str]] = defaultdict(set)
        self._progress: dict[tuple[str, str], int] = {}
        self._joined: dict[str, tuple[str, str, int]] = {}
        self._left: set[str] = set()

    def note(self, line: list[str]) -> None:
        """Take one line of a process."""
        self.num_lines += 1
        match line:
            case ["said", conversation, message, reply, number]:
                self._asked[conversation].add(message)
                self._progress[conversation, reply] = int(number)
            case ["joined", user, session, key, _, number]:
                self._joined[user] = session, key, int(number)
            case ["left", user]:
                self._left.add(user)
            case _:
                raise AssertionError(line)

    async def check(self, database: Database) -> None:
        """Find all of it in the database."""
        for (conversation, reply_id), number in self._progress.items():
            rows = {m.id: m for m in await database.read(messages.list_of, "local", conversation)}
            assert self._asked[conversation] <= set(rows)
            reply = rows[reply_id]
            assert len(reply.text) >= number
            assert reply.status is MessageStatus.INTERRUPTED
        assert self._left
        today = utc_now().date() - timedelta(days=1)
        people = {user.id for user in await database.read(users.list_all)}
        assert not self._left & people
        num_unsaid = 0  # whose leaving may have been saved and not said
        for user, (session, key, number) in self._joined.items():
            if user in self._left:
                continue
            if user not in people and number % 5 == 0:
                num_unsaid += 1
                continue
            (found,) = await database.read(sessions.list_newest, user)
            assert found.id == session
            assert [row.id for row in await database.read(api_keys.list_newest, user)] == [key]
            (spent,) = await database.read(usage.list_since, user, today)
            assert spent.completion_tokens == number
        assert num_unsaid <= len({conversation for conversation, _ in self._progress}) // 3


@pytest.mark.parametrize(
    "num_rounds", [NUM_ROUNDS, pytest.param(NUM_ROUNDS_IN_FULL, marks=pytest.mark.soak)]
)
@pytest.mark.timeout(900)
async def test_kill_in_a_storm_of_writes_loses_nothing_acknowledged(
    tmp_path: Path, num_rounds: int
) -> None:
    path = tmp_path / "data" / "hearthside.db"
    said = Acknowledged()
    for number in range(num_rounds):  # not always after as many lines
        for line in storm_until_killed(path, NUM_ACKNOWLEDGED + number % 7):
            said.note(line)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    database = Database(path)
    await database.open()
    assert said.num_lines >= num_rounds * NUM_ACKNOWLEDGED
    await said.check(database)
    assert await database.read(generations.list_live, "local") == []
    await database.close()


async def test_two_processes_cannot_use_one_folder(tmp_path: Path) -> None:
    path = tmp_path / "hearthside.db"
    with start(STORM, path) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
        database = Database(path)
        with pytest.raises(StorageUnusable, match="already uses"):
            await database.open()
        assert child.stdout.readline()  # the first one goes on
        child.kill()
        child.stdout.read()
    await database.open()  # a killed process leaves no lock behind
    await database.close()


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), signal.SIGKILL)", "raise OSError(28, 'x')"])
async def test_migration_that_died_half_way_is_made_again(tmp_path: Path, end: str) -> None:
    path = tmp_path / "data" / "hearthside.db"
    database = Database(path)
    await database.open()
    await database.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO settings VALUES ('local', 'theme', '\"old\"')")
        connection.commit()
        before = list(connection.iterdump())
    scripts = tmp_path / "scripts"
    shutil.copytree(SCRIPTS, scripts, ignore=shutil.ignore_patterns("__pycache__"))
    head = Schema(path).head
    after = f"{int(head) + 1:04}"
    step = scripts / "versions" / f"{after}_next.py"
    step.write_text(NEXT.format(after=after, head=head, end=end))
    code = (
        "import asyncio, sys; from pathlib import Path\n"
        "from webui.storage.database import Database\n"
        "asyncio.run(Database(Path(sys.argv[1]), scripts=Path(sys.argv[2])).open())"
    )
    with start("-c", code, path, scripts) as child:
        _, words = child.communicate(timeout=60)
    assert child.returncode == (-signal.SIGKILL if "kill" in end else 1), words
    with closing(sqlite3.connect(path)) as connection:
        assert list(connection.iterdump()) == before
    step.write_text(NEXT.format(after=after, head=head, end="pass"))
    database = Database(path, scripts=scripts)
    await database.open()
    await database.close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT value FROM settings").fetchall() == [('"changed"',)]
        assert connection.execute("SELECT age FROM users").fetchall() == [(None,)]
    copies = sorted((path.parent / "backups").iterdir())
    assert len(copies) == 2
    for copy in copies:
        with closing(sqlite3.connect(copy)) as connection:
            assert list(connection.iterdump()) == before
