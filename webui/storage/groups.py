"""Groups of people, who belongs to them, and limits: of groups, of people, of everybody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete as delete_from
from sqlalchemy import select

from webui.errors import NotFound
from webui.storage.tables import GroupMemberRow, GroupRow, UserRow

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy.orm import Session

EVERYBODY_KEY = ""  # no name has a key like it


@dataclass(frozen=True, slots=True)
class FoundLimits:
    """Limits that touch somebody, as they were saved."""

    own: dict[str, Any]
    of_groups: list[dict[str, Any]]
    default: dict[str, Any]


def list_all(session: Session) -> list[GroupRow]:
    """Return all groups by name."""
    query = select(GroupRow).where(GroupRow.name_key != EVERYBODY_KEY).order_by(GroupRow.name_key)
    return list(session.scalars(query))


def get(session: Session, group_id: str) -> GroupRow:
    """Return a group.

    Raises:
        NotFound: There is none.
    """
    row = session.get(GroupRow, group_id)
    if row is None or row.name_key == EVERYBODY_KEY:
        raise NotFound("There is no such group")
    return row


def find_by_key(session: Session, name_key: str) -> GroupRow | None:
    """Return the group of that name."""
    return session.scalar(select(GroupRow).where(GroupRow.name_key == name_key))


def add(session: Session, row: GroupRow) -> GroupRow:
    """Keep a new group.

    Raises:
        IntegrityError: The name is taken; ask `find_by_key` before.
    """
    session.add(row)
    session.flush()
    return row


def delete(session: Session, row: GroupRow) -> None:
    """Take a group away; its members stay."""
    session.delete(row)
    session.flush()


def member_ids(session: Session, group_id: str) -> list[str]:
    """Return who belongs to a group, in the order in which they came to the server."""
    query = (
        select(GroupMemberRow.user_id)
        .join(UserRow, UserRow.id == GroupMemberRow.user_id)
        .where(GroupMemberRow.group_id == group_id)
        .order_by(UserRow.created_at, UserRow.id)
    )
    return list(session.scalars(query))


def set_members(session: Session, group_id: str, user_ids: Iterable[str]) -> None:
    """Have these belong to a group, and nobody else.

    Raises:
        NotFound: One of them is nobody.
    """
    session.execute(delete_from(GroupMemberRow).where(GroupMemberRow.group_id == group_id))
    for user_id in dict.fromkeys(user_ids):
        if session.get(UserRow, user_id) is None:
            raise NotFound("There is no such user")
        session.add(GroupMemberRow(group_id=group_id, user_id=user_id))
    session.flush()


def default_limits(session: Session) -> dict[str, Any]:
    """Return the limits of everybody who has no others."""
    row = find_by_key(session, EVERYBODY_KEY)
    return {} if row is None else row.limits


def set_default_limits(session: Session, limits: dict[str, Any]) -> None:
    """Set the limits of everybody who has no others."""
    row = find_by_key(session, EVERYBODY_KEY)
    if row is None:
        session.add(GroupRow(name="", name_key=EVERYBODY_KEY, limits=limits))
    else:
        row.limits = limits


def find_limits(session: Session, user_id: str) -> FoundLimits:
    """Return all limits that touch somebody; nothing is their own when they are gone."""
    user = session.get(UserRow, user_id)
    of_groups = session.scalars(
        select(GroupRow.limits)
        .join(GroupMemberRow, GroupMemberRow.group_id == GroupRow.id)
        .where(GroupMemberRow.user_id == user_id)
    )
    own = {} if user is None or user.limits is None else user.limits
    return FoundLimits(own, list(of_groups), default_limits(session))
