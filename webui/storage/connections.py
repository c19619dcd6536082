"""How SQLite is opened: pragmas, real transactions, one writer and read-only readers.

Knows SQLAlchemy engines and files; knows no tables. pysqlite's own idea of when a transaction
begins is switched off, so that SELECT, DDL and DML all stand in the one that we begin.
SQLite before 3.51.3 can corrupt a WAL when two connections write or checkpoint at once
(sqlite.org/wal.html#walresetbug): readers here can do neither, and the folder's lock keeps other
processes out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.pool import QueuePool

from webui.errors import StorageUnusable

if TYPE_CHECKING:
    from pathlib import Path
    from sqlite3 import Connection as SQLiteConnection

    from sqlalchemy import Connection

BUSY_TIMEOUT_S = 10.0


def writer_engine(path: Path, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> Engine:
    """Return an engine with one connection whose transactions begin as writers.

    A deferred transaction that turns into a writer fails at once when somebody wrote meanwhile;
    BEGIN IMMEDIATE waits instead.
    """
    pragmas = [
        *_common(busy_timeout_s),
        "PRAGMA synchronous = FULL",
        "PRAGMA fullfsync = ON",  # macOS: fsync alone leaves data in the drive's cache
        "PRAGMA wal_autocheckpoint = 1000",
    ]
    engine = _engine(path, "rw", 1)

    @event.listens_for(engine, "connect")
    def on_connect(connection: SQLiteConnection, _record: object) -> None:
        _execute(connection, pragmas)
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise StorageUnusable(
                f"The folder {path.parent} cannot hold a SQLite database in WAL mode",
                "A network drive often cannot; start with --data-dir on a local disk.",
            )

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def reader_engine(path: Path, *, num_connections: int) -> Engine:
    """Return an engine that cannot write; each transaction sees one state of the database."""
    engine = _engine(path, "ro", num_connections)

    @event.listens_for(engine, "connect")
    def on_connect(connection: SQLiteConnection, _record: object) -> None:
        _execute(connection, [*_common(BUSY_TIMEOUT_S), "PRAGMA query_only = ON"])

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    return engine


def file_uri(path: Path, mode: str) -> str:
    """Return SQLite's URI of a file; `mode` is ro or rw, neither of which creates it."""
    return f"file:{quote(str(path.absolute()))}?mode={mode}"


def _common(busy_timeout_s: float) -> list[str]:
    return [
        f"PRAGMA busy_timeout = {round(busy_timeout_s * 1000)}",
        "PRAGMA foreign_keys = ON",
        "PRAGMA trusted_schema = OFF",
        "PRAGMA secure_delete = ON",  # what is deleted is overwritten in the file
        "PRAGMA mmap_size = 0",
    ]


def _execute(connection: SQLiteConnection, statements: list[str]) -> None:
    for statement in statements:
        connection.execute(statement).close()


def _engine(path: Path, mode: str, num_connections: int) -> Engine:
    return create_engine(
        URL.create("sqlite", database=file_uri(path, mode), query={"uri": "true"}),
        hide_parameters=True,  # else an error's text in the log holds what people wrote
        connect_args={"isolation_level": None, "check_same_thread": False},
        poolclass=QueuePool,
        pool_size=num_connections,
        max_overflow=0,
    )
