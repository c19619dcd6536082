"""Groups of people and limits: what administrators do about them.

Knows rows and the schema of limits; who is kept to them is for `quotas` to say. What is changed
holds from the next request on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from webui.accounts import names
from webui.accounts.accounts import note
from webui.accounts.limits import Limits, effective, read_limits
from webui.accounts.views import GroupView, UserLimitsView
from webui.actor import LOCAL_USER_ID, Permission
from webui.errors import Conflict, NotFound
from webui.storage import groups, users
from webui.storage.tables import GroupRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session

    from webui.accounts.identity import Sender
    from webui.actor import Actor
    from webui.storage.database import Database

MAX_GROUPS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupChange:
    """What is to change of a group; what is None stays."""

    name: str | None = None
    limits: Limits | None = None
    member_ids: Sequence[str] | None = None


class Groups:
    """Use cases of groups and limits; each is for administrators alone.

    Args:
        database: Where they are kept.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self, actor: Actor) -> list[GroupView]:
        """Return all groups by name.

        Raises:
            PermissionDenied: The actor is no administrator.
        """
        actor.require(Permission.ADMINISTER)
        return await self._database.read(_list)

    async def add(self, actor: Actor, wanted: GroupChange, sender: Sender) -> GroupView:
        """Make a group.

        Raises:
            PermissionDenied: The actor is no administrator.
            Conflict: The name is taken, or there are too many.
            InvalidRequest: The name cannot be had.
            NotFound: A member is nobody.
        """
        actor.require(Permission.ADMINISTER)
        name = names.checked(wanted.name or "")
        return await self._database.run(_add, actor, name, wanted, sender)

    async def change(
        self, actor: Actor, group_id: str, wanted: GroupChange, sender: Sender
    ) -> GroupView:
        """Change a group.

        Raises:
            PermissionDenied: The actor is no administrator.
            NotFound: There is no such group, or a member is nobody.
            Conflict: The name is taken.
            InvalidRequest: The name cannot be had.
        """
        actor.require(Permission.ADMINISTER)
        name = None if wanted.name is None else names.checked(wanted.name)
        return await self._database.run(_change, actor, group_id, name, wanted, sender)

    async def delete(self, actor: Actor, group_id: str, sender: Sender) -> None:
        """Take a group away; its members stay, with the limits that they then have.

        Raises:
            PermissionDenied: The actor is no administrator.
            NotFound: There is no such group.
        """
        actor.require(Permission.ADMINISTER)
        await self._database.run(_delete, actor, group_id, sender)

    async def limits_of(self, actor: Actor, user_id: str) -> UserLimitsView:
        """Return the limits of a person.

        Raises:
            PermissionDenied: The actor is no administrator.
            NotFound: There is no such user.
        """
        actor.require(Permission.ADMINISTER)
        return await self._database.read(_limits_of, user_id)

    async def set_limits_of(
        self, actor: Actor, user_id: str, limits: Limits, sender: Sender
    ) -> UserLimitsView:
        """Set the limits of one person; those that are left out are as for others.

        Raises:
            PermissionDenied: The actor is no administrator.
            NotFound: There is no such user.
        """
        actor.require(Permission.ADMINISTER)
        return await self._database.run(_set_limits_of, actor, user_id, limits, sender)

    async def default_limits(self, actor: Actor) -> Limits:
        """Return the limits of everybody who has no others.

        Raises:
            PermissionDenied: The actor is no administrator.
        """
        actor.require(Permission.ADMINISTER)
        return read_limits(await self._database.read(groups.default_limits))

    async def set_default_limits(self, actor: Actor, limits: Limits, sender: Sender) -> Limits:
        """Set the limits of everybody who has no others; those that are left out are none.

        Raises:
            PermissionDenied: The actor is no administrator.
        """
        actor.require(Permission.ADMINISTER)
        await self._database.run(_set_default, actor, limits, sender)
        return limits


def _list(session: Session) -> list[GroupView]:
    return [_view(session, row) for row in groups.list_all(session)]


def _add(
    session: Session, actor: Actor, name: str, wanted: GroupChange, sender: Sender
) -> GroupView:
    _check_free(session, name)
    if len(groups.list_all(session)) >= MAX_GROUPS:
        raise Conflict(f"there are {MAX_GROUPS} groups", "Delete those that nobody needs.")
    row = GroupRow(name=name, name_key=names.key_of(name))
    row.limits = {} if wanted.limits is None else wanted.limits.saved()
    groups.add(session, row)
    groups.set_members(session, row.id, wanted.member_ids or ())
    note(session, actor, "add_group", f"{name}; {_words(row.limits)}", sender)
    return _view(session, row)


def _change(
    session: Session,
    actor: Actor,
    group_id: str,
    name: str | None,
    wanted: GroupChange,
    sender: Sender,
) -> GroupView:
    row = groups.get(session, group_id)
    said = []
    if name is not None and name != row.name:
        if names.key_of(name) != row.name_key:
            _check_free(session, name)
        said.append(f"was {row.name}")
        row.name, row.name_key = name, names.key_of(name)
    if wanted.limits is not None:
        row.limits = wanted.limits.saved()
        said.append(_words(row.limits))
    if wanted.member_ids is not None:
        groups.set_members(session, group_id, wanted.member_ids)
        said.append(f"{len(set(wanted.member_ids))} members")
    note(session, actor, "change_group", f"{row.name}: {'; '.join(said)}", sender)
    return _view(session, row)


def _delete(session: Session, actor: Actor, group_id: str, sender: Sender) -> None:
    row = groups.get(session, group_id)
    note(session, actor, "delete_group", row.name, sender)
    groups.delete(session, row)


def _limits_of(session: Session, user_id: str) -> UserLimitsView:
    row = users.get(session, user_id)
    if row.id == LOCAL_USER_ID and row.name_key is None:
        raise NotFound("There is no such user")
    found = groups.find_limits(session, user_id)
    own = read_limits(found.own)
    of_groups, default = [read_limits(one) for one in found.of_groups], read_limits(found.default)
    return UserLimitsView(
        limits=own.saved(),
        inherited=effective(Limits(), of_groups, default).model_dump(),
        effective=effective(own, of_groups, default).model_dump(),
    )


def _set_limits_of(
    session: Session, actor: Actor, user_id: str, limits: Limits, sender: Sender
) -> UserLimitsView:
    _limits_of(session, user_id)  # whether there is such a user
    row = users.get(session, user_id)
    row.limits = limits.saved() or None
    note(session, actor, "set_limits", f"{row.name}: {_words(limits.saved())}", sender)
    session.flush()
    return _limits_of(session, user_id)


def _set_default(session: Session, actor: Actor, limits: Limits, sender: Sender) -> None:
    groups.set_default_limits(session, limits.saved())
    note(session, actor, "set_limits", f"everybody: {_words(limits.saved())}", sender)


def _view(session: Session, row: GroupRow) -> GroupView:
    return GroupView(
        id=row.id,
        name=row.name,
        limits=read_limits(row.limits).saved(),
        member_ids=groups.member_ids(session, row.id),
    )


def _words(limits: dict[str, int | None]) -> str:
    said = (f"{name} {'none' if value is None else value}" for name, value in limits.items())
    return ", ".join(said) or "no limits of its own"


def _check_free(session: Session, name: str) -> None:
    if groups.find_by_key(session, names.key_of(name)) is not None:
        raise Conflict(f"there is a group {name}", "Take another name.", field="name")
