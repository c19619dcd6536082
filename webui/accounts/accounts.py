"""One's own account: making the first one, signing in and out, the password, the end of it.

Knows people, passwords and sign-ins; nothing of requests. What else a person has open or stored is
ended by whoever made this (`on_shut_out`, `on_gone`), who hears of changes too (`on_change`).
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from webui.accounts import first_run, names, passwords
from webui.accounts.administrators import check_left
from webui.accounts.confirmation import Confirmation
from webui.accounts.enabled import check_enabled, check_signed_in
from webui.accounts.identity import Identity, Sender, Source
from webui.accounts.known_keys import KnownKeys
from webui.accounts.passwords import Passwords
from webui.accounts.permissions import actor_of, seen, seen_by_id
from webui.accounts.sessions import Lifetime, Sessions
from webui.accounts.throttle import Throttle
from webui.accounts.views import SessionView, UserView, session_view
from webui.actor import UserRole, local_actor
from webui.errors import Conflict, InvalidRequest, NotAuthenticated, NotFound, PermissionDenied
from webui.storage import audit, credentials, unattended, users
from webui.storage import sessions as session_rows
from webui.storage.tables import AuditRow, SignInWay, utc_now

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy.orm import Session

    from webui.actor import Actor
    from webui.storage.database import Database
    from webui.storage.tables import UserRow

    Hook = Callable[[str], Awaitable[None]]
    Change = Callable[[str], None]

FIRST_RUN = "first run"  # where wrong codes are counted; no name has a key like it


class WrongCredentials(NotAuthenticated):
    """Name and password do not belong together; which of them is wrong is not said."""

    code = "wrong_credentials"


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Somebody just signed in.

    Attributes:
        token: To be shown with every request from now on; nobody can read it again.
    """

    token: str
    user: UserView


async def _nothing(_: str) -> None:
    """Nobody else has to be told."""


