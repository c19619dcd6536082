"""Migrations against the tables, and what is refused before anything is changed."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from webui.errors import StorageUnusable
from webui.storage.connections import writer_engine
from webui.storage.schema import SCRIPTS, Found, Schema, check
from webui.storage.tables import Base

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

BODY = """
from alembic import op
import sqlalchemy as sa
revision, down_revision, branch_labels, depends_on = "{after}", "{head}", None, None
def upgrade():
    {up}
def downgrade():
    pass
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "hearthside.db"
    path.touch()
    return path


@pytest.fixture
def engine(path: Path) -> Iterator[Engine]:
    engine = writer_engine(path)
    yield engine
    engine.dispose()


def upgraded(path: Path, engine: Engine) -> Schema:
    schema = Schema(path)
    schema.upgrade(engine, schema.inspect())
    return schema


def next_scripts(tmp_path: Path, up: str) -> Path:
    """Return migrations with one more than there are."""
    scripts = tmp_path / "scripts 100%"
    shutil.copytree(SCRIPTS, scripts, ignore=shutil.ignore_patterns("__pycache__"))
    head = Schema(tmp_path).head
    after = next_revision(head)
    step = BODY.format(after=after, head=head, up=up)
    (scripts / "versions" / f"{after}_next.py").write_text(step)
    return scripts


def next_revision(head: str) -> str:
    return f"{int(head) + 1:04}"


def run(connection: Connection, what: str, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    config.attributes["connection"] = connection
    getattr(command, what)(config, revision)


def differences(connection: Connection) -> list[object]:
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return list(compare_metadata(context, Base.metadata))


def dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def test_history_has_one_head_and_numbered_steps() -> None:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    scripts = ScriptDirectory.from_config(config)
    assert len(scripts.get_heads()) == 1
    steps = list(scripts.walk_revisions())
    revisions = [step.revision for step in steps]
    # 0003 comes with a change of its own.
    numbers = sorted({*revisions, "0003"})
    assert numbers == [f"{n:04}" for n in range(1, len(numbers) + 1)]
    assert [Path(step.path).name[:4] for step in steps] == revisions  # which `Schema` relies on


def test_migrations_make_the_tables_of_the_rows(path: Path, engine: Engine) -> None:
    schema = upgraded(path, engine)
    assert schema.inspect() == Found(schema.head, is_new=False)
    with engine.connect() as connection:
        assert differences(connection) == []


def test_comparison_sees_a_difference(path: Path, engine: Engine) -> None:
    upgraded(path, engine)
    with engine.connect() as connection:
        connection.exec_driver_sql("DROP INDEX ix_messages_unfinished")
        assert differences(connection) != []
        connection.rollback()


def test_way_down_and_up_again_gives_the_same(path: Path, engine: Engine) -> None:
    upgraded(path, engine)
    before = dump(path)
    with engine.begin() as connection:
        run(connection, "downgrade", "base")
        tables = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'")
        assert set(tables.scalars()) <= {"alembic_version", "sqlite_sequence"}
    with engine.begin() as connection:
        run(connection, "upgrade", "head")
    assert [line for line in dump(path) if line.startswith("CREATE")] == [
        line for line in before if line.startswith("CREATE")
    ]


def test_messages_from_before_have_no_figures_of_later_steps(path: Path, engine: Engine) -> None:
    with engine.begin() as connection:
        run(connection, "upgrade", "0001")
        connection.exec_driver_sql(
            "INSERT INTO users (id, name, created_at) VALUES ('ann', 'Ann', '2026-01-01')"
        )
        connection.exec_driver_sql(
            "INSERT INTO conversations (id, owner_id, title, title_is_automatic, version, activity,"
            " created_at, updated_at) VALUES ('c', 'ann', '', 1, 1, 1, '2026-01-01', '2026-01-01')"
        )
        connection.exec_driver_sql(
            "INSERT INTO messages (id, conversation_id, role, status, created_at, text, reasoning)"
            " VALUES ('m', 'c', 'assistant', 'complete', '2026-01-01', 'Hi', 'Hm')"
        )
    upgraded(path, engine)
    with engine.begin() as connection:
        rows = "SELECT reasoning, reasoning_s, drafted_tokens, accepted_tokens FROM messages"
        assert connection.exec_driver_sql(rows).all() == [("Hm", None, None, None)]
        run(connection, "downgrade", "0001")
        assert connection.exec_driver_sql("SELECT reasoning FROM messages").all() == [("Hm",)]


def test_what_administrators_did_before_is_in_their_room(path: Path, engine: Engine) -> None:
    with engine.begin() as connection:
        run(connection, "upgrade", "0011")
        connection.exec_driver_sql(
            "INSERT INTO users (id, name, role, created_at) VALUES"
            " ('ann', 'Ann', 'administrator', '2026-01-01'), ('bob', 'Bob', 'user', '2026-01-01')"
        )
        for who in ("ann", "bob", "command line", "gone", None):
            connection.exec_driver_sql(
                "INSERT INTO audit (at, actor_id, actor_name, action, about, address)"
                " VALUES ('2026-01-01', ?, '', 'sign_in', '', '')",
                (who,),
            )
    upgraded(path, engine)
    with engine.begin() as connection:
        told = "SELECT by_administrator FROM audit ORDER BY position"
        assert connection.exec_driver_sql(told).scalars().all() == [1, 0, 1, 0, 0]
        run(connection, "downgrade", "0011")
        assert len(connection.exec_driver_sql("SELECT * FROM audit").all()) == 5


def test_new_file_is_not_copied(path: Path, engine: Engine) -> None:
    upgraded(path, engine)
    assert not (path.parent / "backups").exists()


def test_existing_file_is_copied_before_its_migration(path: Path, engine: Engine) -> None:
    upgraded(path, engine)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO users (id, name, created_at) VALUES ('ann', 'Ann', '2026-01-01')"
        )
    head = Schema(path).head
    scripts = next_scripts(path.parent, 'op.add_column("users", sa.Column("age", sa.Integer()))')
    schema = Schema(path, scripts)
    schema.upgrade(engine, schema.inspect())
    assert schema.inspect() == Found(next_revision(head), is_new=False)
    (copy,) = (path.parent / "backups").iterdir()
    assert copy.name.endswith(f"-{head}.db")
    assert copy.stat().st_mode & 0o777 == 0o600
    assert copy.parent.stat().st_mode & 0o777 == 0o700
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT id, name, created_at FROM users").fetchall() == [
            ("ann", "Ann", "2026-01-01")
        ]
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)


