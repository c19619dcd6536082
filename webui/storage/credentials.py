"""From a secret, or another site's word, to whose it is: what begins with no owner.

Knows hashes of secrets, never the secrets. What is found has not been judged: whether it has run
out, or its owner may come in at all, is for `accounts` to say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, select, update

from webui.storage.sign_in_tables import ExternalIdentityRow, PasskeyRow
from webui.storage.tables import ApiKeyRow, SessionRow, UserRow

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy.orm import Session


def find_session(session: Session, token_hash: str) -> tuple[SessionRow, UserRow] | None:
    """Return the sign-in of a token and who signed in."""
    query = (
        select(SessionRow, UserRow)
        .join(UserRow, UserRow.id == SessionRow.owner_id)
        .where(SessionRow.token_hash == token_hash)
    )
    row = session.execute(query).first()
    return None if row is None else (row[0], row[1])


def find_api_key(session: Session, key_hash: str) -> tuple[ApiKeyRow, UserRow] | None:
    """Return a key and whose it is."""
    query = (
        select(ApiKeyRow, UserRow)
        .join(UserRow, UserRow.id == ApiKeyRow.owner_id)
        .where(ApiKeyRow.key_hash == key_hash)
    )
    row = session.execute(query).first()
    return None if row is None else (row[0], row[1])


def find_external(
    session: Session, issuer: str, subject: str
) -> tuple[ExternalIdentityRow, UserRow] | None:
    """Return who somebody is here whom another site vouches for."""
    query = (
        select(ExternalIdentityRow, UserRow)
        .join(UserRow, UserRow.id == ExternalIdentityRow.owner_id)
        .where(ExternalIdentityRow.issuer == issuer, ExternalIdentityRow.subject == subject)
    )
    row = session.execute(query).first()
    return None if row is None else (row[0], row[1])


def find_passkey(session: Session, credential_id: str) -> tuple[PasskeyRow, UserRow] | None:
    """Return a passkey and whose it is."""
    query = (
        select(PasskeyRow, UserRow)
        .join(UserRow, UserRow.id == PasskeyRow.owner_id)
        .where(PasskeyRow.credential_id == credential_id)
    )
    row = session.execute(query).first()
    return None if row is None else (row[0], row[1])


def note_use(
    session: Session,
    sessions: Mapping[str, tuple[datetime, datetime, str]],
    api_keys: Mapping[str, datetime],
) -> list[str]:
    """Save when secrets were last used; returns the ids of the sign-ins that are gone meanwhile.

    Args:
        session: Of the database.
        sessions: By id of the sign-in: last use, new end, address.
        api_keys: By id of the key: last use.
    """
    gone = []
    for session_id, (used_at, expires_at, address) in sessions.items():
        query = update(SessionRow).where(SessionRow.id == session_id).returning(SessionRow.id)
        values = {"last_used_at": used_at, "expires_at": expires_at, "address": address}
        if session.scalar(query.values(**values)) is None:
            gone.append(session_id)
    for key_id, used_at in api_keys.items():
        session.execute(
            update(ApiKeyRow).where(ApiKeyRow.id == key_id).values(last_used_at=used_at)
        )
    return gone


def delete_expired(session: Session, now: datetime) -> None:
    """Forget sign-ins that have run out."""
    session.execute(delete(SessionRow).where(SessionRow.expires_at <= now))
