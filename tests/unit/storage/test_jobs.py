"""Rows of long work."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from webui.errors import NotFound
from webui.storage import jobs, unattended
from webui.storage.tables import JobStatus, utc_now

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


def test_jobs_are_listed_newest_first_to_their_owner(session: Session) -> None:
    rows = [jobs.add(session, "ann", kind="download", title=str(n)) for n in range(4)]
    jobs.add(session, "bob", kind="download", title="other")
    found = jobs.list_newest(session, "ann", limit=3)
    assert [row.title for row in found] == ["3", "2", "1"]
    assert rows[0].status is JobStatus.RUNNING


def test_job_of_another_is_not_found(session: Session) -> None:
    row = jobs.add(session, "ann", kind="download", title="x")
    assert jobs.get(session, "ann", row.id) is row
    with pytest.raises(NotFound):
        jobs.get(session, "bob", row.id)


def test_progress_holds_more_than_32_bits_and_does_not_touch_the_ended(session: Session) -> None:
    row = jobs.add(session, "ann", kind="download", title="x", unit="bytes")
    jobs.save_progress(session, "ann", row.id, 5 * 2**32, 9 * 2**32, "half")
    session.commit()
    session.refresh(row)
    assert (row.done, row.total, row.message) == (5 * 2**32, 9 * 2**32, "half")
    end = jobs.JobEnd(JobStatus.FAILED, 6, 9, "most", "No room", utc_now())
    jobs.finish(session, "ann", row.id, end)
    session.commit()
    jobs.save_progress(session, "ann", row.id, 1, 1, "late")
    session.refresh(row)
    assert (row.done, row.message, row.error) == (6, "most", "No room")
    assert row.finished_at is not None


def test_running_jobs_become_interrupted(session: Session) -> None:
    running = jobs.add(session, "ann", kind="download", title="x")
    done = jobs.add(session, "ann", kind="download", title="y")
    jobs.finish(session, "ann", done.id, jobs.JobEnd(JobStatus.DONE, 1, 1, "", None, utc_now()))
    unattended.mark_interrupted(session)
    session.commit()
    session.refresh(running)
    session.refresh(done)
    assert (running.status, done.status) == ("interrupted", "done")
