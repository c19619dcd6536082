"""What was done to accounts, for administrators to read; the newest are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, select

from webui.storage.tables import AuditRow

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

MAX_KEPT = 10_000


def add(session: Session, row: AuditRow) -> None:
    """Note what was done, and forget what is too long ago."""
    session.add(row)
    session.flush()
    session.execute(delete(AuditRow).where(AuditRow.position <= row.position - MAX_KEPT))


def list_newest(session: Session, *, limit: int, before: int | None = None) -> list[AuditRow]:
    """Return what was done, newest first, before a position where one is given."""
    query = select(AuditRow).order_by(AuditRow.position.desc()).limit(limit)
    return list(
        session.scalars(query if before is None else query.where(AuditRow.position < before))
    )
