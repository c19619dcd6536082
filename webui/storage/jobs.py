"""Long work of an owner, as far as it lasts; what runs is a matter of `webui.jobs`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from webui.storage.owned import get_owned, owned
from webui.storage.tables import JobRow, JobStatus

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
    return get_owned(session, JobRow, owner_id, job_id, name="job")


def list_newest(session: Session, owner_id: str, *, limit: int) -> list[JobRow]:
    """Return the jobs of an owner, newest first."""
    query = owned(JobRow, owner_id).order_by(JobRow.created_at.desc(), JobRow.id).limit(limit)
    return list(session.scalars(query))


def save_progress(
    session: Session, owner_id: str, job_id: str, done: int, total: int | None, message: str
) -> None:
    """Save how far running work is; work that has ended stays as it is.

    Raises:
        NotFound: As `get`.
    """
    row = get(session, owner_id, job_id)
    if row.status is JobStatus.RUNNING:
        row.done, row.total, row.message = done, total, message


def finish(session: Session, owner_id: str, job_id: str, end: JobEnd) -> JobRow:
    """Save how the work ended.

    Raises:
        NotFound: As `get`.
    """
    row = get(session, owner_id, job_id)
    row.status, row.done, row.total = end.status, end.done, end.total
    row.message, row.error = end.message, end.error
    row.finished_at = end.finished_at
    return row
