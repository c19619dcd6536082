"""Accounts for people whom another site vouches for, made when they first come.

Knows names and rows. They are users like others, without a password; an administrator can give them
one, or another role.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any

from webui.accounts import names
from webui.accounts.accounts import note
from webui.accounts.defaults import new_role
from webui.accounts.permissions import actor_of
from webui.accounts.users import MAX_USERS
from webui.errors import Conflict, InvalidRequest, NotAuthenticated
from webui.storage import users
from webui.storage.tables import UserRow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.orm import Session

    from webui.accounts.identity import Sender

NAME_CLAIMS = ("preferred_username", "nickname", "name", "given_name")
NAMELESS = "User"
MAX_ALIKE = 100


class UnknownPerson(NotAuthenticated):
    """Another site vouches for somebody who has no account here."""

    code = "unknown_person"


def make(session: Session, name: str, sender: Sender, *, by: str) -> UserRow:
    """Make an account.

    Args:
        session: Of the database.
        name: A checked one that is free.
        sender: From where they come.
        by: Who vouches for them.

    Raises:
        Conflict: There are too many.
    """
    if len(users.list_all(session)) >= MAX_USERS:
        raise Conflict(
            f"there are {MAX_USERS} accounts", "An administrator can delete those nobody uses."
        )
    row = UserRow(name=name, name_key=names.key_of(name), role=new_role(session))
    users.add(session, row)
    note(
        session, actor_of(session, row), "add_user", f"{name} as {row.role.value}, by {by}", sender
    )
    return row


def free_name(session: Session, wanted: str) -> str:
    """Return a name that nobody has yet: the wanted one, or that with a number.

    Raises:
        Conflict: Too many have such a name.
    """
    for number in range(1, MAX_ALIKE):
        name = wanted if number == 1 else f"{wanted[: names.MAX_NAME_CHARS - 3]} {number}"
        if users.find_by_key(session, names.key_of(name)) is None:
            return name
    raise Conflict(f"too many have the name {wanted}", "An administrator can make an account.")


def name_in(claims: Mapping[str, Any]) -> str:
    """Return how somebody is called there, as a name that one can have here."""
    for claim in NAME_CLAIMS:
        value = claims.get(claim)
        if isinstance(value, str):
            try:
                return names.checked(_cleaned(value))
            except InvalidRequest:
                continue
    return NAMELESS


def _cleaned(text: str) -> str:
    """Return a name without what no name may have; of an e-mail address what stands before the @."""
    text = unicodedata.normalize("NFC", text[:200]).partition("@")[0]
    kept = [
        one if one in names.MARKS or unicodedata.category(one)[0] in names.KINDS else " "
        for one in text
    ]
    return " ".join("".join(kept).split())[: names.MAX_NAME_CHARS].strip()
