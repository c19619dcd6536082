"""Who an owner is at other sites; how one of those finds its owner stands in `credentials`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from webui.storage.owned import owned
from webui.storage.sign_in_tables import ExternalIdentityRow

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


def add(session: Session, row: ExternalIdentityRow) -> None:
    """Keep a new one.

    Raises:
        IntegrityError: It is somebody's; ask `credentials.find_external` before.
    """
    session.add(row)
    session.flush()


def find(session: Session, owner_id: str, issuer: str) -> ExternalIdentityRow | None:
    """Return who an owner is at a site."""
    query = owned(ExternalIdentityRow, owner_id).where(ExternalIdentityRow.issuer == issuer)
    return session.scalars(query.order_by(ExternalIdentityRow.created_at)).first()


def list_oldest(session: Session, owner_id: str) -> list[ExternalIdentityRow]:
    """Return who an owner is at all sites, the first that was linked first."""
    query = owned(ExternalIdentityRow, owner_id)
    return list(
        session.scalars(query.order_by(ExternalIdentityRow.created_at, ExternalIdentityRow.issuer))
    )


def delete(session: Session, row: ExternalIdentityRow) -> None:
    """Forget one."""
    session.delete(row)


def delete_all(session: Session, owner_id: str) -> int:
    """Forget all of an owner; returns how many."""
    found = list_oldest(session, owner_id)
    for row in found:
        session.delete(row)
    return len(found)
