"""How SQLite is opened."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.exc import OperationalError

from webui.storage.connections import reader_engine, writer_engine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine

PRAGMAS = {
    "journal_mode": "wal",
    "synchronous": 2,
    "busy_timeout": 10_000,
    "foreign_keys": 1,
    "trusted_schema": 0,
    "fullfsync": 1,
    "mmap_size": 0,
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a b?#%41'ü.db"  # nothing that a URI would read otherwise
    path.touch()
    return path


@pytest.fixture
def writer(path: Path) -> Iterator[Engine]:
    engine = writer_engine(path)
    yield engine
    engine.dispose()


@pytest.fixture
def reader(path: Path, writer: Engine) -> Iterator[Engine]:
    with writer.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (x)")
    engine = reader_engine(path, num_connections=2)
    yield engine
    engine.dispose()


@pytest.mark.parametrize("name", PRAGMAS)
def test_writer_has_its_pragmas(writer: Engine, name: str) -> None:
    with writer.connect() as connection:
        assert connection.exec_driver_sql(f"PRAGMA {name}").scalar() == PRAGMAS[name]


def test_write_transaction_begins_as_a_writer(writer: Engine, path: Path) -> None:
    other = sqlite3.connect(path, timeout=0)
    with writer.begin(), pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("BEGIN IMMEDIATE")
    other.close()


def test_tables_are_undone_with_their_transaction(writer: Engine) -> None:
    with writer.connect() as connection:
        with connection.begin() as transaction:
            connection.exec_driver_sql("CREATE TABLE t (x)")
            connection.exec_driver_sql("INSERT INTO t VALUES (1)")
            transaction.rollback()
        assert connection.exec_driver_sql("SELECT * FROM sqlite_master").all() == []


def test_reader_cannot_write(reader: Engine) -> None:
    for statement in ("INSERT INTO t VALUES (1)", "DROP TABLE t", "PRAGMA user_version = 5"):
        with reader.connect() as connection, pytest.raises(OperationalError, match="readonly"):
            connection.exec_driver_sql(statement)
    # Even one who switches the first bolt off stands before a file opened for reading.
    with reader.connect() as connection:
        connection.exec_driver_sql("PRAGMA query_only = OFF")
        with pytest.raises(OperationalError, match="readonly"):
            connection.exec_driver_sql("INSERT INTO t VALUES (1)")


def test_reader_sees_one_state_while_the_writer_goes_on(reader: Engine, writer: Engine) -> None:
    with reader.connect() as connection:
        count = "SELECT count(*) FROM t"
        assert connection.exec_driver_sql(count).scalar() == 0
        with writer.begin() as writing:
            writing.exec_driver_sql("INSERT INTO t VALUES (1)")
        assert connection.exec_driver_sql(count).scalar() == 0
        connection.rollback()
        assert connection.exec_driver_sql(count).scalar() == 1


def test_missing_file_is_not_made(tmp_path: Path) -> None:
    engine = writer_engine(tmp_path / "none.db")
    with pytest.raises(OperationalError, match="unable to open"):
        engine.connect()
    engine.dispose()
    assert list(tmp_path.iterdir()) == []
