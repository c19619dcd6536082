"""Sign-ins of an owner; how a token finds one stands in `credentials`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from webui.storage.owned import get_owned, owned
from webui.storage.tables import SessionRow

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

MAX_SESSIONS = 100  # of one owner


def add(session: Session, row: SessionRow) -> None:
    """Keep a new sign-in; of very many of one owner the one that was used least lately ends."""
    session.add(row)
    session.flush()
    kept = [one for one in list_newest(session, row.owner_id) if one is not row]
    for one in kept[MAX_SESSIONS - 1 :]:
        session.delete(one)


def list_newest(session: Session, owner_id: str) -> list[SessionRow]:
    """Return the sign-ins of an owner, last used first."""
    query = owned(SessionRow, owner_id).order_by(SessionRow.last_used_at.desc(), SessionRow.id)
    return list(session.scalars(query))


def get(session: Session, owner_id: str, session_id: str) -> SessionRow:
    """Return one.

    Raises:
        NotFound: There is none, or it is somebody else's.
    """
    return get_owned(session, SessionRow, owner_id, session_id, name="session")


def delete(session: Session, owner_id: str, session_id: str) -> SessionRow:
    """End one; returns what it was.

    Raises:
        NotFound: There is none, or it is somebody else's.
    """
    row = get(session, owner_id, session_id)
    session.delete(row)
    return row


def delete_all(session: Session, owner_id: str) -> None:
    """End all of an owner."""
    for row in session.scalars(owned(SessionRow, owner_id)):
        session.delete(row)
