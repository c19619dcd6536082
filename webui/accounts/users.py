"""Other people's accounts: what administrators do to them.

Knows rows, roles and passwords; nothing of requests. Whoever is shut out is so at once.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from webui.accounts import names, passwords
from webui.accounts.accounts import note
from webui.accounts.administrators import check_left
from webui.accounts.defaults import new_role
from webui.accounts.first_run import ALPHABET
from webui.accounts.permissions import Person, actor_of, checked, refresh, seen, seen_all
from webui.accounts.views import AuditView, UserView, audit_view
from webui.actor import LOCAL_USER_ID, Permission, UserRole
from webui.errors import Conflict, NotFound
from webui.storage import api_keys, audit, external_identities, passkeys, users
from webui.storage import sessions as session_rows
from webui.storage.tables import UserRow, utc_now

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session

    from webui.accounts.accounts import Accounts
    from webui.accounts.identity import Sender
    from webui.actor import Actor
    from webui.storage.database import Database

MAX_USERS = 1000
MAX_SHOWN_CHARS = 100
NUM_WORDS, WORD_CHARS = 4, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class UserChange:
    """What is to change of an account; what is None stays.

    Attributes:
        permissions: What they may do in place of what their role and groups allow.
        resets_permissions: They may do again what those allow.
        empties: What they have may go, as of a guest everything does.
    """

    name: str | None = None
    role: UserRole | None = None
    permissions: Sequence[str] | None = None
    resets_permissions: bool = False
    is_disabled: bool | None = None
    empties: bool = False


class Users:
    """Use cases of administrators.

    Args:
        database: Where accounts are kept.
        accounts: Whose sign-ins are ended.
    """

    def __init__(self, database: Database, accounts: Accounts) -> None:
        self._database = database
        self._accounts = accounts

    async def list(self, actor: Actor) -> list[UserView]:
        """Return everybody.

        Raises:
            PermissionDenied: The actor is no administrator.
        """
        actor.require(Permission.ADMINISTER)
        return await self._database.read(seen_all)

    async def get_by_name(self, actor: Actor, name: str) -> UserView:
        """Return who signs in by a name, however it is written.

        Raises:
            PermissionDenied: The actor is no administrator.
            NotFound: There is no such user.
        """
        actor.require(Permission.ADMINISTER)
        key = names.key_of(name[: 2 * names.MAX_NAME_CHARS])
        found = await self._database.read(_find, key)
        if found is None:
            said = f"there is no user {name[:MAX_SHOWN_CHARS]!r}"
            raise NotFound(said, "Look at the list of accounts.", field="name")
        return found

    async def list_audit(
        self, actor: Actor, *, limit: int = 50, before: int | None = None
    ) -> Sequence[AuditView]:
        """Return what was done to accounts, newest first.

        Raises:
            PermissionDenied: The actor is no administrator.
        """
        actor.require(Permission.ADMINISTER)
        found = await self._database.read(audit.list_newest, limit=limit, before=before)
        return [audit_view(row) for row in found]

    async def add(
        self,
        actor: Actor,
        name: str,
        sender: Sender,
        *,
        role: UserRole | None,
        password: str | None,
    ) -> tuple[UserView, str | None]:
        """Make an account.

        Args:
            actor: An administrator.
            name: By which they sign in.
            sender: From where this is asked.
            role: What they are to be; None is what new people are.
            password: None makes one up, which they must change at their first sign-in.

        Returns:
            The person, and the password where it was made up: nobody can read it again.

        Raises:
            PermissionDenied: The actor is no administrator.
            Conflict: The name is taken, or there are too many.
            InvalidRequest: The name or the password cannot be had.
        """
        actor.require(Permission.ADMINISTER)
        self._check_claimed()
        name = names.checked(name)
        made_up = None if password is not None else new_password()
        if password is not None:
            passwords.check(password, name=name)
        row = UserRow(
            name=name,
            name_key=names.key_of(name),
            role=await self._database.read(new_role) if role is None else role,
            password_hash=await self._accounts.passwords.hash(password or made_up or ""),
            must_change_password=made_up is not None,
        )
        return await self._database.run(_add, actor, row, sender), made_up

    async def add_first(
        self, actor: Actor, name: str, sender: Sender, *, password: str | None
    ) -> tuple[UserView, str | None]:
        """Make the first administrator of the local user, whose things stay where they are.

        Takes no code: only who has the data folder in their hands may call this, not a request.

        Returns:
            The person, and the password where it was made up, as `add` does.

        Raises:
            PermissionDenied: The actor is no administrator.
            AlreadyClaimed: There is one.
            InvalidRequest: The name or the password cannot be had.
        """
        actor.require(Permission.ADMINISTER)
        name = names.checked(name)
        made_up = None if password is not None else new_password()
        if password is not None:
            passwords.check(password, name=name)
        password_hash = await self._accounts.passwords.hash(password or made_up or "")
        must_change = made_up is not None
        user = await self._accounts.make_first(
            actor, name, password_hash, sender, must_change=must_change
        )
        return user, made_up

    async def reset_password(
        self,
        actor: Actor,
        user_id: str,
        sender: Sender,
        *,
        password: str | None = None,
        unlinks: bool | None = None,
    ) -> str | None:
        """Set somebody's password; their sign-ins end, their API keys and their passkeys.

        Args:
            actor: An administrator.
            user_id: Whose it is.
            sender: From where this is asked.
            password: None makes one up, which they must change at their first sign-in.
            unlinks: Whether links to providers end as well; None ends those of who had a password,
                for whom they were a second way in.

        Returns:
            The password where it was made up and must be changed; nobody can read it again.

        Raises:
            PermissionDenied: The actor is no administrator.
            NotFound: There is no such user.
            InvalidRequest: The password cannot be had.
        """
        actor.require(Permission.ADMINISTER)
        made_up = None if password is not None else new_password()
        if password is not None:
            row = await self._database.read(users.get, user_id)
            passwords.check(password, name=row.name)
        password_hash = await self._accounts.passwords.hash(password or made_up or "")
        must_change = made_up is not None
        await self._database.run(
            partial(_set_password, must_change=must_change, unlinks=unlinks),
            actor,
            user_id,
            password_hash,
            sender,
        )
        await self._accounts.shut_out(user_id)
        return made_up

    async def change(
        self, actor: Actor, user_id: str, wanted: UserChange, sender: Sender
    ) -> UserView:
        """Change what somebody is or may do; it holds at once.

        Raises:
            PermissionDenied: The actor is no administrator.
            NotFound: There is no such user.
            Conflict: The name is taken, nobody would be left to administer this server, or a guest
                would lose what they have.
            InvalidRequest: The name cannot be had, or a permission is none that can be given.
        """
        actor.require(Permission.ADMINISTER)
        name, permissions = wanted.name, wanted.permissions
        wanted = replace(
            wanted,
            name=None if name is None else names.checked(name),
            permissions=None if permissions is None else checked(permissions),
        )
        person, view = await self._database.run(_change, actor, user_id, wanted, sender)
        refresh(self._accounts, [person])
        if wanted.is_disabled:
            await self._accounts.shut_out(user_id)
        return view

    async def delete(self, actor: Actor, user_id: str, sender: Sender) -> None:
        """Take somebody's account away with everything that is theirs.

        Raises:
            PermissionDenied: The actor is no administrator.
            NotFound: There is no such user.
            Conflict: It is the only administrator.
        """
        actor.require(Permission.ADMINISTER)
        await self._accounts.remove(actor, user_id, sender)

    def _check_claimed(self) -> None:
        if not self._accounts.is_claimed:
            raise Conflict(
                "this server has no administrator yet",
                "Make one first: the server printed an address and a code for it.",
            )


def ends_links(*, had_password: bool, unlinks: bool | None) -> bool:
    """Whether somebody's links to providers end with the password that is set; None is the usual.

    A stranger's link would outlive the password; who had none came in by the link itself.
    """
    return had_password if unlinks is None else unlinks


def new_password() -> str:
    """Return a password of 80 random bits that can be read out over a table."""
    words = ["".join(secrets.choice(ALPHABET) for _ in range(WORD_CHARS)) for _ in range(NUM_WORDS)]
    return "-".join(words).lower()


def _add(session: Session, actor: Actor, row: UserRow, sender: Sender) -> UserView:
    _check_free(session, row.name_key or "", row.name)
    if len(users.list_all(session)) >= MAX_USERS:
        raise Conflict(f"there are {MAX_USERS} accounts", "Delete those that nobody uses.")
    users.add(session, row)
    note(session, actor, "add_user", f"{row.name} as {row.role.value}", sender)
    return seen(session, row)


def _find(session: Session, key: str) -> UserView | None:
    row = users.find_by_key(session, key)
    return None if row is None else seen(session, row)


def _set_password(
    session: Session,
    actor: Actor,
    user_id: str,
    password_hash: str,
    sender: Sender,
    *,
    must_change: bool,
    unlinks: bool | None,
) -> None:
    row = _get(session, user_id)
    had_password = row.password_hash is not None
    row.password_hash, row.must_change_password = password_hash, must_change
    session_rows.delete_all(session, user_id)
    api_keys.delete_all(session, user_id)
    num_passkeys = passkeys.delete_all(session, user_id)
    also = f"; removed {num_passkeys} of their passkeys" if num_passkeys else ""
    if ends_links(had_password=had_password, unlinks=unlinks):
        num_links = external_identities.delete_all(session, user_id)
        also += f"; removed {num_links} of their links to providers" if num_links else ""
    note(session, actor, "reset_password", f"{row.name}{also}", sender)


def _change(
    session: Session, actor: Actor, user_id: str, wanted: UserChange, sender: Sender
) -> tuple[Person, UserView]:
    row = _get(session, user_id)
    demotes = wanted.role not in {None, UserRole.ADMINISTRATOR}
    if demotes or wanted.is_disabled:
        check_left(session, row)
    said = []
    if wanted.name is not None and wanted.name != row.name:
        key = names.key_of(wanted.name)
        if key != row.name_key:
            _check_free(session, key, wanted.name)
        said.append(f"was {row.name}")
        row.name, row.name_key = wanted.name, key
    if wanted.role is not None:
        loses = _check_kept(session, row, wanted)
        row.role = wanted.role
        said.append(f"{wanted.role.value}{', who loses chats and settings' if loses else ''}")
    if wanted.permissions is not None or wanted.resets_permissions:
        row.permissions = None if wanted.permissions is None else list(wanted.permissions)
        of_others = "nothing" if wanted.permissions is not None else "as others of the role"
        said.append(f"may {', '.join(wanted.permissions or ()) or of_others}")
    if wanted.is_disabled is not None:
        row.disabled_at = utc_now() if wanted.is_disabled else None
        said.append("disabled" if wanted.is_disabled else "enabled")
    if wanted.is_disabled:
        session_rows.delete_all(session, user_id)
    note(session, actor, "change_user", f"{row.name}: {'; '.join(said)}", sender)
    return Person(row, actor_of(session, row)), seen(session, row)


def _check_kept(session: Session, row: UserRow, wanted: UserChange) -> bool:
    """Return whether somebody becomes a guest and so loses what they have.

    Raises:
        Conflict: They would, and nobody said that it may go.
    """
    becomes_guest = wanted.role is UserRole.GUEST and row.role is not UserRole.GUEST
    loses = becomes_guest and users.has_things(session, row.id)
    if loses and not wanted.empties:
        raise Conflict(
            f"{row.name} has chats or settings, and of a guest nothing is kept",
            "Say that they may go for good (empties), or leave the role.",
            field="role",
        )
    return loses


def _get(session: Session, user_id: str) -> UserRow:
    """Return somebody who can sign in; the machine's own user is nobody before there are accounts.

    Raises:
        NotFound: There is none.
    """
    row = users.get(session, user_id)
    if row.id == LOCAL_USER_ID and row.name_key is None:
        raise NotFound("There is no such user")
    return row


def _check_free(session: Session, key: str, name: str) -> None:
    if users.find_by_key(session, key) is not None:
        raise Conflict(f"the name {name} is taken", "Take another one.", field="name")
