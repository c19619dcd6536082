"""The database beside other programs: a long transaction, a full disk, the alembic command."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.other_programs import ROOT, held, run_on_small_disk
from webui.storage import conversations, settings
from webui.storage.database import Database

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

HELD_S = 1.0

SMALL_DISK = """
import asyncio, sys
from pathlib import Path
from webui.errors import StorageFull
from webui.storage import settings
from webui.storage.database import Database

async def main(folder):
    ballast = folder / "ballast"
    ballast.write_bytes(bytes(500_000))
    database = Database(folder / "hearthside.db")
    await database.open()
    await database.run(settings.put, "local", "before", 1)
    kept = 0
    try:
        for kept in range(1000):
            await database.run(settings.put, "local", f"n{kept}", "x" * 50_000)
    except StorageFull as error:
        print(error.message)
    ballast.unlink()
    await database.run(settings.put, "local", "after", 1)
    assert await database.read(settings.find, "local", "before") == 1
    assert kept > 5
    assert await database.read(settings.find, "local", f"n{kept - 1}") == "x" * 50_000
    assert await database.read(settings.find, "local", f"n{kept}") is None
    await database.close()
    print("sound")

asyncio.run(main(Path(sys.argv[1])))
"""


async def test_write_waits_for_another_programs_transaction(tmp_path: Path) -> None:
    path = tmp_path / "hearthside.db"
    database = Database(path)
    await database.open()
    with held(path):
        began = time.monotonic()
        writing = asyncio.create_task(database.run(settings.put, "local", "x", 1))
        await asyncio.sleep(HELD_S)
        assert not writing.done()
        assert await database.read(settings.find, "local", "x") is None  # meanwhile
    await writing
    assert HELD_S <= time.monotonic() - began < HELD_S + 5
    assert await database.read(settings.find, "local", "x") == 1
    await database.close()


def test_disk_that_is_really_full_is_said_and_nothing_is_lost(tmp_path: Path) -> None:
    full, sound = run_on_small_disk(tmp_path, SMALL_DISK, size="3m", timeout_s=60).splitlines()
    assert "is full" in full
    assert sound == "sound"


async def test_ten_thousand_conversations_are_listed_at_once(tmp_path: Path) -> None:
    path = tmp_path / "hearthside.db"
    database = Database(path)
    await database.open()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)"
            "INSERT INTO conversations SELECT 'c' || i, 'local', 't' || i, 1, NULL, 1, i,"
            " '2026-01-01 00:00:00', '2026-01-01 00:00:00', NULL, NULL FROM n"
        )
        connection.commit()
    took = []
    before = "5000"
    for _ in range(9):
        began = time.perf_counter()
        page = await database.read(conversations.list_page, "local", limit=50, before=before)
        took.append(time.perf_counter() - began)
        assert len(page.conversations) == 50
        assert page.next is not None
        before = page.next
    # Sorting all of them takes several times this even on an idle core.
    assert min(took) < 0.02
    await database.close()


def alembic(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "alembic", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def test_alembic_command_works_on_a_named_file_while_nobody_uses_it(tmp_path: Path) -> None:
    path = tmp_path / "hearthside.db"
    named = ("-x", f"database={path}")
    database = Database(path)
    await database.open()
    refused = alembic(*named, "upgrade", "head")
    assert refused.returncode != 0
    assert "already uses" in refused.stderr
    await database.close()
    for command in (["downgrade", "base"], ["upgrade", "head"], ["check"]):
        found = alembic(*named, *command)
        assert found.returncode == 0, found.stderr
    assert "-x database=PATH" in alembic("current").stderr
    await database.open()
    await database.close()
