"""Groups of people and limits: what administrators do about them.

Knows rows and the schema of limits; who is kept to them is for `quotas` to say, and what groups
allow for `permissions`. Limits hold from the next request on, permissions at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from webui.accounts import names
from webui.accounts.accounts import note
from webui.accounts.limits import Limits, effective, read_limits, source_of
from webui.accounts.permissions import checked, people_in, refresh
from webui.accounts.views import GroupView, LimitSource, UserLimitsView
from webui.actor import GRANTABLE, LOCAL_USER_ID, Permission
from webui.errors import Conflict, NotFound
from webui.storage import groups, users
from webui.storage.tables import GroupRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session

    from webui.accounts.accounts import Accounts
    from webui.accounts.identity import Sender
    from webui.accounts.permissions import Person
    from webui.actor import Actor
    from webui.storage.database import Database
    from webui.storage.groups import FoundLimits

MAX_GROUPS = 200
MAX_NAMED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupChange:
    """What is to change of a group; what is None stays.

    Attributes:
        member_ids: Of all who are to belong to it.
        joining_ids: Of some more, whoever belongs to it already.
        leaving_ids: Of some who do no more; who never did is passed over.
    """

    name: str | None = None
    permissions: Sequence[str] | None = None
    limits: Limits | None = None
    member_ids: Sequence[str] | None = None
    joining_ids: Sequence[str] = ()
    leaving_ids: Sequence[str] = ()


class Groups:
    """Use cases of groups and limits; each is for administrators alone.

    Args:
        database: Where they are kept.
        accounts: Whose sign-ins and keys hear of what their owners may do.
    """

    def __init__(self, database: Database, accounts: Accounts) -> None:
        self._database = database
        self._accounts = accounts

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
            InvalidRequest: The name cannot be had, or a permission is none that can be given.
            NotFound: A member is nobody.
        """
        actor.require(Permission.ADMINISTER)
        wanted = _checked(replace(wanted, name=wanted.name or ""))
        view, people = await self._database.run(_add, actor, wanted, sender)
        refresh(self._accounts, people)
        return view

    async def change(
        self, actor: Actor, group_id: str, wanted: GroupChange, sender: Sender
    ) -> GroupView:
        """Change a group; what members may do holds at once.

        Raises:
            PermissionDenied: The actor is no administrator.
            NotFound: There is no such group, or a member is nobody.
            Conflict: The name is taken.
            InvalidRequest: The name cannot be had, or a permission is none that can be given.
        """
        actor.require(Permission.ADMINISTER)
        wanted = _checked(wanted)
        view, people = await self._database.run(_change, actor, group_id, wanted, sender)
        refresh(self._accounts, people)
        return view

    async def delete(self, actor: Actor, group_id: str, sender: Sender) -> None:
        """Take a group away; its members stay, with what they then may and are limited to.

        Raises:
            PermissionDenied: The actor is no administrator.
            NotFound: There is no such group.
        """
        actor.require(Permission.ADMINISTER)
        refresh(self._accounts, await self._database.run(_delete, actor, group_id, sender))

    async def list_limits(self, actor: Actor) -> Sequence[UserLimitsView]:
        """Return the limits of everybody who can sign in, and from where they come.

        Raises:
            PermissionDenied: The actor is no administrator.
        """
        actor.require(Permission.ADMINISTER)
        return await self._database.read(_list_limits)

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


def _checked(wanted: GroupChange) -> GroupChange:
    name, permissions = wanted.name, wanted.permissions
    return replace(
        wanted,
        name=None if name is None else names.checked(name),
        permissions=None if permissions is None else checked(permissions),
    )


def _add(
    session: Session, actor: Actor, wanted: GroupChange, sender: Sender
) -> tuple[GroupView, list[Person]]:
    name = wanted.name or ""
    _check_free(session, name)
    if len(groups.list_all(session)) >= MAX_GROUPS:
        raise Conflict(f"there are {MAX_GROUPS} groups", "Delete those that nobody needs.")
    row = GroupRow(name=name, name_key=names.key_of(name))
    row.limits = {} if wanted.limits is None else wanted.limits.saved()
    row.permissions = list(wanted.permissions or ())
    groups.add(session, row)
    groups.set_members(session, row.id, [*(wanted.member_ids or ()), *wanted.joining_ids])
    note(session, actor, "add_group", f"{name}; {_may(row)}; {_words(row.limits)}", sender)
    view = _view(session, row)
    return view, people_in(session, view.member_ids)


