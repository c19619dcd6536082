"""The life of a database: opened, written, read, closed, refused."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import inspect, text

from tests.other_programs import held
from webui.errors import StorageBusy, StorageFull, StorageUnusable
from webui.messages import Role
from webui.storage import conversations, generations, jobs, messages, settings
from webui.storage.database import MAX_WAITING, Database
from webui.storage.tables import JobStatus, MessageStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from sqlalchemy.orm import Session


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "hearthside.db"


@pytest.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    database = Database(path, busy_timeout_s=0.05)
    await database.open()
    yield database
    await database.close()


def put(session: Session, name: str, value: object) -> None:
    settings.put(session, "local", name, value)


def found(session: Session, name: str) -> object:
    return settings.find(session, "local", name)


def lay(path: Path, content: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)


def lying(path: Path) -> bytes:
    return path.read_bytes()


async def refused(path: Path) -> StorageUnusable:
    database = Database(path)
    with pytest.raises(StorageUnusable) as caught:
        await database.open()
    await database.close()
    return caught.value


async def test_what_was_written_is_there_after_a_restart(path: Path) -> None:
    for turn in range(3):
        database = Database(path)
        await database.open()
        assert await database.read(found, "turn") == (turn - 1 if turn else None)
        await database.run(put, "turn", turn)
        assert await database.read(found, "turn") == turn
        await database.close()


async def test_folder_and_files_are_their_owners_alone(database: Database, path: Path) -> None:
    await database.run(put, "x", 1)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert set(modes.values()) == {0o600}
    assert {"hearthside.db", "hearthside.db-wal", "hearthside.lock"} <= set(modes)


async def test_exception_undoes_the_whole_transaction(database: Database) -> None:
    def half(session: Session) -> None:
        put(session, "x", 1)
        session.flush()
        raise ValueError("in the middle")

    with pytest.raises(ValueError, match="in the middle"):
        await database.run(half)
    assert await database.read(found, "x") is None
    await database.run(put, "x", 2)


async def test_lone_surrogate_undoes_its_transaction_only(database: Database) -> None:
    conversation = await database.run(conversations.create, "local")
    with pytest.raises(UnicodeEncodeError):
        await database.run(
            messages.add, "local", conversation.id, parent_id=None, role=Role.USER, text="\ud800"
        )
    assert await database.read(messages.list_of, "local", conversation.id) == []
    await database.run(put, "x", 2)


async def test_rows_come_back_detached(database: Database) -> None:
    row = await database.run(conversations.create, "local", title="Bread")
    assert row.title == "Bread"
    assert inspect(row).detached


async def test_reader_cannot_write(database: Database) -> None:
    with pytest.raises(StorageUnusable, match="readonly"):
        await database.read(put, "x", 1)
    assert await database.read(found, "x") is None


async def test_read_does_not_wait_for_a_write(database: Database) -> None:
    entered, leave = threading.Event(), threading.Event()

    def slow(session: Session) -> None:
        put(session, "x", 1)
        session.flush()
        entered.set()
        leave.wait(5)

    await database.run(put, "x", 0)
    writing = asyncio.create_task(database.run(slow))
    await asyncio.to_thread(entered.wait, 5)
    assert await asyncio.wait_for(database.read(found, "x"), 2) == 0
    leave.set()
    await writing
    assert await database.read(found, "x") == 1


async def test_writes_are_made_one_after_the_other_in_order(database: Database) -> None:
    def append(session: Session, number: int) -> None:
        put(session, "x", [*(found(session, "x") or []), number])  # type: ignore[misc]  # a list

    await asyncio.gather(*(database.run(append, number) for number in range(30)))
    assert await database.read(found, "x") == list(range(30))


async def test_cancelled_caller_does_not_stop_the_writer(database: Database) -> None:
    entered, leave = threading.Event(), threading.Event()

    def slow(session: Session) -> None:
        entered.set()
        leave.wait(5)
        put(session, "x", 1)

    writing = asyncio.create_task(database.run(slow))
    await asyncio.to_thread(entered.wait, 5)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    leave.set()
    await database.run(put, "y", 1)
    assert await database.read(found, "x") == 1


async def test_too_many_waiting_calls_are_refused(database: Database) -> None:
    leave = threading.Event()
    calls = [asyncio.create_task(database.run(lambda _: leave.wait(5))) for _ in range(MAX_WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(StorageBusy):
        await database.run(put, "x", 1)
    leave.set()
    await asyncio.gather(*calls)
    await database.run(put, "x", 1)


async def test_full_disk_is_said_and_leaves_the_database_sound(database: Database) -> None:
    await database.run(put, "before", 1)

    def limit(session: Session, pages: int) -> int:
        return session.scalar(text(f"PRAGMA max_page_count = {pages}")) or 0

    pages = await database.run(lambda session: session.scalar(text("PRAGMA page_count")))
    assert await database.run(limit, pages + 2) == pages + 2
    with pytest.raises(StorageFull) as caught:
        await database.run(put, "big", "x" * 100_000)
    assert "not saved" in caught.value.message
    assert await database.read(found, "big") is None
    assert await database.read(found, "before") == 1
    check = text("PRAGMA integrity_check")
    assert await database.read(lambda session: session.scalar(check)) == "ok"
    await database.run(limit, 1_000_000)
    await database.run(put, "big", "x" * 100_000)
    assert await database.read(found, "big") == "x" * 100_000


async def test_write_waits_for_another_program_and_says_when_it_was_too_long(
    database: Database, path: Path
) -> None:
    with held(path):
        with pytest.raises(StorageBusy) as caught:
            await database.run(put, "x", 1)
        assert "not saved" in caught.value.message
        assert await database.read(found, "x") is None
    await database.run(put, "x", 1)


async def test_second_instance_is_refused(database: Database, path: Path) -> None:
    error = await refused(path)
    assert str(path.parent) in error.message
    assert "already uses" in error.message
    assert "--data-dir" in error.hint
    await database.run(put, "x", 1)


async def test_folder_is_free_after_close_and_after_a_refusal(path: Path) -> None:
    lay(path, b"junk")
    await refused(path)
    lay(path, b"")
    database = Database(path)
    await database.open()
    await database.close()
    await database.open()
    await database.close()


@pytest.mark.parametrize("content", [b"junk", b"SQLite format 3\0" + b"\xff" * 5000])
async def test_what_is_no_database_is_refused_and_left(path: Path, content: bytes) -> None:
    lay(path, content)
    error = await refused(path)
    assert str(path) in error.message
    assert "--data-dir" in error.hint
    assert lying(path) == content
    assert {file.name for file in path.parent.iterdir()} == {"hearthside.db", "hearthside.lock"}


async def test_damaged_database_is_refused_and_left(path: Path) -> None:
    database = Database(path)
    await database.open()
    await database.run(put, "x", "y" * 20_000)
    await database.close()
    content = bytearray(lying(path))
    content[4096:8192] = b"\xa5" * 4096
    lay(path, content)
    error = await refused(path)
    assert "webui restore" in error.hint
    assert ".recover" in error.hint
    assert lying(path) == content


async def test_those_who_wait_for_another_program_wait_at_the_same_time(path: Path) -> None:
    database = Database(path, busy_timeout_s=0.3)
    await database.open()
    began = time.monotonic()
    with held(path):
        waiting = [database.run(put, str(number), number) for number in range(20)]
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert time.monotonic() - began < 3  # one after the other: 6
        assert {type(answer) for answer in answers} == {StorageBusy}
    await asyncio.gather(*(database.run(put, str(number), number) for number in range(20)))
    assert await database.read(settings.find, "local", "19") == 19
    await database.close()


async def test_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    error = await refused(tmp_path / "file" / "hearthside.db")
    assert str(tmp_path / "file") in error.message


async def test_folder_that_may_not_be_written_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deny(*_: object) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    path.parent.mkdir()
    monkeypatch.setattr("webui.storage.folder.os.open", deny)
    error = await refused(path)
    assert str(path.parent) in error.message
    assert "Permission denied" in error.message
    assert "--data-dir" in error.hint


async def test_what_was_running_is_interrupted_at_the_next_start(path: Path) -> None:
    database = Database(path)
    await database.open()
    conversation = await database.run(conversations.create, "local")

    def begin(session: Session) -> str:
        reply = messages.add(
            session,
            "local",
            conversation.id,
            parent_id=None,
            role=Role.ASSISTANT,
            text="half",
            status=MessageStatus.STREAMING,
        )
        generations.add(
            session, "local", conversation_id=conversation.id, message_id=reply.id, params={}
        )
        return jobs.add(session, "local", kind="download", title="x").id

    job_id = await database.run(begin)
    await database.close()
    await database.open()
    (reply,) = await database.read(messages.list_of, "local", conversation.id)
    assert (reply.status, reply.text) == (MessageStatus.INTERRUPTED, "half")
    assert await database.read(generations.list_live, "local") == []
    job = await database.read(jobs.get, "local", job_id)
    assert job.status is JobStatus.INTERRUPTED
    await database.close()


async def test_closed_database_says_so(path: Path) -> None:
    database = Database(path)
    with pytest.raises(StorageUnusable, match="closed"):
        await database.run(put, "x", 1)
    await database.open()
    await database.close()
    await database.close()
    with pytest.raises(StorageUnusable, match="closed"):
        await database.read(found, "x")


async def test_close_makes_what_was_asked_before_and_folds_the_log(path: Path) -> None:
    database = Database(path)
    await database.open()
    calls = [asyncio.create_task(database.run(put, f"x{n}", n)) for n in range(20)]
    await asyncio.sleep(0)
    await database.close()
    await asyncio.gather(*calls)
    assert {file.name for file in path.parent.iterdir()} == {"hearthside.db", "hearthside.lock"}
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM settings").fetchone() == (20,)


async def test_cancelled_opening_leaves_the_folder_free(path: Path) -> None:
    database = Database(path)
    opening = asyncio.create_task(database.open())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await database.open()
    await database.close()
