"""Long work: how it is told, cancelled, ended and kept."""

from __future__ import annotations

import asyncio
import functools
import threading
from typing import TYPE_CHECKING

import pytest

from webui.actor import Actor, Permission, local_actor
from webui.errors import Busy, Conflict, InvalidRequest, NotFound
from webui.jobs import MAX_RUNNING, Job, Jobs, Progress
from webui.storage import jobs as rows
from webui.storage.database import Database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ME = local_actor()
OTHER = Actor("other", "Other", frozenset(Permission))
LONG_S = 3600.0


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(tmp_path / "hearthside.db")
    await database.open()
    yield database
    await database.close()


@pytest.fixture
async def jobs(database: Database) -> AsyncIterator[Jobs]:
    jobs = Jobs(database, tell_s=LONG_S, save_s=LONG_S, close_wait_s=0.05)
    yield jobs
    await jobs.close()


async def forever(progress: Progress) -> None:
    await asyncio.Event().wait()


async def ended(jobs: Jobs, work: object) -> Job:
    job = await jobs.start(ME, "test", "Test", work)  # type: ignore[arg-type]  # any callable
    return await asyncio.wait_for(jobs.wait(ME, job.id), 5)


async def test_job_runs_and_is_kept(jobs: Jobs, database: Database) -> None:
    async def work(progress: Progress) -> str:
        progress.report(5 * 2**32, 9 * 2**32, "halfway")
        return "dropped"

    job = await jobs.start(ME, "download", "Starter", work, unit="bytes")
    assert (job.status, job.kind, job.title, job.unit) == (
        "running",
        "download",
        "Starter",
        "bytes",
    )
    done = await jobs.wait(ME, job.id)
    assert (done.status, done.done, done.total, done.message, done.error) == (
        "done",
        5 * 2**32,
        9 * 2**32,
        "halfway",
        None,
    )
    assert done.finished_at is not None
    row = await database.read(rows.get, ME.user_id, job.id)
    assert (row.status, row.done, row.message) == ("done", done.done, "halfway")
    assert await jobs.list(ME) == [done]
    assert await jobs.wait(ME, job.id) == done


async def test_plain_function_runs_in_a_thread_of_its_own(jobs: Jobs) -> None:
    seen: list[threading.Thread] = []

    def work(progress: Progress) -> None:
        seen.append(threading.current_thread())
        progress.report(1, 1, "all")

    job = await ended(jobs, work)
    assert (job.status, job.done, job.message) == ("done", 1, "all")
    assert seen[0] is not threading.current_thread()


async def test_lambda_and_partial_that_make_coroutines_run_on_the_loop(jobs: Jobs) -> None:
    async def work(name: str, progress: Progress) -> None:
        assert asyncio.get_running_loop()
        progress.report(1, 1, name)

    for fn in (lambda progress: work("x", progress), functools.partial(work, "x")):
        job = await ended(jobs, fn)
        assert (job.status, job.message) == ("done", "x")


async def test_coroutine_is_cancelled(jobs: Jobs) -> None:
    entered, cleaned = asyncio.Event(), asyncio.Event()

    async def work(progress: Progress) -> None:
        entered.set()
        try:
            await forever(progress)
        finally:
            cleaned.set()

    job = await jobs.start(ME, "test", "Test", work)
    await entered.wait()
    await jobs.cancel(ME, job.id)
    ending = await jobs.wait(ME, job.id)
    assert (ending.status, ending.error) == ("cancelled", None)
    assert cleaned.is_set()


async def test_cancel_before_the_first_step_ends_the_job(jobs: Jobs) -> None:
    job = await jobs.start(ME, "test", "Test", forever)
    await jobs.cancel(ME, job.id)
    assert (await jobs.wait(ME, job.id)).status == "cancelled"


@pytest.mark.parametrize("how", ["returns", "raises"])
async def test_plain_function_hears_that_it_shall_end(jobs: Jobs, how: str) -> None:
    entered = threading.Event()

    def work(progress: Progress) -> None:
        entered.set()
        while not progress.cancelled:
            threading.Event().wait(0.001)
        if how == "raises":
            raise InvalidRequest("stopped half-way")

    job = await jobs.start(ME, "test", "Test", work)
    await asyncio.to_thread(entered.wait, 5)
    await jobs.cancel(ME, job.id)
    assert (await asyncio.wait_for(jobs.wait(ME, job.id), 5)).status == "cancelled"


async def test_cancel_of_an_ended_job_does_nothing(jobs: Jobs) -> None:
    job = await ended(jobs, lambda _: None)
    await jobs.cancel(ME, job.id)
    assert (await jobs.list(ME))[0].status == "done"


