"""People: who there is, and who is the administrator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, or_, select

from webui.actor import LOCAL_NAME, LOCAL_USER_ID, UserRole
from webui.errors import NotFound
from webui.storage import settings
from webui.storage.owned import owned
from webui.storage.tables import ConversationRow, SettingRow, UserRow

if TYPE_CHECKING:
    from sqlalchemy import Select
    from sqlalchemy.orm import Session


def ensure_local(session: Session) -> UserRow:
    """Return the local user, who becomes the first administrator; made when missing."""
    row = session.get(UserRow, LOCAL_USER_ID)
    if row is None:
        row = UserRow(id=LOCAL_USER_ID, name=LOCAL_NAME, role=UserRole.ADMINISTRATOR)
        session.add(row)
        session.flush()
    return row


def add(session: Session, row: UserRow) -> UserRow:
    """Keep a new person.

    Raises:
        IntegrityError: The name is taken; ask `find_by_key` before.
    """
    session.add(row)
    session.flush()
    return row


def get(session: Session, user_id: str) -> UserRow:
    """Return a person.

    Raises:
        NotFound: There is none of that id.
    """
    row = session.get(UserRow, user_id)
    if row is None:
        raise NotFound("There is no such user")
    return row


def find_by_key(session: Session, name_key: str) -> UserRow | None:
    """Return who signs in by that name."""
    return session.scalar(select(UserRow).where(UserRow.name_key == name_key))


def list_all(session: Session) -> list[UserRow]:
    """Return everybody, in the order in which they came."""
    return list(session.scalars(select(UserRow).order_by(UserRow.created_at, UserRow.id)))


def is_claimed(session: Session) -> bool:
    """Whether there is an administrator who can sign in, disabled or not."""
    return bool(session.scalar(_administrators()))


def num_able_administrators(session: Session) -> int:
    """Return how many administrators can come in."""
    return session.scalar(_administrators().where(UserRow.disabled_at.is_(None))) or 0


def has_things(session: Session, user_id: str) -> bool:
    """Whether somebody has what is removed of a guest who left."""
    has = owned(ConversationRow, user_id).exists()
    has_chosen = owned(SettingRow, user_id).where(settings.is_own()).exists()
    return bool(session.scalar(select(or_(has, has_chosen))))


def delete(session: Session, row: UserRow) -> None:
    """Take somebody away with everything that is theirs.

    The local user comes back without it: what was chosen for the whole server hangs on that row.
    """
    chosen = settings.list_of_server(session) if row.id == LOCAL_USER_ID else {}
    session.delete(row)
    if row.id == LOCAL_USER_ID:
        session.flush()
        ensure_local(session)
        for name, value in chosen.items():
            settings.put(session, LOCAL_USER_ID, name, value)


def _administrators() -> Select[int]:
    return select(func.count()).where(
        UserRow.role == UserRole.ADMINISTRATOR, UserRow.password_hash.is_not(None)
    )
