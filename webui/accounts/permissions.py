"""What somebody may do: their own setting, else what their role and their groups allow.

Knows rows and that rule; whether something needs a permission is for the use cases to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from webui.accounts.views import user_view
from webui.actor import GRANTABLE, Actor, permissions_of
from webui.errors import InvalidRequest
from webui.storage import everybodys, external_identities, groups, users

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy.orm import Session

    from webui.accounts.accounts import Accounts
    from webui.accounts.views import UserView
    from webui.storage.groups import Grants
    from webui.storage.tables import UserRow


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody, and who acts when they do."""

    row: UserRow
    actor: Actor


def actor_of(session: Session, user: UserRow) -> Actor:
    """Return who acts when somebody does."""
    return _actor(user, groups.find_grants(session, user.id))


def actors_of(session: Session, people: Iterable[UserRow]) -> dict[str, Actor]:
    """Return who acts when each of them does, by id; groups are read once."""
    grants = groups.find_grants(session)
    return {row.id: _actor(row, grants) for row in people}


def seen(session: Session, user: UserRow) -> UserView:
    """Return what is seen of somebody."""
    linked_to = [one.issuer for one in external_identities.list_oldest(session, user.id)]
    return user_view(user, actor_of(session, user).permissions, linked_to)


def seen_by_id(session: Session, user_id: str) -> UserView:
    """Return what is seen of somebody.

    Raises:
        NotFound: There is none of that id.
    """
    return seen(session, users.get(session, user_id))


def seen_all(session: Session) -> list[UserView]:
    """Return what is seen of everybody who can sign in, in the order in which they came."""
    grants, issuers = groups.find_grants(session), everybodys.list_issuers(session)
    return [
        user_view(row, _actor(row, grants).permissions, issuers.get(row.id, ()))
        for row in users.list_all(session)
        if row.name_key is not None
    ]


def people_in(session: Session, user_ids: Iterable[str] | None = None) -> list[Person]:
    """Return people as they stand within a transaction; None is everybody."""
    session.flush()
    grants = groups.find_grants(session)
    wanted = None if user_ids is None else set(user_ids)
    return [
        Person(row, _actor(row, grants))
        for row in users.list_all(session)
        if wanted is None or row.id in wanted
    ]


def refresh(accounts: Accounts, people: Iterable[Person]) -> None:
    """Let what people are and may do hold from now on, for all of their sign-ins and keys."""
    for person in people:
        accounts.sessions.refresh(person.row, person.actor)
        accounts.keys.refresh(person.row, person.actor)
        accounts.on_change(person.row.id)


def checked(permissions: Sequence[str]) -> list[str]:
    """Return permissions as they are kept.

    Raises:
        InvalidRequest: One of them is none that can be given.
    """
    for word in permissions:
        if word not in GRANTABLE:
            raise InvalidRequest(
                f"{word[:40]!r} is no permission that can be given",
                f"There are {', '.join(sorted(GRANTABLE))}.",
                field="permissions",
            )
    return sorted(set(permissions))


def _actor(user: UserRow, grants: Grants) -> Actor:
    permissions = permissions_of(
        user.role, user.permissions, grants.of_groups.get(user.id, ()), grants.of_users
    )
    return Actor(user.id, user.name, permissions, user.role)
