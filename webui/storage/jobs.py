"""Long work of an owner, as far as it lasts; what runs is a matter of `webui.jobs`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select, update

from webui.errors import NotFound
from webui.storage.tables import JobRow, JobStatus, utc_now

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.orm import Session


@dataclass(frozen=True, slots=True)
class JobEnd:
    """How work ended; fields as in `JobRow`."""

    status: JobStatus
    done: int
    total: int | None
    message: str
    error: str | None
    finished_at: datetime


def add(session: Session, owner_id: str, *, kind: str, title: str, unit: str = "") -> JobRow:
    """Note that work began."""
    row = JobRow(owner_id=owner_id, kind=kind, title=title, unit=unit)
    session.add(row)
    session.flush()
    return row


def get(session: Session, owner_id: str, job_id: str) -> JobRow:
    """Return a job.

    Raises:
        NotFound: There is none, or it is somebody else's.
    """
    row = session.get(JobRow, job_id)
    if row is None or row.owner_id != owner_id:
        raise NotFound("There is no such job")
    return row


def list_newest(session: Session, owner_id: str, *, limit: int) -> list[JobRow]:
    """Return the jobs of an owner, newest first."""
    query = (
        select(JobRow)
        .where(JobRow.owner_id == owner_id)
        .order_by(JobRow.created_at.desc(), JobRow.id)
        .limit(limit)
    )
    return list(session.scalars(query))


def save_progress(
    session: Session, job_id: str, *, done: int, total: int | None, message: str
) -> None:
    """Save how far running work is; work that has ended stays as it is."""
    session.execute(
        update(JobRow)
        .where(JobRow.id == job_id, JobRow.status == JobStatus.RUNNING)
        .values(done=done, total=total, message=message)
    )


def finish(session: Session, job_id: str, end: JobEnd) -> JobRow:
    """Save how the work ended.

    Raises:
        NotFound: There is no such job.
    """
    row = session.get(JobRow, job_id)
    if row is None:
        raise NotFound("There is no such job")
    row.status, row.done, row.total = end.status, end.done, end.total
    row.message, row.error = end.message, end.error
    row.finished_at = end.finished_at
    return row


def mark_interrupted(session: Session) -> None:
    """Mark what an end without goodbye left running."""
    session.execute(
        update(JobRow)
        .where(JobRow.status == JobStatus.RUNNING)
        .values(status=JobStatus.INTERRUPTED, finished_at=utc_now())
    )
