"""Sign-ins, links and API keys of everybody, as administrators see them.

The only queries for a person that are not of that person's own rows: nothing that anybody wrote to a
model comes here. Who may ask is for `accounts` to say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import or_, select

from webui.storage.sign_in_tables import ExternalIdentityRow
from webui.storage.tables import ApiKeyRow, SessionRow, UserRow

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.orm import Session

MAX_LISTED = 5000


def list_sessions(session: Session, now: datetime) -> list[tuple[SessionRow, UserRow]]:
    """Return sign-ins that have not run out and whose they are, last used first."""
    query = (
        select(SessionRow, UserRow)
        .join(UserRow, UserRow.id == SessionRow.owner_id)
        .where(SessionRow.expires_at > now)
        .order_by(SessionRow.last_used_at.desc(), SessionRow.id)
        .limit(MAX_LISTED)
    )
    return [(row[0], row[1]) for row in session.execute(query)]


def list_issuers(session: Session) -> dict[str, list[str]]:
    """Return the sites that vouch for people, by id of the person."""
    query = select(ExternalIdentityRow.owner_id, ExternalIdentityRow.issuer)
    found: dict[str, list[str]] = {}
    for owner_id, issuer in session.execute(query.order_by(ExternalIdentityRow.issuer)):
        found.setdefault(owner_id, []).append(issuer)
    return found


def list_keys(session: Session, now: datetime) -> list[tuple[ApiKeyRow, UserRow]]:
    """Return keys that have not run out and whose they are, last used first, then the newest."""
    query = (
        select(ApiKeyRow, UserRow)
        .join(UserRow, UserRow.id == ApiKeyRow.owner_id)
        .where(or_(ApiKeyRow.expires_at.is_(None), ApiKeyRow.expires_at > now))
        .order_by(
            ApiKeyRow.last_used_at.desc().nulls_last(), ApiKeyRow.created_at.desc(), ApiKeyRow.id
        )
        .limit(MAX_LISTED)
    )
    return [(row[0], row[1]) for row in session.execute(query)]
