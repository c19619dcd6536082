"""Backups of the database: whole, checked copies beside it, made while it is in use.

Knows SQLite and files; knows no tables. A backup gets its name only when all of it is on the disk
and was checked to the last page, so that what lies there under a good name is good. It shows one
moment: what was committed before it began, and nothing since.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from webui.errors import StorageBusy
from webui.storage import failures
from webui.storage.connections import BUSY_TIMEOUT_S, file_uri
from webui.storage.folder import FILE_MODE, FOLDER_MODE, make_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from collections.abc import Sequence as Several
    from pathlib import Path

SUFFIX = ".db"
TIME_FORMAT = "%Y%m%dT%H%M%S%fZ"
NUM_DAILY = 7
NUM_OTHERS = 5  # before migrations: one that fails at every start must not push out the daily ones
MANUAL, DAILY = "manual", "daily"
DAILY_AFTER = timedelta(days=1)
LOCK_NAME = "backups.lock"
WAIT_S = 5.0  # for another backup
STEP_PAGES = 2048  # 8 MB: so soon a backup that is not wanted any more ends


class BackupStopped(Exception):  # noqa: N818 - it says what is so, as the names in errors.py do
    """The server ends; what was copied so far is gone."""


@dataclass(frozen=True, slots=True)
class Backup:
    """One backup.

    Attributes:
        path: The file.
        made_at: When it was begun.
        kind: `manual`, `daily`, or the schema that it was made before leaving.
        num_bytes: Its size.
    """

    path: Path
    made_at: datetime
    kind: str
    num_bytes: int


class Backups:
    """The backups of one database; every function blocks.

    Args:
        database: The database file.
        now: Tells the time.
    """

    def __init__(
        self, database: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._database = database
        self._now = now
        self._stop = threading.Event()
        self.folder = database.parent / failures.BACKUPS_NAME

    def list(self) -> list[Backup]:
        """Return what lies in the folder, newest first; files of other names are not looked at."""
        found = [backup for path in self.folder.glob(f"*{SUFFIX}") if (backup := _named(path))]
        return sorted(found, key=lambda backup: backup.made_at, reverse=True)

    def make(self, kind: str = MANUAL) -> Backup:
        """Make a backup; of those that were made unasked only the newest stay.

        Raises:
            StorageFull: There is no room; what was there before is left.
            StorageUnusable: The database is damaged or not there, or the folder cannot be used.
            StorageBusy: Another backup is being made.
            BackupStopped: `stop` was called.
        """
        with failures.translated(self._database), self._alone():
            self.folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
            for left in self.folder.glob("*.part"):  # of one that was killed
                left.unlink(missing_ok=True)
            target = self.folder / f"{self._now().strftime(TIME_FORMAT)}-{kind}{SUFFIX}"
            write_copy(self._database, target, is_stopped=self._stop.is_set)
            made = _named(target)
            assert made is not None
            self._drop_old(made)
        return made

    def is_due(self) -> bool:
        """Whether the newest is older than a day; those of a time yet to come do not count."""
        newest = next(iter(self._counted()), None)
        return newest is None or self._now() - newest.made_at >= DAILY_AFTER

    def stop(self) -> None:
        """End the backup that is being made, and let none begin; the server ends."""
        self._stop.set()

    def _counted(self) -> Several[Backup]:
        """Return those that were made by now: a clock that was ahead must not push out the rest."""
        latest = self._now() + DAILY_AFTER
        return [backup for backup in self.list() if backup.made_at < latest]

    def _drop_old(self, made: Backup) -> None:
        unasked = [b for b in self._counted() if b.kind != MANUAL and b.path != made.path]
        daily = [backup for backup in unasked if backup.kind == DAILY]
        others = [backup for backup in unasked if backup.kind != DAILY]
        num_daily, num_others = NUM_DAILY - (made.kind == DAILY), NUM_OTHERS
        num_others -= made.kind not in {DAILY, MANUAL}
        for old in (*daily[num_daily:], *others[num_others:]):
            old.path.unlink(missing_ok=True)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other backups of this database waiting, whoever makes them.

        Raises:
            StorageBusy: One is being made.
        """
        path = self._database.with_name(LOCK_NAME)
        lock = FileLock(path, timeout=WAIT_S, mode=FILE_MODE, thread_local=False)
        try:
            lock.acquire()
        except Timeout as error:
            raise StorageBusy(
                "Another backup is being made", "Try again when it is done."
            ) from error
        try:
            yield
        finally:
            lock.release()


def write_copy(
    source: Path, target: Path, *, is_stopped: Callable[[], bool] = lambda: False
) -> None:
    """Copy a database that may be in use to a new file, whole and checked or not at all.

    Nobody who writes has to wait: the copy is read inside one read transaction, which in WAL mode
    holds up nothing but the folding of the log. So it never has to begin anew either, as SQLite's
    backup does whenever somebody writes between its steps.

    Raises:
        StorageUnusable: The source is damaged; says where.
        BackupStopped: `is_stopped` said so.
        sqlite3.Error: SQLite cannot read or write.
        OSError: The same, from the system.
    """

    def go_on(_status: int, _left: int, _total: int) -> None:
        if is_stopped():
            raise BackupStopped

    part = target.with_name(f"{target.name}.part")
    try:
        make_file(part)
        with (
            closing(_connect(source)) as reader,
            closing(sqlite3.connect(part, isolation_level=None)) as copy,
        ):
            reader.execute("BEGIN").close()
            reader.execute("SELECT count(*) FROM sqlite_master").close()
            reader.backup(copy, pages=STEP_PAGES, progress=go_on, sleep=0)
            copy.execute("PRAGMA journal_mode = DELETE").close()
            copy.set_progress_handler(is_stopped, 100_000)
            problem = _problem(copy)
            if is_stopped():
                raise BackupStopped
            if problem is not None:
                raise failures.damaged(source, f"it is damaged ({problem})")
        sync(part)
        part.replace(target)
        sync(target.parent)
    finally:
        part.unlink(missing_ok=True)


def check_whole(path: Path) -> None:
    """Look for damage in all of a file.

    Raises:
        StorageUnusable: There is damage.
    """
    with closing(_connect(path)) as connection:
        problem = _problem(connection)
    if problem is not None:
        raise failures.damaged(path, f"it is damaged ({problem})")


def sync(path: Path) -> None:
    """Make sure that a file, or the names in a folder, are on the disk."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _problem(connection: sqlite3.Connection) -> str | None:
    try:
        found = str(connection.execute("PRAGMA integrity_check(1)").fetchone()[0])
    except sqlite3.DatabaseError as error:
        found = str(error)
    return None if found == "ok" else found


def _connect(path: Path) -> sqlite3.Connection:
    # A journal left by a kill can only be rolled back by one who may write.
    journal = path.with_name(f"{path.name}-journal")
    mode = "rw" if journal.exists() and journal.stat().st_size else "ro"
    return sqlite3.connect(
        file_uri(path, mode), uri=True, isolation_level=None, timeout=BUSY_TIMEOUT_S
    )


def _named(path: Path) -> Backup | None:
    """Return what the name of a file says; None when it is none of ours, or gone."""
    time, _, kind = path.stem.partition("-")
    try:
        made_at = datetime.strptime(time, TIME_FORMAT).replace(tzinfo=UTC)
        return Backup(path, made_at, kind, path.stat().st_size) if kind else None
    except (ValueError, FileNotFoundError):
        return None