@pytest.mark.parametrize("in_thread", [True, False])
@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            InvalidRequest("The file is no GGUF", "Take another."),
            "The file is no GGUF. Take another.",
        ),
        (OSError(28, "No space left on device", "/x"), "No space left on device: /x"),
    ],
)
async def test_error_becomes_words(
    jobs: Jobs, error: Exception, words: str, in_thread: bool
) -> None:
    def plain(progress: Progress) -> None:
        raise error

    async def coroutine(progress: Progress) -> None:
        raise error

    job = await ended(jobs, plain if in_thread else coroutine)
    assert (job.status, job.error) == ("failed", words)


async def test_bug_is_logged_and_its_words_are_not_shown(
    jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    def work(progress: Progress) -> None:
        raise KeyError("secret")

    job = await ended(jobs, work)
    assert job.status == "failed"
    assert job.error is not None
    assert "KeyError" in job.error
    assert "secret" not in job.error
    assert "secret" in caplog.text


async def test_job_of_another_is_not_found(jobs: Jobs) -> None:
    job = await jobs.start(ME, "test", "Test", forever)
    with pytest.raises(NotFound):
        await jobs.cancel(OTHER, job.id)
    with pytest.raises(NotFound):
        await jobs.wait(OTHER, job.id)
    with pytest.raises(NotFound):
        await jobs.cancel(ME, "no such id")
    assert await jobs.list(OTHER) == []
    assert [found.status for found in await jobs.list(ME)] == ["running"]


async def test_subscriber_hears_begin_first_progress_and_end(jobs: Jobs) -> None:
    told: list[Job] = []
    unsubscribe = jobs.subscribe(told.append)

    async def work(progress: Progress) -> None:
        for number in range(1, 1001):
            progress.report(number, 1000)
            await asyncio.sleep(0)

    await ended(jobs, work)
    assert [(job.status, job.done) for job in told] == [
        ("running", 0),
        ("running", 1),
        ("done", 1000),
    ]
    unsubscribe()
    await ended(jobs, work)
    assert len(told) == 3


async def test_last_of_many_reports_is_told_though_nothing_follows(database: Database) -> None:
    jobs = Jobs(database, tell_s=0.01)
    told: list[int] = []
    latest = asyncio.Event()

    def hear(job: Job) -> None:
        told.append(job.done)
        if job.done == 100:
            latest.set()

    async def work(progress: Progress) -> None:
        for number in range(101):
            progress.report(number, 100)
        await forever(progress)

    jobs.subscribe(hear)
    await jobs.start(ME, "test", "Test", work)
    await asyncio.wait_for(latest.wait(), 5)
    assert len(told) <= 4
    await jobs.close()


async def test_progress_is_saved_now_and_then(database: Database) -> None:
    jobs = Jobs(database, save_s=0.01)

    async def work(progress: Progress) -> None:
        progress.report(3, 9, "third")
        await forever(progress)

    job = await jobs.start(ME, "test", "Test", work)

    async def saved() -> None:
        while (await database.read(rows.get, ME.user_id, job.id)).message != "third":
            pass

    await asyncio.wait_for(saved(), 5)
    await jobs.close()


async def test_close_ends_all_as_interrupted(database: Database) -> None:
    jobs = Jobs(database)

    def plain(progress: Progress) -> None:
        while not progress.cancelled:
            threading.Event().wait(0.001)

    for work in (forever, plain):
        await jobs.start(ME, "test", "Test", work)
    await jobs.close()
    assert {job.status.value for job in await jobs.list(ME)} == {"interrupted"}
    kept = await database.read(rows.list_newest, ME.user_id, limit=9)
    assert {row.status.value for row in kept} == {"interrupted"}
    with pytest.raises(Conflict):
        await jobs.start(ME, "test", "Test", forever)
    await jobs.close()


async def test_close_does_not_wait_for_ever(jobs: Jobs) -> None:
    deaf = threading.Event()
    await jobs.start(ME, "test", "Test", lambda _: deaf.wait(30))
    await asyncio.wait_for(jobs.close(), 5)
    deaf.set()
    assert [job.status.value for job in await jobs.list(ME)] == ["interrupted"]


async def test_too_many_jobs_are_refused(jobs: Jobs) -> None:
    await asyncio.gather(*(jobs.start(ME, "test", str(n), forever) for n in range(MAX_RUNNING)))
    with pytest.raises(Busy):
        await jobs.start(ME, "test", "one more", forever)


async def test_end_that_cannot_be_saved_is_still_known(jobs: Jobs, database: Database) -> None:
    release = asyncio.Event()
    job = await jobs.start(ME, "test", "Test", lambda _: release.wait())
    told: list[Job] = []
    jobs.subscribe(told.append)
    await database.close()
    release.set()
    ending = await jobs.wait(ME, job.id)
    assert ending.status == "done"
    assert told == [ending]
    await database.open()
    assert (await jobs.list(ME))[0] == ending
