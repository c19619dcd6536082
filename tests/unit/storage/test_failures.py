"""What SQLite's and the system's refusals become."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from webui.errors import StorageBusy, StorageFull, StorageUnusable, WebuiError
from webui.storage.failures import translated
from webui.storage.folder import make_private

PATH = Path("/data/hearthside.db")


def sqlite_error(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("words of SQLite")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("code", "meant"),
    [
        (sqlite3.SQLITE_FULL, StorageFull),
        (sqlite3.SQLITE_IOERR_SHMSIZE, StorageFull),
        (sqlite3.SQLITE_BUSY, StorageBusy),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, StorageBusy),
        (sqlite3.SQLITE_LOCKED, StorageBusy),
        (sqlite3.SQLITE_CORRUPT, StorageUnusable),
        (sqlite3.SQLITE_NOTADB, StorageUnusable),
        (sqlite3.SQLITE_READONLY_DIRECTORY, StorageUnusable),
        (sqlite3.SQLITE_CANTOPEN, StorageUnusable),
        (sqlite3.SQLITE_IOERR_FSYNC, StorageUnusable),
    ],
)
@pytest.mark.parametrize("is_wrapped", [True, False])
def test_code_of_sqlite_has_a_meaning(code: int, meant: type[WebuiError], is_wrapped: bool) -> None:
    error: Exception = sqlite_error(code)
    if is_wrapped:
        error = OperationalError("SELECT 1", {}, error)
    with pytest.raises(meant) as caught, translated(PATH):
        raise error
    assert caught.value.__cause__ is error
    # Whoever sits at the machine needs the path; who reads it in a browser does not.
    assert (str(PATH.parent) in caught.value.message) == (meant is StorageUnusable)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("number", "meant"),
    [
        (errno.ENOSPC, StorageFull),
        (errno.EDQUOT, StorageFull),
        (errno.EACCES, StorageUnusable),
        (errno.EROFS, StorageUnusable),
    ],
)
def test_error_of_the_system_has_a_meaning(number: int, meant: type[WebuiError]) -> None:
    with pytest.raises(meant), translated(PATH):
        raise OSError(number, "words of the system")


def test_data_folder_that_is_a_file_is_said_to_be_one(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("mine")
    for folder in (file, file / "data"):
        with pytest.raises(StorageUnusable) as caught, translated(folder / "hearthside.db"):
            make_private(folder)
        assert "is a file" in caught.value.message
        assert caught.value.hint == "Name a folder with --data-dir."
    assert file.read_text() == "mine"


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a bug"),
        sqlite3.ProgrammingError("a bug without a code"),
        sqlite_error(sqlite3.SQLITE_CONSTRAINT),
        OperationalError("SELECT", {}, sqlite_error(sqlite3.SQLITE_ERROR)),
    ],
)
def test_bug_passes_as_it_is(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, translated(PATH):
        raise error
    assert caught.value is error


def test_damage_says_what_to_do() -> None:
    with pytest.raises(StorageUnusable) as caught, translated(PATH):
        raise sqlite_error(sqlite3.SQLITE_CORRUPT)
    for part in ("webui restore FILE", ".recover", "--data-dir"):
        assert part in caught.value.hint


def test_damage_names_the_newest_backup(tmp_path: Path) -> None:
    (tmp_path / "backups").mkdir()
    for name in ("20260101T000000000000Z-daily.db", "20260301T000000000000Z-0005.db"):
        (tmp_path / "backups" / name).touch()
    with pytest.raises(StorageUnusable) as caught, translated(tmp_path / "hearthside.db"):
        raise sqlite_error(sqlite3.SQLITE_CORRUPT)
    assert f"restore {tmp_path}/backups/20260301T" in caught.value.hint
