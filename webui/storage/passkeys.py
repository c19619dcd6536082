"""Passkeys of an owner; how one is found by its own id stands in `credentials`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from webui.storage.owned import get_owned, owned
from webui.storage.sign_in_tables import PasskeyRow

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


def add(session: Session, row: PasskeyRow) -> None:
    """Keep a new passkey.

    Raises:
        IntegrityError: It is known already; ask `credentials.find_passkey` before.
    """
    session.add(row)
    session.flush()


def list_oldest(session: Session, owner_id: str) -> list[PasskeyRow]:
    """Return the passkeys of an owner, oldest first."""
    query = owned(PasskeyRow, owner_id).order_by(PasskeyRow.created_at, PasskeyRow.id)
    return list(session.scalars(query))


def get(session: Session, owner_id: str, passkey_id: str) -> PasskeyRow:
    """Return one.

    Raises:
        NotFound: There is none, or it is somebody else's.
    """
    return get_owned(session, PasskeyRow, owner_id, passkey_id, name="passkey")


def delete(session: Session, owner_id: str, passkey_id: str) -> PasskeyRow:
    """Take a passkey away; returns what it was.

    Raises:
        NotFound: There is none, or it is somebody else's.
    """
    row = get(session, owner_id, passkey_id)
    session.delete(row)
    return row


def delete_all(session: Session, owner_id: str) -> int:
    """Take all passkeys of an owner away; returns how many."""
    found = list_oldest(session, owner_id)
    for row in found:
        session.delete(row)
    return len(found)