def test_only_the_newest_copies_are_kept(path: Path, engine: Engine) -> None:
    upgraded(path, engine)
    scripts = next_scripts(path.parent, "raise ValueError('broken')")
    for _ in range(7):
        schema = Schema(path, scripts)
        with pytest.raises(ValueError, match="broken"):
            schema.upgrade(engine, schema.inspect())
    assert len(list((path.parent / "backups").iterdir())) == 5


def test_migration_that_fails_leaves_nothing_behind(path: Path, engine: Engine) -> None:
    upgraded(path, engine)
    before = dump(path)
    scripts = next_scripts(path.parent, 'op.drop_table("settings"); op.rename_table("x", "y")')
    schema = Schema(path, scripts)
    with pytest.raises(Exception, match="no such table: x"):
        schema.upgrade(engine, schema.inspect())
    assert dump(path) == before
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def test_rebuilding_a_table_keeps_the_rows_that_point_to_it(path: Path, engine: Engine) -> None:
    upgraded(path, engine)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO users (id, name, created_at) VALUES ('ann', 'Ann', '2026-01-01')"
        )
        connection.exec_driver_sql("INSERT INTO settings VALUES ('ann', 'theme', '1')")
    up = 'with op.batch_alter_table("users", recreate="always") as t: t.drop_column("name")'
    schema = Schema(path, next_scripts(path.parent, up))
    schema.upgrade(engine, schema.inspect())
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT name FROM settings").all() == [("theme",)]
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def test_migration_that_orphans_rows_is_undone(path: Path, engine: Engine) -> None:
    upgraded(path, engine)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO users (id, name, created_at) VALUES ('ann', 'Ann', '2026-01-01')"
        )
        connection.exec_driver_sql("INSERT INTO settings VALUES ('ann', 'theme', '1')")
    before = dump(path)
    schema = Schema(path, next_scripts(path.parent, 'op.execute("DELETE FROM users")'))
    with pytest.raises(StorageUnusable, match="settings"):
        schema.upgrade(engine, schema.inspect())
    assert dump(path) == before


def test_newer_file_is_refused_and_left(path: Path, engine: Engine) -> None:
    upgraded(path, engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0999'")
    engine.dispose()
    before = path.read_bytes()
    with pytest.raises(StorageUnusable, match=rf"0999.*{Schema(path).head}") as caught:
        Schema(path).inspect()
    assert str(path) in caught.value.message
    assert "--data-dir" in caught.value.hint
    assert path.read_bytes() == before


def test_file_of_another_program_is_refused_and_left(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE recipes (name)")
    before = path.read_bytes()
    with pytest.raises(StorageUnusable, match="not Hearthside's"):
        Schema(path).inspect()
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"x", b"SQLite format 2\0" + b"\0" * 4096, b"\0" * 9000])
def test_junk_is_refused_and_left(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(StorageUnusable, match="not a SQLite database") as caught:
        Schema(path).inspect()
    assert str(path) in caught.value.message
    assert path.read_bytes() == content


def test_emptied_file_with_a_log_is_refused_and_left(path: Path) -> None:
    log = path.with_name("hearthside.db-wal")
    log.write_bytes(b"log")
    with pytest.raises(StorageUnusable, match="-wal"):
        Schema(path).inspect()
    assert log.read_bytes() == b"log"


def test_file_without_tables_is_new(path: Path, engine: Engine) -> None:
    engine.connect().close()  # killed before the first migration: WAL header, no tables
    assert path.stat().st_size > 0
    assert Schema(path).inspect() == Found(None, is_new=True)


def test_damaged_page_is_found(path: Path, engine: Engine) -> None:
    upgraded(path, engine)
    engine.dispose()
    content = bytearray(path.read_bytes())
    content[4096:4196] = b"\xff" * 100
    path.write_bytes(content)
    with closing(sqlite3.connect(path)) as connection:
        with pytest.raises((StorageUnusable, sqlite3.DatabaseError)):
            check(connection, path)
        assert connection.execute("PRAGMA schema_version").fetchone()
    assert path.read_bytes() == content


def test_check_ends_when_its_time_is_up(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (x)")
        connection.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)"
            "INSERT INTO t SELECT i FROM n"
        )
        connection.commit()
        check(connection, path, time_s=-1.0)  # returns
        check(connection, path)
