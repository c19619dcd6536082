"""What people get who have nothing of their own: their role at first, and what users may.

Knows rows; limits of everybody stand in `groups`. What is changed holds at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from webui.accounts.accounts import note
from webui.accounts.permissions import checked, people_in, refresh
from webui.accounts.views import DefaultsView
from webui.actor import GRANTABLE, LOCAL_USER_ID, ROLE_PERMISSIONS, Permission, UserRole
from webui.errors import InvalidRequest
from webui.storage import groups
from webui.storage import settings as choices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session

    from webui.accounts.accounts import Accounts
    from webui.accounts.identity import Sender
    from webui.accounts.permissions import Person
    from webui.actor import Actor
    from webui.storage.database import Database

NEW_ROLE = "server/new_role"


class Defaults:
    """Use cases of defaults; each is for administrators alone.

    Args:
        database: Where they are kept.
        accounts: Whose sign-ins and keys hear of changes.
    """

    def __init__(self, database: Database, accounts: Accounts) -> None:
        self._database = database
        self._accounts = accounts

    async def get(self, actor: Actor) -> DefaultsView:
        """Return the defaults.

        Raises:
            PermissionDenied: The actor is no administrator.
        """
        actor.require(Permission.ADMINISTER)
        return await self._database.read(_view)

    async def set(
        self, actor: Actor, role: UserRole, permissions: Sequence[str] | None, sender: Sender
    ) -> DefaultsView:
        """Set them all.

        Args:
            actor: An administrator.
            role: Of new people, where none is named.
            permissions: Of all users who have none of their own; None gives those of the role.
            sender: From where this is asked.

        Raises:
            PermissionDenied: The actor is no administrator.
            InvalidRequest: A permission is none that can be given, or everybody would be an
                administrator.
        """
        actor.require(Permission.ADMINISTER)
        if role is UserRole.ADMINISTRATOR:
            raise InvalidRequest(
                "new people cannot all be administrators",
                "Take user or guest; make single ones administrators.",
                field="role",
            )
        wanted = None if permissions is None else checked(permissions)
        view, people = await self._database.run(_set, actor, role, wanted, sender)
        refresh(self._accounts, people)
        return view


def new_role(session: Session) -> UserRole:
    """Return what new people are where nobody says what."""
    return UserRole(choices.find(session, LOCAL_USER_ID, NEW_ROLE) or UserRole.USER)


def _view(session: Session) -> DefaultsView:
    saved = groups.find_grants(session).of_users
    may = ROLE_PERMISSIONS[UserRole.USER] if saved is None else GRANTABLE.intersection(saved)
    return DefaultsView(
        role=new_role(session).value, permissions=sorted(may), is_changed=saved is not None
    )


def _set(
    session: Session, actor: Actor, role: UserRole, permissions: list[str] | None, sender: Sender
) -> tuple[DefaultsView, list[Person]]:
    choices.put(session, LOCAL_USER_ID, NEW_ROLE, role.value)
    groups.set_user_permissions(session, permissions)
    said = "what the role may" if permissions is None else ", ".join(permissions) or "nothing"
    note(session, actor, "set_defaults", f"new people: {role.value}; users may {said}", sender)
    people = people_in(session)
    return _view(session), people
