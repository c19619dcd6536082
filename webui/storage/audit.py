"""What was done to accounts, for administrators to read; the newest are kept.

Nobody pushes out what others did. What administrators did has a room of its own; in each room the
largest heap gives way first, which is what one actor did of one kind: so a few who do something
over and over push out that alone, and nobody hides one thing behind many others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, func, select

from webui.storage.tables import AuditRow

if TYPE_CHECKING:
    from sqlalchemy import Select
    from sqlalchemy.orm import Session

MAX_KEPT = 10_000  # of what administrators did, and as many of all else
TRIM_EVERY = 256  # entries; sorting a full log takes tens of milliseconds


def add(session: Session, row: AuditRow) -> None:
    """Note what was done, and every so often forget what is too long ago."""
    session.add(row)
    session.flush()
    if row.position % TRIM_EVERY == 0:
        gone = delete(AuditRow).where(AuditRow.position.in_(_surplus()))
        session.execute(gone.execution_options(synchronize_session=False))


def _surplus() -> Select[int]:
    """Return what there is no room for: the newest of every heap stay, as many of each as can."""
    heap = (AuditRow.by_administrator, AuditRow.actor_id, AuditRow.action)
    depth = func.row_number().over(partition_by=heap, order_by=AuditRow.position.desc())
    heaped = select(AuditRow.position, AuditRow.by_administrator, depth.label("depth")).subquery()
    place = func.row_number().over(
        partition_by=heaped.c.by_administrator,
        order_by=(heaped.c.depth, heaped.c.position.desc()),
    )
    placed = select(heaped.c.position, place.label("place")).subquery()
    return select(placed.c.position).where(placed.c.place > MAX_KEPT)


def list_newest(session: Session, *, limit: int, before: int | None = None) -> list[AuditRow]:
    """Return what was done, newest first, before a position where one is given."""
    query = select(AuditRow).order_by(AuditRow.position.desc()).limit(limit)
    return list(
        session.scalars(query if before is None else query.where(AuditRow.position < before))
    )
