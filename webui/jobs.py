"""Long work with progress and cancel: downloads, later quantization and the like.

Knows how work is run, watched and ended; the rows are storage's and what the work does is
nobody's here. Everything but a plain function's thread runs on one event loop. A job belongs to
the server: it goes on when the one who asked for it goes away.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from webui.errors import Busy, Conflict, NotFound, WebuiError
from webui.storage import jobs as rows
from webui.storage.tables import JobStatus, utc_now

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from webui.actor import Actor
    from webui.storage.database import Database
    from webui.storage.tables import JobRow

    Work = Callable[["Progress"], object]

logger = logging.getLogger(__name__)

TELL_S = 0.2
SAVE_S = 1.0
CLOSE_WAIT_S = 5.0
MAX_RUNNING = 16
MAX_LISTED = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Long work as it is at one moment.

    Attributes:
        kind: Which sort of work, a stable word.
        done: How many `unit`s of `total` are done; a total of None is unknown.
        message: What is being done now.
        error: Why it failed, in words.
    """

    id: str
    owner_id: str
    kind: str
    title: str
    status: JobStatus
    done: int
    total: int | None
    unit: str
    message: str
    error: str | None
    created_at: datetime
    finished_at: datetime | None


class Progress:
    """What the work is handed: where it says how far it is, and hears that it shall end.

    May be used from any thread.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        take: Callable[[int, int | None, str], None],
    ) -> None:
        self._loop = loop
        self._take = take
        self._cancelled = threading.Event()

    @property
    def cancelled(self) -> bool:
        """Whether the work shall end; a plain function looks here often."""
        return self._cancelled.is_set()

    def report(self, done: int, total: int | None = None, message: str = "") -> None:
        """Say how far the work is; cheap, only the latest of many is told."""
        with suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            self._loop.call_soon_threadsafe(self._take, done, total, message)

    def cancel(self) -> None:
        """Ask the work to end."""
        self._cancelled.set()


class Jobs:
    """All long work of this server.

    Args:
        database: Where jobs are kept.
        tell_s: Least seconds between two tellings of one job's progress.
        save_s: Least seconds between two savings of it.
        close_wait_s: How long `close` waits for work that does not end.
    """

    def __init__(
        self,
        database: Database,
        *,
        tell_s: float = TELL_S,
        save_s: float = SAVE_S,
        close_wait_s: float = CLOSE_WAIT_S,
    ) -> None:
        self._database = database
        self._tell_s = tell_s
        self._save_s = save_s
        self._close_wait_s = close_wait_s
        self._runs: dict[str, _Run] = {}
        self._unsaved: dict[str, Job] = {}  # ended, but storage refused to hear it
        self._num_starting = 0
        self._callbacks: list[Callable[[Job], None]] = []
        self._is_closing = False

    async def start(self, actor: Actor, kind: str, title: str, fn: Work, *, unit: str = "") -> Job:
        """Begin work and return at once.

        Args:
            actor: Who owns the job.
            kind: Which sort of work, a stable word.
            title: What people read.
            fn: The work, handed its `Progress`. A coroutine function runs on the loop and is
                cancelled as a task; a plain function runs in a thread of its own and looks at
                `Progress.cancelled`. What it returns is dropped; what it raises is the error.
            unit: What `done` counts, such as "bytes".

        Raises:
            Busy: Too much work is running.
            Conflict: The server is ending.
        """
        if self._is_closing:
            raise Conflict("The server is being stopped", "Try again when it is back.")
        if len(self._runs) + self._num_starting >= MAX_RUNNING:
            raise Busy(
                f"{MAX_RUNNING} jobs are running already",
                "Wait until one of them has ended or cancel one.",
                retry_after_s=10.0,
            )
        self._num_starting += 1
        try:
            row = await self._database.run(
                rows.add, actor.user_id, kind=kind, title=title, unit=unit
            )
        finally:
            self._num_starting -= 1
        return self._launch(job_of(row), fn)

    async def cancel(self, actor: Actor, job_id: str) -> None:
        """Ask work to end, without waiting; nothing happens when it has ended.

        Raises:
            NotFound: There is no such job, or it is somebody else's.
        """
        run = self._runs.get(job_id)
        if run is None:
            await self._database.read(rows.get, actor.user_id, job_id)
        elif run.job.owner_id != actor.user_id:
            raise NotFound("There is no such job")
        else:
            run.cancel(JobStatus.CANCELLED)

    async def wait(self, actor: Actor, job_id: str) -> Job:
        """Wait for the end of work; the caller going away does not end it.

        Raises:
            NotFound: There is no such job, or it is somebody else's.
        """
        run = self._runs.get(job_id)
        if run is None:
            return job_of(await self._database.read(rows.get, actor.user_id, job_id))
        if run.job.owner_id != actor.user_id:
            raise NotFound("There is no such job")
        await asyncio.wait({run.supervised})
        return run.job

    async def list(self, actor: Actor) -> list[Job]:
        """Return the latest jobs, newest first, running ones as they are now."""
        kept = await self._database.read(rows.list_newest, actor.user_id, limit=MAX_LISTED)
        fresher = self._unsaved | {job_id: run.job for job_id, run in self._runs.items()}
        return [fresher.get(row.id) or job_of(row) for row in kept]

    def subscribe(self, callback: Callable[[Job], None]) -> Callable[[], None]:
        """Call on every change, on the loop; it must not raise. Returns what ends that."""
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback)

    async def close(self) -> None:
        """End all work as interrupted and wait for it, but not for ever; idempotent."""
        self._is_closing = True
        runs = list(self._runs.values())
        for run in runs:
            run.cancel(JobStatus.INTERRUPTED)
        if runs:
            supervisors = {run.supervised for run in runs}
            _, late = await asyncio.wait(supervisors, timeout=self._close_wait_s)
            for task in late:
                logger.warning("%s does not end; left behind", task.get_name())
                task.cancel()
            if late:
                await asyncio.wait(late)

    def _launch(self, job: Job, fn: Work) -> Job:
        run = _Run(job, self._database, self._tell, tell_s=self._tell_s)
        self._runs[job.id] = run
        self._tell(job)
        if self._is_closing:  # meanwhile
            run.cancel(JobStatus.INTERRUPTED)
        name = f"job {job.kind} {job.id}"
        run.supervisor = asyncio.create_task(self._supervise(run, fn), name=name)
        return job

    async def _supervise(self, run: _Run, fn: Work) -> None:
        saver = asyncio.create_task(run.save_often(self._save_s), name=f"save job {run.job.id}")
        try:
            await run.work_off(fn)
        finally:
            saver.cancel()
            await asyncio.wait({saver})
            try:
                if not await run.end():  # the next start marks it interrupted
                    self._unsaved[run.job.id] = run.job
            finally:
                del self._runs[run.job.id]
                self._tell(run.job)

    def _tell(self, job: Job) -> None:
        for callback in tuple(self._callbacks):
            callback(job)


class _Run:
    """One job at work."""

    def __init__(
        self, job: Job, database: Database, tell: Callable[[Job], None], *, tell_s: float
    ) -> None:
        self.job = job
        self.supervisor: asyncio.Task[None] | None = None
        self._database = database
        self._tell = tell
        self._tell_s = tell_s
        self._loop = asyncio.get_running_loop()
        self._progress = Progress(self._loop, self._take)
        self._task: asyncio.Task[object] | None = None
        self._cancelled_as: JobStatus | None = None
        self._outcome: tuple[JobStatus, str | None] = (JobStatus.INTERRUPTED, None)
        self._told_at = -tell_s
        self._telling: asyncio.TimerHandle | None = None
        self._is_saved = True
        self._is_over = False

    @property
    def supervised(self) -> asyncio.Task[None]:
        """The task that sees the work to its end."""
        assert self.supervisor is not None
        return self.supervisor

    def cancel(self, status: JobStatus) -> None:
        """Ask the work to end, and say as what it will have; the first word counts."""
        self._cancelled_as = self._cancelled_as or status
        self._progress.cancel()
        if self._task is not None:
            self._task.cancel()

    async def work_off(self, fn: Work) -> None:
        """Run the work to whatever end."""
        if self._cancelled_as is None:
            is_coroutine = inspect.iscoroutinefunction(fn)
            made = fn(self._progress) if is_coroutine else await self._in_thread(fn)
            if inspect.isawaitable(made):  # a lambda may have made it, in the thread
                await self._on_loop(made)
        if self._cancelled_as is not None:
            self._outcome = (self._cancelled_as, None)

    async def save_often(self, save_s: float) -> None:
        """Save progress now and then; a saving that fails is made up for by the next."""
        while True:
            await asyncio.sleep(save_s)
            if self._is_saved:
                continue
            job, self._is_saved = self.job, True
            try:
                await self._database.run(
                    rows.save_progress, job.owner_id, job.id, job.done, job.total, job.message
                )
            except WebuiError as error:
                self._is_saved = False
                logger.warning("progress of job %s is not saved: %s", job.id, error.message)

    async def end(self) -> bool:
        """Fix how it ended and save it; returns whether that worked."""
        self._is_over = True
        if self._telling is not None:
            self._telling.cancel()
        status, error = self._outcome
        now = utc_now()
        job = self.job = replace(self.job, status=status, error=error, finished_at=now)
        end = rows.JobEnd(status, job.done, job.total, job.message, error, now)
        try:
            await self._database.run(rows.finish, job.owner_id, job.id, end)
        except WebuiError as failure:
            logger.warning("the end of job %s is not saved: %s", job.id, failure.message)
            return False
        return True

    async def _in_thread(self, fn: Work) -> object:
        work = _in_thread(self._loop, lambda: fn(self._progress), f"job {self.job.id}")
        await asyncio.wait({work})
        self._outcome = self._outcome_of(work)
        return None if work.exception() else work.result()

    async def _on_loop(self, made: Awaitable[object]) -> None:
        self._task = asyncio.create_task(_awaited(made))
        if self._cancelled_as is not None:
            self._task.cancel()
        await asyncio.wait({self._task})
        self._outcome = self._outcome_of(self._task)

    def _outcome_of(self, work: asyncio.Future[object]) -> tuple[JobStatus, str | None]:
        if work.cancelled():
            return JobStatus.CANCELLED, None
        error = work.exception()
        if error is None:
            return JobStatus.DONE, None
        if self._cancelled_as is None and not isinstance(error, WebuiError):
            logger.error("job %s (%s) failed", self.job.id, self.job.kind, exc_info=error)
        return JobStatus.FAILED, _words_of(error)

    def _take(self, done: int, total: int | None, message: str) -> None:
        if self._is_over:
            return
        self.job = replace(self.job, done=done, total=total, message=message)
        self._is_saved = False
        if self._telling is None:
            wait_s = self._told_at + self._tell_s - self._loop.time()
            if wait_s <= 0:
                self._tell_now()
            else:
                self._telling = self._loop.call_later(wait_s, self._tell_now)

    def _tell_now(self) -> None:
        self._telling = None
        self._told_at = self._loop.time()
        self._tell(self.job)


def job_of(row: JobRow) -> Job:
    """Return what a row says."""
    return Job(**{field.name: getattr(row, field.name) for field in fields(Job)})


async def _awaited(work: Awaitable[object]) -> object:
    return await work


def _in_thread(
    loop: asyncio.AbstractEventLoop, work: Callable[[], object], name: str
) -> asyncio.Future[object]:
    """Run in a thread of its own, which does not keep the process from ending."""
    future: asyncio.Future[object] = loop.create_future()

    def settle(result: object, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def run() -> None:
        result, failure = None, None
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - the rim: the job is told of everything
            failure = error
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future


def _words_of(error: BaseException) -> str:
    if isinstance(error, WebuiError):
        return ". ".join(part.rstrip(".") for part in (error.message, error.hint) if part) + "."
    if isinstance(error, OSError) and error.strerror:
        place = f": {error.filename}" if error.filename else ""
        return f"{error.strerror}{place}"
    return f"Internal error ({type(error).__name__}); the log of the server says more."