class Accounts:
    """Use cases of one's own account.

    Args:
        database: Where accounts are kept.
        passwords: How passwords are hashed.
        throttle: How fast they may be guessed.
        lifetime: How long sign-ins last.
        issuer: Of the provider that there is, if any.
    """

    def __init__(
        self,
        database: Database,
        *,
        passwords: Passwords | None = None,
        throttle: Throttle | None = None,
        lifetime: Lifetime | None = None,
        issuer: str | None = None,
    ) -> None:
        self.sessions = Sessions(database, lifetime=lifetime or Lifetime())
        self.keys = KnownKeys(database)
        self.passwords = passwords or Passwords()
        self._database = database
        self.throttle = throttle or Throttle()
        self.confirmation = Confirmation(
            database, self.passwords, self.throttle, self.sessions, issuer=issuer
        )
        self._local: Identity | None = None
        self._code = ""
        self._on_shut_out: Hook = _nothing
        self._on_gone: Hook = _nothing
        self.on_change: Change = lambda _: None

    @property
    def is_claimed(self) -> bool:
        """Whether there is an administrator, so that everybody must sign in."""
        return self._local is None

    @property
    def first_run_code(self) -> str | None:
        """What makes the first administrator; None when there is one. For the terminal alone."""
        return self._code or None

    def tell(self, *, on_shut_out: Hook, on_gone: Hook, on_change: Change = lambda _: None) -> None:
        """Say who hears of the end of all sign-ins of somebody, of the account's and of changes."""
        self._on_shut_out, self._on_gone, self.on_change = on_shut_out, on_gone, on_change

    async def open(self) -> None:
        """Find out whether there is an administrator; else the machine's own user is one."""
        await self._database.run(credentials.delete_expired, utc_now())
        if not await self._database.read(users.is_claimed):
            self._code = first_run.new_code()
            self._local = Identity(actor=local_actor(), source=Source.LOCAL)

    async def identify(
        self, token: str | None, sender: Sender, *, is_local: bool
    ) -> Identity | None:
        """Return who sends a request; None for strangers.

        Args:
            token: Of a sign-in, if one was shown.
            sender: From where.
            is_local: Whether it is known to come from this machine itself.
        """
        if self._local is not None:
            return self._local if is_local else None
        return await self.sessions.identify(token, sender) if token else None

    async def claim(self, code: str, name: str, password: str, sender: Sender) -> SignedIn:
        """Make the first administrator of the local user, whose things stay where they are.

        Raises:
            AlreadyClaimed: There is one; nothing was changed.
            TooManyAttempts: The code was guessed wrong too often.
            PermissionDenied: The code is wrong.
            InvalidRequest: The name or the password cannot be had.
        """
        if self.is_claimed:
            raise first_run.claimed()
        self.throttle.begin(FIRST_RUN, sender.address)
        if not first_run.is_same(self._code, code):
            raise PermissionDenied(
                "the code is not the one that the server printed",
                "It stands in the terminal, or in the log, from where the server was started.",
                field="code",
            )
        self.throttle.note_right(FIRST_RUN, sender.address)
        name = names.checked(name)
        passwords.check(password, name=name)
        password_hash = await self.passwords.hash(password)
        signed_in = await self._database.run(self._claim, name, password_hash, sender)
        self._note_claimed()
        return signed_in

    async def make_first(
        self, actor: Actor, name: str, password_hash: str, sender: Sender, *, must_change: bool
    ) -> UserView:
        """Make the first administrator without the code; who may is for the callers to say.

        Args:
            actor: Who asks.
            name: As it is kept.
            password_hash: Of their password.
            sender: From where this is asked.
            must_change: They did not choose the password themselves.

        Raises:
            AlreadyClaimed: There is one; nothing was changed.
        """

        def make(session: Session) -> UserView:
            row = first_run.make_administrator(session, name, password_hash)
            row.must_change_password = must_change
            note(session, actor, "claim", f"made {name} the administrator", sender)
            return seen(session, row)

        user = await self._database.run(make)
        self._note_claimed()
        return user

    def _claim(self, session: Session, name: str, password_hash: str, sender: Sender) -> SignedIn:
        row = first_run.make_administrator(session, name, password_hash)
        note(session, actor_of(session, row), "claim", f"made {name} the administrator", sender)
        return self._let_in(session, row, sender)

    def _note_claimed(self) -> None:
        """Let nobody in without a sign-in from now on."""
        if self._local is not None:
            self._local.ended.set()
        self._local, self._code = None, ""

    async def sign_in(self, name: str, password: str, sender: Sender) -> SignedIn:
        """Let somebody in by name and password; answer and time tell nothing of who there is.

        Raises:
            WrongCredentials: They do not belong together.
            AccountDisabled: They do, but the account is shut.
            TooManyAttempts: They were guessed wrong too often.
            Busy: Too many sign in.
        """
        key = names.key_of(name[: 2 * names.MAX_NAME_CHARS])
        self.throttle.begin(key, sender.address)
        row = await self._database.read(users.find_by_key, key)
        stored = None if row is None else row.password_hash
        if not await self.passwords.verify(stored, password) or row is None:
            raise WrongCredentials(
                "name and password do not belong together",
                "Try again; an administrator can set a new password.",
            )
        self.throttle.note_right(key, sender.address)
        check_enabled(row)
        new_hash = None
        if stored is not None and self.passwords.is_outdated(stored):
            new_hash = await self.passwords.hash(password)
        return await self._database.run(self._begin, row.id, stored, new_hash, sender)

    def _begin(
        self,
        session: Session,
        user_id: str,
        stored: str | None,
        new_hash: str | None,
        sender: Sender,
    ) -> SignedIn:
        row = users.get(session, user_id)
        if row.password_hash != stored or row.disabled_at is not None:
            raise WrongCredentials("the account was changed just now", "Try again.")
        row.password_hash = new_hash or row.password_hash
        note(session, actor_of(session, row), "sign_in", sender.device, sender)
        return self._let_in(session, row, sender)

    def _let_in(self, session: Session, row: UserRow, sender: Sender) -> SignedIn:
        token = self.sessions.begin(session, row, sender, way=SignInWay.PASSWORD)
        return SignedIn(token, seen(session, row))

    async def sign_out(self, identity: Identity) -> None:
        """End the sign-in that a request came with; nothing happens where there is none."""
        if identity.source is not Source.SESSION:
            return
        with contextlib.suppress(NotFound):  # another tab was faster
            await self._database.run(session_rows.delete, identity.actor.user_id, identity.id)
        self.sessions.end(identity.id)
        await self.empty_left_guests()

    async def get(self, actor: Actor) -> UserView:
        """Return one's own account.

        Raises:
            NotFound: It is gone.
        """
        return await self._database.read(seen_by_id, actor.user_id)

    async def list_sessions(self, actor: Actor, current_id: str) -> list[SessionView]:
        """Return one's own sign-ins, last used first."""
        found = await self._database.read(session_rows.list_newest, actor.user_id)
        now = utc_now()
        return [session_view(row, current_id) for row in found if row.expires_at > now]

    async def end_session(self, actor: Actor, session_id: str) -> None:
        """End one of one's own sign-ins, with what it has open.

        Raises:
            NotFound: There is none, or it is somebody else's.
        """
        await self._database.run(session_rows.delete, actor.user_id, session_id)
        self.sessions.end(session_id)
        await self.empty_left_guests()

    async def sign_out_everywhere(self, actor: Actor, sender: Sender) -> None:
        """End all of one's own sign-ins, and the replies that run."""
        await self._database.run(_end_all, actor, sender)
        await self.end_sign_ins(actor.user_id)

    async def change_password(
        self, identity: Identity, old: str | None, new: str, sender: Sender
    ) -> SignedIn:
        """Take another password, or a first one; all sign-ins end, and a new one begins.

        Raises:
            NoPassword: There is none, and this was not confirmed otherwise.
            InvalidRequest: The old one is wrong, or the new one cannot be had.
            TooManyAttempts: The old one was guessed wrong too often.
        """
        row = await self.confirmation.check(identity, old, sender, field="old")
        passwords.check(new, name=row.name, field="new")
        if new == old:
            raise InvalidRequest("the new password is the old one", "Take another.", field="new")
        new_hash = await self.passwords.hash(new)
        signed_in = await self._database.run(
            self._change, identity, row.password_hash, new_hash, sender
        )
        self.sessions.end_all(identity.actor.user_id)
        return signed_in

    def _change(
        self,
        session: Session,
        identity: Identity,
        stored: str | None,
        new_hash: str,
        sender: Sender,
    ) -> SignedIn:
        row = users.get(session, identity.actor.user_id)
        if row.password_hash != stored:
            raise Conflict("the password was changed just now", "Sign in anew.")
        if stored is None:
            check_signed_in(session, identity)
        row.password_hash, row.must_change_password = new_hash, False
        session_rows.delete_all(session, row.id)
        about = "took a first one" if stored is None else ""
        note(session, identity.actor, "change_password", about, sender)
        return self._let_in(session, row, sender)

    async def delete(
        self, identity: Identity, password: str | None, sender: Sender, *, name: str | None = None
    ) -> None:
        """Take one's own account away with everything that is in it; there is no way back.

        Raises:
            NoPassword: There is none, and this was not confirmed otherwise.
            InvalidRequest: The password is wrong, or the name in its place.
            TooManyAttempts: It was guessed wrong too often.
            Conflict: Nobody would be left to administer this server.
        """
        row = await self.confirmation.check_end(identity, password, sender, name=name)
        await self.remove(identity.actor, row.id, sender)

    async def remove(self, actor: Actor, user_id: str, sender: Sender) -> None:
        """Take an account away; who may is for the callers to say.

        Raises:
            NotFound: There is none.
            Conflict: Nobody would be left to administer this server.
        """
        await self._database.read(_check_removable, user_id)
        await self._on_shut_out(user_id)  # what still writes would find its rows gone
        await self._database.run(_remove, actor, user_id, sender)
        self.sessions.end_all(user_id)
        self.keys.end_all(user_id)
        await self._on_gone(user_id)

    async def shut_out(self, user_id: str) -> None:
        """Cut off what somebody still has open, once their sign-ins are gone."""
        self.keys.end_all(user_id)
        await self.end_sign_ins(user_id)

    async def end_sign_ins(self, user_id: str) -> None:
        """Cut off what all sign-ins of somebody have open, once they are gone; keys stay."""
        self.sessions.end_all(user_id)
        await self._on_shut_out(user_id)
        await self.empty_left_guests()

    async def empty_left_guests(self) -> None:
        """Forget what guests made who are signed in nowhere any more."""
        for user_id in await self._database.read(unattended.list_left_guests, utc_now()):
            await self._on_shut_out(user_id)
            if await self._database.run(unattended.empty, user_id, utc_now()):
                await self._on_gone(user_id)


def note(session: Session, actor: Actor, action: str, about: str, sender: Sender) -> None:
    """Write down what was done to accounts."""
    row = AuditRow(
        actor_id=actor.user_id,
        actor_name=actor.name,
        action=action,
        by_administrator=actor.role is UserRole.ADMINISTRATOR,
        about=about,
        address=sender.address,
    )
    audit.add(session, row)


def _check_removable(session: Session, user_id: str) -> None:
    check_left(session, users.get(session, user_id))


def _remove(session: Session, actor: Actor, user_id: str, sender: Sender) -> None:
    row = users.get(session, user_id)
    check_left(session, row)
    note(session, actor, "delete_user", row.name, sender)
    users.delete(session, row)


def _end_all(session: Session, actor: Actor, sender: Sender) -> None:
    session_rows.delete_all(session, actor.user_id)
    note(session, actor, "sign_out_everywhere", "", sender)
