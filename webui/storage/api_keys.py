"""Keys of an owner for programs; how a key finds its row stands in `credentials`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from webui.storage.owned import get_owned, owned
from webui.storage.tables import ApiKeyRow

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


def add(session: Session, row: ApiKeyRow) -> None:
    """Keep a new key."""
    session.add(row)
    session.flush()


def list_newest(session: Session, owner_id: str) -> list[ApiKeyRow]:
    """Return the keys of an owner, newest first."""
    query = owned(ApiKeyRow, owner_id).order_by(ApiKeyRow.created_at.desc(), ApiKeyRow.id)
    return list(session.scalars(query))


def delete(session: Session, owner_id: str, key_id: str) -> ApiKeyRow:
    """Take a key away; returns what it was.

    Raises:
        NotFound: There is none, or it is somebody else's.
    """
    row = get_owned(session, ApiKeyRow, owner_id, key_id, name="key")
    session.delete(row)
    return row


def delete_all(session: Session, owner_id: str) -> None:
    """Take all keys of an owner away."""
    for row in session.scalars(owned(ApiKeyRow, owner_id)):
        session.delete(row)
