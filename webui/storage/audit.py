"""What was done to accounts, for administrators to read; the newest are kept.

Nobody pushes out what others did: beyond so many, one's own oldest go first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, func, select

from webui.storage.tables import AuditRow

if TYPE_CHECKING:
    from sqlalchemy import Select
    from sqlalchemy.orm import Session

MAX_KEPT = 10_000
MAX_OF_ONE = 1_000  # of one actor, where there is no room for all


def add(session: Session, row: AuditRow) -> None:
    """Note what was done, and forget what is too long ago where there are too many."""
    session.add(row)
    session.flush()
    too_many = (session.scalar(select(func.count()).select_from(AuditRow)) or 0) - MAX_KEPT
    if too_many > 0:
        session.execute(delete(AuditRow).where(AuditRow.position.in_(_first_to_go(row, too_many))))


def _first_to_go(row: AuditRow, num: int) -> Select[int]:
    """Return what goes: of who is noted now beyond their part, of others beyond theirs, the rest."""
    place = func.row_number().over(
        partition_by=AuditRow.actor_id, order_by=AuditRow.position.desc()
    )
    placed = select(AuditRow.position, AuditRow.actor_id, place.label("place")).subquery()
    is_beyond = placed.c.place > MAX_OF_ONE
    is_own = placed.c.actor_id.is_not_distinct_from(row.actor_id)
    order = ((is_beyond & is_own).desc(), is_beyond.desc(), placed.c.position)
    return select(placed.c.position).order_by(*order).limit(num)


def list_newest(session: Session, *, limit: int, before: int | None = None) -> list[AuditRow]:
    """Return what was done, newest first, before a position where one is given."""
    query = select(AuditRow).order_by(AuditRow.position.desc()).limit(limit)
    return list(
        session.scalars(query if before is None else query.where(AuditRow.position < before))
    )
