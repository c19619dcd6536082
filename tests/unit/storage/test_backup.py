"""Backups: whole, checked, of one moment, and only so many."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
import threading
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from webui.errors import StorageBusy, StorageFull, StorageUnusable
from webui.storage import backup as backup_module
from webui.storage import settings
from webui.storage.backup import DAILY, MANUAL, Backups, BackupStopped, write_copy
from webui.storage.daily_backup import back_up_daily
from webui.storage.database import Database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

START = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "hearthside.db"


@pytest.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    database = Database(path)
    await database.open()
    yield database
    await database.close()


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


def wait_for(backups: Backups, num: int) -> None:
    """Wait until there are so many."""
    for _ in range(2000):
        if len(backups.list()) >= num:
            return
        time.sleep(0.005)
    pytest.fail(f"no {num} backups")


def value_in(path: Path) -> object:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT value FROM settings WHERE name = 'x'").fetchone()


async def test_backup_of_a_database_in_use_is_whole_and_private(
    database: Database, path: Path
) -> None:
    await database.run(settings.put, "local", "x", "kept")
    backups = Backups(path)
    made = await asyncio.to_thread(backups.make)
    assert backups.list() == [made]
    assert (made.kind, made.num_bytes) == (MANUAL, made.path.stat().st_size)
    assert made.path.stat().st_mode & 0o777 == 0o600
    assert backups.folder.stat().st_mode & 0o777 == 0o700
    assert [file.name for file in backups.folder.iterdir()] == [made.path.name]
    await database.run(settings.put, "local", "x", "changed")
    assert value_in(made.path) == ('"kept"',)


async def test_backup_does_not_wait_for_writers_nor_they_for_it(
    database: Database, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.run(settings.put, "local", "x", "first")
    await database.run(settings.put, "local", "filling", "y" * 400_000)
    monkeypatch.setattr(backup_module, "STEP_PAGES", 1)
    backups, middle, go_on = Backups(path), threading.Event(), threading.Event()
    steps = itertools.count()

    def pause() -> bool:
        if next(steps) == 20:
            middle.set()
            assert go_on.wait(10)
        return False

    monkeypatch.setattr(backups._stop, "is_set", pause)
    making = asyncio.create_task(asyncio.to_thread(backups.make))
    assert await asyncio.to_thread(middle.wait, 10)
    for number in range(30):
        await database.run(settings.put, "local", "x", f"later {number}")
    go_on.set()
    made = await making
    assert value_in(made.path) == ('"first"',), "it shows the moment at which it began"
    num_pages = made.num_bytes // 4096
    assert next(steps) < 2 * num_pages, "it was not begun anew"


def test_of_those_made_unasked_the_newest_stay(path: Path) -> None:
    asyncio.run(_made(path))
    clock = Clock()
    backups = Backups(path, clock)
    for number in range(10):
        clock.now = START + timedelta(days=number)
        for kind in (DAILY, "0004", MANUAL):
            backups.make(kind)
            clock.now += timedelta(hours=1)
    found = backups.list()
    assert [b.made_at for b in found] == sorted((b.made_at for b in found), reverse=True)
    assert [sum(b.kind == kind for b in found) for kind in (DAILY, "0004", MANUAL)] == [7, 5, 10]
    assert found[-1].made_at == START + timedelta(hours=2), "those made by hand all stay"


@pytest.mark.parametrize(
    ("hours", "is_due"), [(0, False), (23, False), (24, True), (-23, False), (-25, True)]
)
def test_one_is_due_after_a_day_and_after_a_clock_that_jumped(
    path: Path, hours: int, is_due: bool
) -> None:
    asyncio.run(_made(path))
    clock = Clock()
    backups = Backups(path, clock)
    assert backups.is_due()
    backups.make(DAILY)
    clock.now += timedelta(hours=hours)
    assert backups.is_due() == is_due


@pytest.mark.parametrize("kind", [DAILY, "0004"])
def test_clock_that_was_ahead_destroys_nothing(path: Path, kind: str) -> None:
    asyncio.run(_made(path))
    clock = Clock()
    backups = Backups(path, clock)
    before = [backups.make(kind)]
    for number in range(10):
        clock.now = START + timedelta(days=400 + number)
        backups.make(kind)
    clock.now = START + timedelta(days=1)
    assert backups.is_due()
    for _ in range(2):
        made = backups.make(kind)
        assert not backups.is_due()
        before.append(made)
        clock.now += timedelta(minutes=10)
    kept = [backup for backup in backups.list() if backup.made_at < START + timedelta(days=100)]
    assert sorted(b.made_at for b in kept)[-2:] == [b.made_at for b in before[-2:]]


def test_two_backups_do_not_disturb_each_other(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.run(_made(path))
    monkeypatch.setattr(backup_module, "WAIT_S", 0.05)
    with Backups(path)._alone(), pytest.raises(StorageBusy, match="Another backup"):
        Backups(path).make()
    assert Backups(path).make().path.exists()


def test_damaged_database_takes_no_good_backup_away(path: Path) -> None:
    asyncio.run(_made(path, filling=200_000))
    backups = Backups(path)
    good = backups.make(DAILY)
    content = bytearray(path.read_bytes())
    content[8192 : 8192 + 4096] = b"\xa5" * 4096
    path.write_bytes(content)
    with pytest.raises(StorageUnusable):
        backups.make(DAILY)
    assert backups.list() == [good]
    assert list(backups.folder.iterdir()) == [good.path]


def test_full_disk_leaves_what_is_there(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.run(_made(path))
    backups = Backups(path)
    good = backups.make()

    def fail(_: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backup_module, "sync", fail)
    with pytest.raises(StorageFull):
        backups.make()
    assert list(backups.folder.iterdir()) == [good.path]


def test_backup_that_is_stopped_leaves_nothing(path: Path) -> None:
    asyncio.run(_made(path))
    backups = Backups(path)
    backups.stop()
    with pytest.raises(BackupStopped):
        backups.make()
    assert list(backups.folder.iterdir()) == []


def test_leftover_of_a_kill_is_removed(path: Path) -> None:
    asyncio.run(_made(path))
    backups = Backups(path)
    backups.folder.mkdir()
    (backups.folder / "20260101T000000000000Z-daily.db.part").write_bytes(b"half")
    (backups.folder / "notes.txt").write_text("mine")
    made = backups.make()
    assert {file.name for file in backups.folder.iterdir()} == {made.path.name, "notes.txt"}


def test_copy_of_what_is_not_there_fails_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError):
        write_copy(tmp_path / "none.db", tmp_path / "copy.db")
    assert list(tmp_path.iterdir()) == []


async def test_each_day_has_its_backup(database: Database, path: Path) -> None:
    clock = Clock()
    backups = Backups(path, clock)
    task = asyncio.create_task(back_up_daily(backups, first_s=0, check_s=0.001))
    for day in range(3):
        clock.now = START + timedelta(days=day)
        await asyncio.to_thread(wait_for, backups, day + 1)
    task.cancel()
    await asyncio.wait({task})
    assert [backup.kind for backup in backups.list()] == [DAILY] * 3
    with pytest.raises(BackupStopped):
        backups.make()


async def test_backup_that_fails_is_tried_again(
    database: Database,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    backups = Backups(path)
    sync, failures = backup_module.sync, iter([OSError(28, "No space left on device")])

    def fail_once(target: Path) -> None:
        if error := next(failures, None):
            raise error
        sync(target)

    monkeypatch.setattr(backup_module, "sync", fail_once)
    task = asyncio.create_task(back_up_daily(backups, first_s=0, check_s=0.001))
    await asyncio.to_thread(wait_for, backups, 1)
    task.cancel()
    await asyncio.wait({task})
    assert "the daily backup failed: The disk" in caplog.text


async def _made(path: Path, filling: int = 10) -> None:
    database = Database(path)
    await database.open()
    await database.run(settings.put, "local", "filling", "y" * filling)
    await database.close()
