"""What an owner lets others read, and who they are; how a reader finds it stands in `received`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import exists, func, select
from sqlalchemy.orm import aliased

from webui.actor import UserRole
from webui.storage.owned import get_owned, owned
from webui.storage.sharing_tables import Audience, ShareRow
from webui.storage.tables import GroupMemberRow, GroupRow, UserRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Select
    from sqlalchemy.orm import Session


def add(session: Session, row: ShareRow) -> None:
    """Keep a new share, in place of one of the same conversation with the same people.

    It then has the id of that one, so that links to it go on.
    """
    query = owned(ShareRow, row.owner_id).where(
        ShareRow.conversation_id == row.conversation_id,
        ShareRow.audience == row.audience,
        ShareRow.user_id.is_not_distinct_from(row.user_id),
        ShareRow.group_id.is_not_distinct_from(row.group_id),
    )
    for before in session.scalars(query):
        row.id = before.id
        session.delete(before)
    session.flush()
    session.add(row)
    session.flush()


def list_newest(
    session: Session, owner_id: str, conversation_id: str | None = None
) -> list[ShareRow]:
    """Return the shares of an owner, those of one conversation where it is named, newest first."""
    query = owned(ShareRow, owner_id).order_by(ShareRow.created_at.desc(), ShareRow.id)
    if conversation_id is not None:
        query = query.where(ShareRow.conversation_id == conversation_id)
    return list(session.scalars(query))


def count(session: Session, owner_id: str) -> int:
    """Return how many shares an owner has."""
    query = owned(ShareRow, owner_id).with_only_columns(func.count())
    return session.scalar(query) or 0


def count_alike(
    session: Session,
    owner_id: str,
    conversation_id: str,
    audiences: Sequence[tuple[Audience, str | None]],
) -> int:
    """Return how many shares of a conversation are with these: `add` replaces them."""
    found = list_newest(session, owner_id, conversation_id)
    return sum((one.audience, one.user_id or one.group_id) in audiences for one in found)


def delete(session: Session, owner_id: str, share_id: str) -> ShareRow:
    """Take a share away; returns what it was.

    Raises:
        NotFound: There is none, or it is somebody else's.
    """
    row = get_owned(session, ShareRow, owner_id, share_id, name="share", hint="It may have ended.")
    session.delete(row)
    return row


def delete_of(session: Session, owner_id: str, conversation_id: str) -> list[ShareRow]:
    """Take all shares of a conversation away; returns what they were."""
    found = list_newest(session, owner_id, conversation_id)
    for row in found:
        session.delete(row)
    return found


def list_people(session: Session, owner_id: str) -> list[UserRow]:
    """Return with whom an owner can share: who has an account and is no guest, by name."""
    return list(session.scalars(_able(owner_id).order_by(UserRow.name_key)))


def list_groups(session: Session, owner_id: str) -> list[GroupRow]:
    """Return the groups that an owner belongs to, by name."""
    query = (
        select(GroupRow)
        .join(GroupMemberRow, GroupMemberRow.group_id == GroupRow.id)
        .where(GroupMemberRow.user_id == owner_id)
        .order_by(GroupRow.name_key)
    )
    return list(session.scalars(query))


def reader_ids(session: Session, owner_id: str, audience: Audience, of_id: str | None) -> list[str]:
    """Return who may read what is shared so.

    Args:
        session: Of the database.
        owner_id: Who shares.
        audience: With what kind of people.
        of_id: Of the person or the group; None where it is everybody.
    """
    query, own = _able(owner_id), aliased(GroupMemberRow)
    if audience is Audience.PERSON:
        query = query.where(UserRow.id == of_id)
    elif audience is Audience.GROUP:
        query = query.join(GroupMemberRow, GroupMemberRow.user_id == UserRow.id).where(
            GroupMemberRow.group_id == of_id,
            exists().where(own.group_id == of_id, own.user_id == owner_id),
        )
    return list(session.scalars(query.with_only_columns(UserRow.id)))


def readers_of(session: Session, row: ShareRow) -> list[str]:
    """Return who may read a share, unless it has run out."""
    return reader_ids(session, row.owner_id, row.audience, row.user_id or row.group_id)


def _able(owner_id: str) -> Select[UserRow]:
    return select(UserRow).where(
        UserRow.id != owner_id,
        UserRow.name_key.is_not(None),
        UserRow.disabled_at.is_(None),
        UserRow.role != UserRole.GUEST,
    )
