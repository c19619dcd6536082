"""Groups of people, who belongs to them, and limits: of groups, of people, of everybody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete as delete_from
from sqlalchemy import select

from webui.errors import NotFound
from webui.storage.tables import GroupMemberRow, GroupRow, UserRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy.orm import Session

EVERYBODY_KEY = ""  # no name has a key like it


@dataclass(frozen=True, slots=True)
class FoundLimits:
    """Limits that touch somebody, as they were saved."""

    own: dict[str, Any]
    of_groups: dict[str, dict[str, Any]]  # by the group's name
    default: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Grants:
    """What people may do by belonging to somebody, as it was saved.

    Attributes:
        of_users: What users may; None where nobody set it.
        of_groups: By id of the member, what each of their groups adds.
    """

    of_users: list[str] | None
    of_groups: Mapping[str, list[list[str]]]


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


def change_members(
    session: Session, group_id: str, joining: Iterable[str], leaving: Iterable[str]
) -> None:
    """Have these belong to a group, and those no more; others stay as they are.

    Raises:
        NotFound: One of those who are to join is nobody.
    """
    so_far = member_ids(session, group_id)
    left = [user_id for user_id in so_far if user_id not in set(leaving)]
    set_members(session, group_id, [*left, *joining])


def find_grants(session: Session, user_id: str | None = None) -> Grants:
    """Return what groups allow one person, or everybody, and what users may."""
    query = (
        select(GroupMemberRow.user_id, GroupRow.permissions)
        .join(GroupRow, GroupRow.id == GroupMemberRow.group_id)
        .where(GroupRow.permissions.is_not(None))
    )
    if user_id is not None:
        query = query.where(GroupMemberRow.user_id == user_id)
    of_groups: dict[str, list[list[str]]] = {}
    for member_id, permissions in session.execute(query):
        of_groups.setdefault(member_id, []).append(permissions or [])
    everybody = find_by_key(session, EVERYBODY_KEY)
    return Grants(None if everybody is None else everybody.permissions, of_groups)


def set_user_permissions(session: Session, permissions: list[str] | None) -> None:
    """Set what users may; None leaves that to the program."""
    _everybody(session).permissions = permissions
    session.flush()


def default_limits(session: Session) -> dict[str, Any]:
    """Return the limits of everybody who has no others."""
    row = find_by_key(session, EVERYBODY_KEY)
    return {} if row is None else row.limits


def set_default_limits(session: Session, limits: dict[str, Any]) -> None:
    """Set the limits of everybody who has no others."""
    _everybody(session).limits = limits


def find_limits(session: Session, user_id: str) -> FoundLimits:
    """Return all limits that touch somebody; nothing is their own when they are gone."""
    user = session.get(UserRow, user_id)
    of_groups = session.execute(
        select(GroupRow.name, GroupRow.limits)
        .join(GroupMemberRow, GroupMemberRow.group_id == GroupRow.id)
        .where(GroupMemberRow.user_id == user_id)
        .order_by(GroupRow.name_key)
    )
    own = {} if user is None or user.limits is None else user.limits
    return FoundLimits(own, {row.name: row.limits for row in of_groups}, default_limits(session))


def find_all_limits(session: Session) -> dict[str, FoundLimits]:
    """Return the limits that touch each person, by id, in the order in which they came."""
    default = default_limits(session)
    query = select(UserRow.id, UserRow.limits).order_by(UserRow.created_at, UserRow.id)
    found = {
        user_id: FoundLimits(own or {}, {}, default) for user_id, own in session.execute(query)
    }
    members = (
        select(GroupMemberRow.user_id, GroupRow.name, GroupRow.limits)
        .join(GroupRow, GroupRow.id == GroupMemberRow.group_id)
        .order_by(GroupRow.name_key)
    )
    for user_id, name, limits in session.execute(members):
        found[user_id].of_groups[name] = limits
    return found


def _everybody(session: Session) -> GroupRow:
    """Return the row of the server's default; made when missing."""
    row = find_by_key(session, EVERYBODY_KEY)
    return row or add(session, GroupRow(name="", name_key=EVERYBODY_KEY))