def _change(
    session: Session, actor: Actor, group_id: str, wanted: GroupChange, sender: Sender
) -> tuple[GroupView, list[Person]]:
    row = groups.get(session, group_id)
    before = groups.member_ids(session, group_id)
    name, said = wanted.name, []
    if name is not None and name != row.name:
        if names.key_of(name) != row.name_key:
            _check_free(session, name)
        said.append(f"was {row.name}")
        row.name, row.name_key = name, names.key_of(name)
    if wanted.permissions is not None:
        row.permissions = list(wanted.permissions)
        said.append(_may(row))
    if wanted.limits is not None:
        row.limits = wanted.limits.saved()
        said.append(_words(row.limits))
    if wanted.member_ids is not None:
        groups.set_members(session, group_id, wanted.member_ids)
    if wanted.joining_ids or wanted.leaving_ids:
        groups.change_members(session, group_id, wanted.joining_ids, wanted.leaving_ids)
    view = _view(session, row)
    said += _moves(session, before, view.member_ids)
    note(session, actor, "change_group", f"{row.name}: {'; '.join(said)}", sender)
    return view, people_in(session, {*before, *view.member_ids})


def _delete(session: Session, actor: Actor, group_id: str, sender: Sender) -> list[Person]:
    row = groups.get(session, group_id)
    before = groups.member_ids(session, group_id)
    note(session, actor, "delete_group", row.name, sender)
    groups.delete(session, row)
    return people_in(session, before)


def _moves(session: Session, before: Sequence[str], after: Sequence[str]) -> list[str]:
    """Return in words who came and went; of many only how many."""
    said = []
    for verb, moved in (("with", set(after) - set(before)), ("without", set(before) - set(after))):
        found = sorted(users.get(session, user_id).name for user_id in moved)
        shown = ", ".join(found) if len(found) <= MAX_NAMED else f"{len(found)} people"
        said += [f"{verb} {shown}"] if found else []
    return said


def _list_limits(session: Session) -> list[UserLimitsView]:
    found = groups.find_all_limits(session)
    people = [row.id for row in users.list_all(session) if row.name_key is not None]
    return [_limits_view(user_id, found[user_id]) for user_id in people]


def _limits_of(session: Session, user_id: str) -> UserLimitsView:
    row = users.get(session, user_id)
    if row.id == LOCAL_USER_ID and row.name_key is None:
        raise NotFound("There is no such user")
    return _limits_view(user_id, groups.find_limits(session, user_id))


def _limits_view(user_id: str, found: FoundLimits) -> UserLimitsView:
    own, default = read_limits(found.own), read_limits(found.default)
    by_name = {name: read_limits(one) for name, one in found.of_groups.items()}
    return UserLimitsView(
        user_id=user_id,
        limits=own.saved(),
        inherited=effective(Limits(), by_name.values(), default).model_dump(),
        effective=effective(own, by_name.values(), default).model_dump(),
        sources={name: LimitSource(*source_of(name, own, by_name)) for name in Limits.model_fields},
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
        permissions=sorted(GRANTABLE.intersection(row.permissions or ())),
        limits=read_limits(row.limits).saved(),
        member_ids=groups.member_ids(session, row.id),
    )


def _may(row: GroupRow) -> str:
    return f"may {', '.join(row.permissions or ()) or 'nothing more'}"


def _words(limits: dict[str, int | None]) -> str:
    said = (f"{name} {'none' if value is None else value}" for name, value in limits.items())
    return ", ".join(said) or "no limits of its own"


def _check_free(session: Session, name: str) -> None:
    if groups.find_by_key(session, names.key_of(name)) is not None:
        raise Conflict(f"there is a group {name}", "Take another name.", field="name")
