"""What SQLite's and the system's refusals mean, in words a person can act on.

Knows error codes; does nothing. Source: sqlite.org/rescode.html.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from webui.errors import StorageBusy, StorageFull, StorageUnusable, WebuiError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BACKUPS_NAME = "backups"
# Extended codes that SQLite gives for a full disk in the shared memory file.
FULL_CODES = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE})
BUSY_CODES = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
DAMAGE_CODES = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
ACCESS_CODES = frozenset(
    {
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_AUTH,
        sqlite3.SQLITE_IOERR,
    }
)
FILE_ERRNOS = frozenset({errno.EEXIST, errno.ENOTDIR})
FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT})


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn what SQLite and the system raise inside into our errors; the rest passes as it is."""
    try:
        yield
    except DBAPIError as error:
        raised = _meaning(path, error.orig)
        if raised is None:
            raise
        raise raised from error
    except (sqlite3.Error, OSError) as error:
        raised = _meaning(path, error)
        if raised is None:
            raise
        raise raised from error


def is_held(error: DBAPIError) -> bool:
    """Whether another program holds the database."""
    return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in BUSY_CODES


def held() -> StorageBusy:
    """Return the error of a database that another program holds; people read it, so no path."""
    return StorageBusy(
        "Another program holds the database; this was not saved",
        "What was saved before is safe. Close the other program and try again.",
    )


def full() -> StorageFull:
    """Return the error of a disk without room; people read it, so no path."""
    return StorageFull(
        "The disk of this server is full; this was not saved",
        "What was saved before is safe. Make room and try again.",
    )


def damaged(path: Path, reason: str) -> StorageUnusable:
    """Return the error of a file that must not be written to."""
    return StorageUnusable(
        f"The database {path} cannot be used: {reason}. It was left as it is",
        f"{_newest_backup(path)}; or save what can be read with: sqlite3 {path.name} .recover; "
        "or start empty with another --data-dir.",
        reason=reason,
    )


def foreign(path: Path) -> StorageUnusable:
    """Return the error of a database that somebody else wrote."""
    return StorageUnusable(
        f"The database {path} is not Hearthside's; it was left as it is",
        "Start with another --data-dir.",
        reason="it is not Hearthside's",
    )


def inaccessible(path: Path, reason: str) -> StorageUnusable:
    """Return the error of a folder or file that the system keeps from us."""
    return StorageUnusable(
        f"The data folder {path.parent} cannot be used: {reason}",
        "Give your account the right to write there, or start with another --data-dir.",
        reason=reason,
    )


def not_a_folder(path: Path, found: str | bytes | None) -> StorageUnusable:
    """Return the error of a data folder that is a file, or would lie in one.

    Args:
        path: The database file.
        found: What the system stumbled over.
    """
    folder = path.parent
    if found is None or os.fsdecode(found) in (str(folder), str(path)):
        said = f"The data folder {folder} is a file, not a folder"
    else:
        said = f"The data folder {folder} cannot be made: a part of its path is a file"
    return StorageUnusable(said, "Name a folder with --data-dir.")


def _newest_backup(path: Path) -> str:
    """Say which backup may take the place of a database, and how."""
    folder = path.parent / BACKUPS_NAME
    newest = max(folder.glob("*.db"), default=None)  # their names begin with the time
    if newest is None:
        return "Put back a backup of your own: python3 -m webui restore FILE"
    return f"Put back the newest backup: python3 -m webui restore {newest}"


def _meaning(path: Path, error: BaseException | None) -> WebuiError | None:
    if isinstance(error, OSError):
        reason = error.strerror or str(error)
        if error.errno in FILE_ERRNOS:
            return not_a_folder(path, error.filename)
        return full() if error.errno in FULL_ERRNOS else inaccessible(path, reason)
    # pysqlite's own errors, and those of others, have no code of SQLite's.
    extended = getattr(error, "sqlite_errorcode", None)
    return None if extended is None else _meaning_of_code(path, extended, str(error))


def _meaning_of_code(path: Path, extended: int, reason: str) -> WebuiError | None:
    code = extended & 0xFF
    if {code, extended} & FULL_CODES:
        return full()
    if code in BUSY_CODES:
        return held()
    if code in DAMAGE_CODES:
        return damaged(path, reason)
    return inaccessible(path, reason) if code in ACCESS_CODES else None
