"""Conversations that were taken away: here until their time is over or their owner ends them.

Every function takes the owner: what is somebody else's is not found. The server's own clearing of
everybody's trash stands in `unattended`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import func

from webui.errors import NotFound
from webui.storage.owned import owned
from webui.storage.tables import ConversationRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Select
    from sqlalchemy.orm import Session

KEPT = timedelta(days=30)


def list_newest(
    session: Session, owner_id: str, limit: int
) -> tuple[Sequence[ConversationRow], int]:
    """Return those deleted last, at most so many, and how many there are in all."""
    query = _deleted(owner_id)
    total = session.scalar(query.with_only_columns(func.count()))
    newest = query.order_by(ConversationRow.deleted_at.desc(), ConversationRow.id).limit(limit)
    return list(session.scalars(newest)), int(total or 0)


def delete(session: Session, owner_id: str, conversation_id: str) -> None:
    """Remove one for good, with its messages and what ran in it.

    Raises:
        NotFound: There is none, it is not in the trash, or it is somebody else's.
    """
    row = session.scalar(_deleted(owner_id).where(ConversationRow.id == conversation_id))
    if row is None:
        raise NotFound(
            "There is no such conversation in the trash",
            "What is still in the list of chats is deleted there first.",
        )
    session.delete(row)
    session.flush()


def empty(session: Session, owner_id: str) -> int:
    """Remove all of them for good; returns how many there were."""
    rows = list(session.scalars(_deleted(owner_id)))
    for row in rows:
        session.delete(row)
    session.flush()
    return len(rows)


def _deleted(owner_id: str) -> Select[ConversationRow]:
    return owned(ConversationRow, owner_id).where(ConversationRow.deleted_at.is_not(None))
