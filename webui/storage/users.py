"""People."""

from __future__ import annotations

from typing import TYPE_CHECKING

from webui.actor import LOCAL_USER_ID, local_actor
from webui.storage.tables import UserRow

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


def ensure_local(session: Session) -> UserRow:
    """Return the one local user, made when missing."""
    row = session.get(UserRow, LOCAL_USER_ID)
    if row is None:
        row = UserRow(id=LOCAL_USER_ID, name=local_actor().name)
        session.add(row)
        session.flush()
    return row
