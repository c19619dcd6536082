"""Which schema a database file has, and the way to the newest one.

Knows Alembic and files; knows no tables. Alembic itself, a fifth of a second at every start, is
imported only when there is something to migrate. A file is looked at read-only first: what is not a sound
database of ours, or is newer than this program, is refused and left as it is. A migration is one
transaction, made after the file was copied, so that it can be killed and run again.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from webui.errors import StorageUnusable
from webui.storage import failures
from webui.storage.backup import Backups
from webui.storage.connections import BUSY_TIMEOUT_S, file_uri

if TYPE_CHECKING:
    from sqlalchemy import Engine

logger = logging.getLogger(__name__)

SCRIPTS = Path(__file__).parent / "migrations"
MAGIC = b"SQLite format 3\0"
FULL_CHECK_BYTES = 16 * 1024**2
CHECK_TIME_S = 2.0


@dataclass(frozen=True, slots=True)
class Found:
    """What a file holds.

    Attributes:
        revision: Its schema; None before the first migration.
        is_new: There is nothing in it that could be lost.
    """

    revision: str | None
    is_new: bool


class Schema:
    """The schema of one database file.

    Args:
        path: The file; it must exist, and may be empty.
        scripts: Folder of the migrations.
    """

    def __init__(self, path: Path, scripts: Path = SCRIPTS) -> None:
        self._path = path
        self._scripts = scripts
        # The number that begins a file's name is its revision: one line of schemas, no branches.
        self._known = sorted(file.name[:4] for file in scripts.glob("versions/[0-9]*.py"))

    @property
    def head(self) -> str:
        """The newest schema that this program knows."""
        return self._known[-1]

    def inspect(self) -> Found:
        """Look at the file without changing it.

        Raises:
            StorageUnusable: It is damaged, another program's, or of a newer Hearthside.
        """
        if not self._path.stat().st_size:
            if _size(self._beside("-wal")):
                raise failures.damaged(self._path, "it is empty but its -wal file is not")
            return Found(None, is_new=True)
        with self._path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise failures.damaged(self._path, "it is not a SQLite database")
        with closing(self._connect_to_look()) as connection:
            check(connection, self._path)
            return self._found(connection)

    def upgrade(self, engine: Engine, found: Found) -> None:
        """Bring the file to the newest schema, all of it or nothing.

        Blocks for as long as the copy and the migration take.

        Raises:
            StorageUnusable: The migration would leave rows that point to nothing.
        """
        if found.revision == self.head:
            return
        if not found.is_new:
            backup = Backups(self._path).make(found.revision or "base")
            logger.info("copied the database to %s before migrating it", backup.path)
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(self._scripts).replace("%", "%%"))
        with engine.connect() as connection:
            driver = connection.connection
            # Batch mode drops and renames tables; with foreign keys on, that deletes rows of
            # other tables. The pragma does nothing inside a transaction.
            driver.cursor().execute("PRAGMA foreign_keys = OFF").close()
            try:
                with connection.begin():
                    config.attributes["connection"] = connection
                    command.upgrade(config, "head")
                    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
                    if broken is not None:
                        raise failures.damaged(
                            self._path, f"rows of the table {broken[0]} point to nothing"
                        )
            finally:
                driver.cursor().execute("PRAGMA foreign_keys = ON").close()

    def _connect_to_look(self) -> sqlite3.Connection:
        # A journal left by a kill can only be rolled back by one who may write.
        mode = "rw" if _size(self._beside("-journal")) else "ro"
        return sqlite3.connect(
            file_uri(self._path, mode), uri=True, isolation_level=None, timeout=BUSY_TIMEOUT_S
        )

    def _found(self, connection: sqlite3.Connection) -> Found:
        rows = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!'"
        )
        tables = {name for (name,) in rows}
        if not tables:
            return Found(None, is_new=True)
        if "alembic_version" not in tables:
            raise failures.foreign(self._path)
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        revision = None if row is None else str(row[0])
        if revision is not None and revision not in self._known:
            newer = (
                f"written by a newer Hearthside (its schema is {revision}, this one knows up to "
                f"{self.head})"
            )
            raise StorageUnusable(
                f"The database {self._path} was {newer}; it was left as it is",
                "Start the newer version, put back a backup from before from "
                f"{self._path.parent / failures.BACKUPS_NAME}, or start with another --data-dir.",
                reason=f"it was {newer}",
            )
        return Found(revision, is_new=False)

    def _beside(self, suffix: str) -> Path:
        return self._path.with_name(self._path.name + suffix)


def check(connection: sqlite3.Connection, path: Path, *, time_s: float = CHECK_TIME_S) -> None:
    """Look for damage: all of a small file, and of a large one what can be read in `time_s`.

    Raises:
        StorageUnusable: There is damage.
    """
    pragma = "integrity_check" if path.stat().st_size <= FULL_CHECK_BYTES else "quick_check"
    deadline = time.monotonic() + time_s
    connection.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
    try:
        problem = connection.execute(f"PRAGMA {pragma}(1)").fetchone()[0]
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        logger.info("checked as much of %s as %.1f s allow", path, time_s)
        return
    finally:
        connection.set_progress_handler(None, 0)
    if problem != "ok":
        raise failures.damaged(path, f"it is damaged ({problem})")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
