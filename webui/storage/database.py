"""The database of one data folder: one writer, a few readers, nothing at half.

Knows how functions of a session are run; the functions themselves stand beside, one file a noun.
Everything is built without I/O; `open` and `close` frame its life.
"""

from __future__ import annotations

import asyncio
import logging
import math
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from typing_extensions import override

from webui.errors import StorageBusy, StorageUnusable
from webui.storage import unattended, users
from webui.storage.connections import BUSY_TIMEOUT_S, reader_engine, writer_engine
from webui.storage.failures import held, is_held, translated
from webui.storage.folder import FolderLock, make_file, make_private
from webui.storage.schema import SCRIPTS, Schema

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy import Engine

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

NUM_READERS = 3
MAX_WAITING = 1000


class Database:
    """The one way to what lasts.

    Args:
        path: The SQLite file; its folder is locked while the database is open.
        scripts: Folder of the migrations.
        busy_timeout_s: How long a write waits for another program's transaction.
        lock_wait_s: How long opening waits for a command that has the folder for a moment.
    """

    def __init__(
        self,
        path: Path,
        *,
        scripts: Path = SCRIPTS,
        busy_timeout_s: float = BUSY_TIMEOUT_S,
        lock_wait_s: float = 0.0,
    ) -> None:
        self._path = path
        self._scripts = scripts
        self._busy_timeout_s = busy_timeout_s
        self._lock_wait_s = lock_wait_s
        self._writer: _Lane | None = None
        self._readers: _Lane | None = None
        self._lock: FolderLock | None = None

    @property
    def path(self) -> Path:
        """The SQLite file."""
        return self._path

    async def open(self) -> None:
        """Lock the folder, check the file, migrate it, and mark what a kill interrupted.

        Raises:
            StorageUnusable: The folder is in use, read-only or no folder; the file is damaged,
                newer, or another program's. Nothing was changed.
            StorageFull: There is no room for the database or its copy.
            StorageBusy: Another program holds the database.
        """
        assert self._lock is None, "the database is open already"
        opening = asyncio.create_task(asyncio.to_thread(self._open))
        with translated(self._path):
            try:
                await asyncio.shield(opening)
            except asyncio.CancelledError:
                await asyncio.wait({opening})  # the thread cannot be stopped half-way
                await self.close()
                raise

    async def run(
        self, fn: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `fn(session, …)` in a write transaction and commit it; an exception undoes it.

        Calls are made one after the other, in order. When it returns, what was written survives
        a power cut. Cancelling a call that has begun does not undo it.

        Raises:
            StorageFull: The disk is full; nothing was written.
            StorageBusy: Another program holds the database; nothing was written.
            StorageUnusable: The file was damaged or taken away, or the database is closed.
        """
        return await self._run(self._writer, lambda session: fn(session, *args, **kwargs))

    async def read(
        self, fn: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `fn(session, …)` on one unchanging state of the database; it cannot write.

        A read does not wait for a write.

        Raises:
            StorageBusy: Too many reads wait.
            StorageUnusable: The file was damaged or taken away, or the database is closed.
        """
        return await self._run(self._readers, lambda session: fn(session, *args, **kwargs))

    async def close(self) -> None:
        """Finish what was begun, fold the log into the file, give back the folder; idempotent."""
        await asyncio.to_thread(self._taken_down())

    async def _run(self, lane: _Lane | None, work: Callable[[Session], T]) -> T:
        if lane is None:
            raise StorageUnusable(f"The database {self._path} is closed")
        with translated(self._path):
            return await lane.run(work)

    def _open(self) -> None:
        make_private(self._path.parent)
        lock = FolderLock(self._path)
        lock.acquire(self._lock_wait_s)
        self._lock = lock
        try:
            make_file(self._path)
            schema = Schema(self._path, self._scripts)
            found = schema.inspect()
            writer = writer_engine(self._path, busy_timeout_s=self._busy_timeout_s)
            self._writer = _WriterLane(writer, self._path, self._busy_timeout_s)
            schema.upgrade(writer, found)
            self._writer.work(_begin_anew)
            readers = reader_engine(self._path, num_connections=NUM_READERS)
            self._readers = _Lane("storage-reader", readers, NUM_READERS)
        except BaseException:
            self._taken_down()()
            raise

    def _taken_down(self) -> Callable[[], None]:
        """Let nothing new begin; returns what closes the rest, to be called in a thread."""
        with ExitStack() as stack:
            if self._lock is not None:
                stack.callback(self._lock.release)
            if self._writer is not None:
                stack.callback(self._writer.close, is_writer=True)
            if self._readers is not None:
                stack.callback(self._readers.close)
            self._readers = self._writer = self._lock = None
            return stack.pop_all().close


class _Lane:
    """Threads that run functions of a session, each with a connection of its own.

    Args:
        name: Name of the threads.
        engine: Where connections come from; closed with the lane.
        num_threads: How many run at once.
    """

    def __init__(self, name: str, engine: Engine, num_threads: int) -> None:
        self._engine = engine
        self._threads = ThreadPoolExecutor(num_threads, thread_name_prefix=name)
        self._num_waiting = 0

    async def run(self, work: Callable[[Session], T]) -> T:
        """Run in a thread; the count is touched by the event loop alone."""
        if self._num_waiting >= MAX_WAITING:
            raise StorageBusy(
                f"{self._num_waiting} calls wait for the database", "Try again in a moment."
            )
        self._num_waiting += 1
        try:
            turn = partial(self.take_turn, work, time.monotonic())
            return await asyncio.get_running_loop().run_in_executor(self._threads, turn)
        finally:
            self._num_waiting -= 1

    def take_turn(self, work: Callable[[Session], T], _asked_at: float) -> T:
        """Run what waited for its turn."""
        return self.work(work)

    def work(self, work: Callable[[Session], T]) -> T:
        """Run here, commit, and let the rows go detached."""
        with Session(self._engine, expire_on_commit=False) as session, session.begin():
            return work(session)

    def close(self, *, is_writer: bool = False) -> None:
        """Wait for what was begun and close the connections."""
        self._threads.shutdown()
        try:
            if is_writer:
                with self._engine.connect() as connection:
                    fold = "PRAGMA wal_checkpoint(TRUNCATE)"
                    connection.connection.cursor().execute(fold).close()
        except (DBAPIError, sqlite3.Error) as error:
            logger.warning("the write-ahead log could not be folded in: %s", error)
        finally:
            self._engine.dispose()


class _WriterLane(_Lane):
    """The one that writes; all who wait for another program wait at the same time.

    Args:
        engine: With one connection.
        path: Of the database.
        patience_s: How long a call waits for another program.
    """

    def __init__(self, engine: Engine, path: Path, patience_s: float) -> None:
        super().__init__("storage-writer", engine, 1)
        self._path = path
        self._patience_s = patience_s
        self._held_at = -math.inf  # when a call was last refused because another program writes

    @override
    def take_turn(self, work: Callable[[Session], T], asked_at: float) -> T:
        """Run what waited for its turn, unless it waited for another program for long enough.

        Raises:
            StorageBusy: It did.
        """
        if self._held_at - asked_at >= self._patience_s:
            raise held()
        try:
            return self.work(work)
        except DBAPIError as error:
            if is_held(error):
                self._held_at = time.monotonic()
            raise


def _begin_anew(session: Session) -> None:
    """Mark what an end without goodbye left running, and see to the local user."""
    users.ensure_local(session)
    unattended.mark_interrupted(session)
