"""Putting a backup in the place of the database; nothing that was there is lost.

Knows files and their order: a kill at any moment leaves a whole database under its name, the old
one or the new, and the old one beside it as soon as it is the new.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from webui.errors import NotFound, StorageBusy, StorageUnusable
from webui.storage import failures
from webui.storage.backup import TIME_FORMAT, check_whole, sync, write_copy
from webui.storage.connections import file_uri
from webui.storage.folder import FolderLock, make_private
from webui.storage.schema import Schema

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Restored:
    """What became of the databases.

    Attributes:
        replaced: Where the one from before lies now; None when there was none.
    """

    replaced: Path | None


def check_backup(backup: Path) -> None:
    """Check that a file can take the place of the database; it is only read.

    Raises:
        NotFound: It is not there.
        StorageUnusable: It is damaged, not Hearthside's, of a newer one, or cannot be read.
        StorageBusy: Another program holds it.
    """
    with _told_of_a_backup(backup), failures.translated(backup):
        if not backup.is_file():
            what = f"{backup} is no file" if backup.exists() else f"There is no file {backup}"
            raise NotFound(what, "webui backup --list shows what there is.")
        if Schema(backup).inspect().is_new:
            raise failures.foreign(backup)
        check_whole(backup)


def restore(backup: Path, database: Path) -> Restored:
    """Put a copy of a backup in the place of the database.

    The next start migrates it where it is older than the program.

    Args:
        backup: The file; it stays.
        database: The database file, of which nobody may make use.

    Raises:
        NotFound: The backup is not there.
        StorageUnusable: It is no good, or a server uses the database; nothing was changed.
        StorageFull: There is no room for the copy; nothing was changed.
    """
    check_backup(backup)
    with failures.translated(database):
        make_private(database.parent)
        with FolderLock(database):
            fresh = database.with_name(f"{database.name}.restored")
            try:
                with _told_of_a_backup(backup):
                    write_copy(backup, fresh)
                replaced = _keep(database) if database.exists() else None
                try:
                    fresh.replace(database)
                except OSError:
                    _put_log_back(replaced, database)
                    raise
            finally:
                fresh.unlink(missing_ok=True)
            sync(database.parent)
    return Restored(replaced)


@contextlib.contextmanager
def _told_of_a_backup(backup: Path) -> Iterator[None]:
    """Say of a backup what is said of a database: that one is not in danger, and advice differs."""
    try:
        yield
    except StorageUnusable as error:
        raise StorageUnusable(
            f"{backup} cannot be put back: {error.reason or error.message}. The database was left as it is",
            "Name another file; webui backup --list shows what there is.",
            reason=error.reason,
        ) from error
    except StorageBusy as error:
        raise StorageBusy(
            f"Another program holds {backup}; it was not put back",
            "Close the other program and try again.",
        ) from error


def _keep(database: Path) -> Path:
    """Give the database from before a second name, with its log; return that name."""
    _fold(database)
    kept = database.with_name(f"{database.stem}-replaced-{datetime.now(UTC):{TIME_FORMAT}}.db")
    log = database.with_name(f"{database.name}-wal")
    if log.exists():  # both may yet be used again, so they must not be one file
        shutil.copy2(database, kept)
    else:
        try:
            os.link(database, kept)
        except OSError:  # some file systems know no second name
            shutil.copy2(database, kept)
    if log.exists():
        # What could not be folded in goes with the file it belongs to: to any other it is poison.
        log.replace(kept.with_name(f"{kept.name}-wal"))
    database.with_name(f"{database.name}-shm").unlink(missing_ok=True)
    sync(database.parent)
    return kept


def _put_log_back(kept: Path | None, database: Path) -> None:
    """Undo what `_keep` did to the log: the database from before stays the one in use."""
    log = None if kept is None else kept.with_name(f"{kept.name}-wal")
    if log is not None and log.exists():
        shutil.copy2(log, database.with_name(f"{database.name}-wal"))


def _fold(database: Path) -> None:
    """Fold the write-ahead log into the file, if the file is well enough for that."""
    with contextlib.suppress(sqlite3.Error):  # damaged: it is kept as it is
        uri = file_uri(database, "rw")
        with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
