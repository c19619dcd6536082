"""A backup becomes the database, and what was there before is kept."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from webui.errors import NotFound, StorageUnusable
from webui.storage import restore as restore_module
from webui.storage import settings
from webui.storage.backup import Backups
from webui.storage.database import Database
from webui.storage.restore import restore

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "hearthside.db"


async def put(path: Path, value: str) -> None:
    database = Database(path)
    await database.open()
    await database.run(settings.put, "local", "x", value)
    await database.close()


async def found(path: Path) -> object:
    database = Database(path)
    await database.open()
    try:
        return await database.read(settings.find, "local", "x")
    finally:
        await database.close()


def left_with_a_log(path: Path) -> sqlite3.Connection:
    """Leave a database as a kill does: the last commit stands in its log alone."""
    killed = sqlite3.connect(path)
    killed.execute("PRAGMA wal_autocheckpoint = 0")
    killed.execute("UPDATE settings SET value = '\"in the log\"' WHERE name = 'x'")
    killed.commit()
    return killed


async def test_restored_is_what_was_backed_up_and_the_rest_is_kept(path: Path) -> None:
    await put(path, "old")
    backup = Backups(path).make()
    await put(path, "new")
    done = restore(backup.path, path)
    assert await found(path) == "old"
    assert backup.path.exists()
    assert done.replaced is not None
    shutil.copy(done.replaced, path)  # the way back
    assert await found(path) == "new"


async def test_log_that_was_not_folded_in_goes_with_its_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(path, "old")
    backup = Backups(path).make()
    killed = left_with_a_log(path)
    monkeypatch.setattr(restore_module, "_fold", lambda _: None)  # as if it were damaged
    done = restore(backup.path, path)
    killed.close()
    assert done.replaced is not None
    assert not path.with_name("hearthside.db-wal").exists()
    with closing(sqlite3.connect(done.replaced)) as connection:
        query = "SELECT value FROM settings WHERE name = 'x'"
        assert connection.execute(query).fetchone() == ('"in the log"',)
    assert await found(path) == "old"


async def test_where_there_is_no_database_the_backup_becomes_it(path: Path, tmp_path: Path) -> None:
    await put(path, "old")
    backup = Backups(path).make()
    other = tmp_path / "other" / "hearthside.db"
    assert restore(backup.path, other).replaced is None
    assert await found(other) == "old"
    assert other.stat().st_mode & 0o777 == 0o600


async def test_running_server_keeps_its_database(path: Path) -> None:
    await put(path, "old")
    backup = Backups(path).make()
    database = Database(path)
    await database.open()
    with pytest.raises(StorageUnusable, match="Another Hearthside"):
        await asyncio.to_thread(restore, backup.path, path)
    await database.run(settings.put, "local", "x", "goes on")
    await database.close()
    assert await found(path) == "goes on"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.write_bytes(b"no database"), "not a SQLite database"),
        (lambda path: path.write_bytes(b""), "is not Hearthside's"),
        (lambda path: path.write_bytes(path.read_bytes()[:-5000]), "damaged|malformed"),
        (lambda path: _run(path, "DROP TABLE alembic_version"), "is not Hearthside's"),
        (lambda path: _run(path, "UPDATE alembic_version SET version_num = '9999'"), "newer"),
    ],
)
async def test_what_is_no_good_is_refused_and_nothing_changes(path: Path, spoil, said: str) -> None:
    await put(path, "old")
    backup = Backups(path).make()
    spoil(backup.path)
    before = {file.name for file in path.parent.iterdir()}
    with pytest.raises(StorageUnusable, match=said) as caught:
        restore(backup.path, path)
    assert caught.value.message.startswith(f"{backup.path} cannot be put back: ")
    assert caught.value.message.endswith(". The database was left as it is")
    assert "webui backup --list" in caught.value.hint
    for advice in ("--data-dir", "recover", "newest backup"):  # for a database, not for a backup
        assert advice not in caught.value.hint
    assert {file.name for file in path.parent.iterdir()} == before
    assert await found(path) == "old"


def test_missing_file_is_told(path: Path) -> None:
    with pytest.raises(NotFound, match=r"no file /no/such\.db"):
        restore(path.__class__("/no/such.db"), path)


def test_folder_is_no_backup(tmp_path: Path, path: Path) -> None:
    with pytest.raises(NotFound, match="is no file"):
        restore(tmp_path, path)


def test_backup_that_may_not_be_read_is_told_as_such(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(path.__class__, "is_file", refuse)
    backup = tmp_path / "mine.db"
    with pytest.raises(StorageUnusable, match=r"mine\.db cannot be put back: Permission"):
        restore(backup, path)


async def test_kill_before_the_last_step_leaves_the_old_database(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(path, "old")
    backup = Backups(path).make()
    await put(path, "new")
    keep = restore_module._keep

    def keep_and_die(database: Path) -> Path:
        keep(database)
        raise KeyboardInterrupt

    monkeypatch.setattr(restore_module, "_keep", keep_and_die)
    with pytest.raises(KeyboardInterrupt):
        restore(backup.path, path)
    assert await found(path) == "new"


async def test_rename_that_fails_leaves_the_old_database_with_its_log(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(path, "old")
    backup = Backups(path).make()
    killed = left_with_a_log(path)
    monkeypatch.setattr(restore_module, "_fold", lambda _: None)
    rename = path.__class__.replace

    def fail(self: Path, target: Path) -> Path:
        if target == path:
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(path.__class__, "replace", fail)
    with pytest.raises(StorageUnusable):
        restore(backup.path, path)
    monkeypatch.undo()
    assert await found(path) == "in the log"
    killed.close()


def _run(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)
