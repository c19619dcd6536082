"""Confirming what has no way back or opens a new way in: that it is them, not their sign-in alone.

Knows passwords, rows and monotonic time; no request. Who has a password writes it, and nothing
stands in for it. Who has none shows anew who they are, by a passkey or at the provider: that begins
another sign-in in place of the one that asked, and one such act may follow within ten minutes; that
is kept with the new sign-in, in memory alone. Whom a trusted proxy names at that moment, and who
has nothing else, ends the account by writing their name.

Source: OWASP ASVS 5.0, 7.2.4 and 7.5.1.
"""

from __future__ import annotations

import time
from enum import StrEnum
from typing import TYPE_CHECKING

from webui.accounts import names
from webui.accounts.identity import Source
from webui.accounts.views import ConfirmationView
from webui.errors import Conflict, InvalidRequest
from webui.storage import external_identities, passkeys, users

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.orm import Session

    from webui.accounts.identity import Identity, Sender
    from webui.accounts.passwords import Passwords
    from webui.accounts.sessions import Sessions
    from webui.accounts.throttle import Throttle
    from webui.storage.database import Database
    from webui.storage.tables import UserRow

LASTS_S = 600.0


class Means(StrEnum):
    """By what somebody can confirm."""

    PASSWORD = "password"  # noqa: S105 - a word for it
    PASSKEY = "passkey"
    PROVIDER = "provider"  # of OpenID Connect
    NAME = "name"  # beside the word of a trusted proxy; the end of the account alone


class NoPassword(Conflict):
    """The account has no password to confirm this with, and it was not confirmed otherwise."""

    code = "no_password"


class Confirmation:
    """Finds out whether it is them, and remembers for a while that it was.

    Args:
        database: Where accounts are kept.
        passwords: How passwords are checked.
        throttle: How fast they may be guessed.
        sessions: Whose sign-ins are confirmed.
        issuer: Of the provider that there is, if any.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        database: Database,
        passwords: Passwords,
        throttle: Throttle,
        sessions: Sessions,
        *,
        issuer: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._throttle = throttle
        self._sessions = sessions
        self._issuer = issuer
        self._clock = clock

    async def look(self, identity: Identity, sender: Sender) -> ConfirmationView:
        """Return by what somebody can confirm, and whether they just did."""
        _, means = await self._database.read(self._find, identity, sender)
        return ConfirmationView(
            by=[one.value for one in means], is_confirmed=self._is_fresh(identity)
        )

    async def check(
        self, identity: Identity, password: str | None, sender: Sender, *, field: str = "password"
    ) -> UserRow:
        """Check that it is them; returns who it is.

        Args:
            identity: Who asks.
            password: Theirs; None where none was sent.
            sender: From where this is asked.
            field: Of the request that the password stands in.

        Raises:
            NoPassword: They have none, and did not confirm it otherwise.
            InvalidRequest: The password is wrong.
            TooManyAttempts: It was guessed wrong too often.
        """
        row, means = await self._database.read(self._find, identity, sender)
        if row.password_hash is None:
            if not self._is_fresh(identity):
                raise _no_password(means)
            return row
        if password is None:
            raise InvalidRequest(
                "this is confirmed by your password",
                "Write the one that you sign in with.",
                field=field,
            )
        key = row.name_key or ""
        self._throttle.begin(key, sender.address)
        if not await self._passwords.verify(row.password_hash, password):
            raise InvalidRequest(
                "the password is wrong", "Write the one that you sign in with.", field=field
            )
        self._throttle.note_right(key, sender.address)
        return row

    async def check_end(
        self, identity: Identity, password: str | None, sender: Sender, *, name: str | None
    ) -> UserRow:
        """Check that it is them who want to end their account; returns who it is.

        Args:
            identity: Who asks.
            password: Theirs; None where none was sent.
            sender: From where this is asked.
            name: As they wrote it, which counts where a trusted proxy names them and there is
                nothing else to confirm by.

        Raises:
            NoPassword: As `check`.
            InvalidRequest: The password is wrong, or the name is not theirs.
            TooManyAttempts: As `check`.
        """
        row, means = await self._database.read(self._find, identity, sender)
        if name is None or Means.NAME not in means:
            return await self.check(identity, password, sender)
        if names.key_of(name[: 2 * names.MAX_NAME_CHARS]) != row.name_key:
            raise InvalidRequest(
                "this is not your name", f"Write it as it stands here: {row.name}", field="name"
            )
        return row

    async def check_means(self, identity: Identity, means: Means, sender: Sender) -> None:
        """Check that somebody may confirm by this.

        Raises:
            Conflict: They have a password, which counts alone, or have nothing of that kind; or
                nobody is signed in by a sign-in that could be confirmed.
        """
        if identity.source is not Source.SESSION:
            raise Conflict("nobody is signed in here", "Sign in on the page.")
        _, found = await self._database.read(self._find, identity, sender)
        if Means.PASSWORD in found:
            raise Conflict(
                "your account has a password, and is confirmed by nothing else",
                "Write it where it is asked for.",
            )
        if means not in found:
            what = "passkey" if means is Means.PASSKEY else "link to the sign-in provider"
            raise Conflict(
                f"your account has no {what} to confirm this with",
                "Under Your account it says what there is.",
            )

    async def note(self, token: str, sender: Sender) -> None:
        """Remember that the owner of a sign-in showed just now, in beginning it, who they are."""
        identity = await self._sessions.identify(token, sender)
        if identity is not None:
            identity.confirmed_until_s = self._clock() + LASTS_S

    def spend(self, identity: Identity) -> None:
        """Forget that it was confirmed, once what it was for is done."""
        identity.confirmed_until_s = 0.0

    def _is_fresh(self, identity: Identity) -> bool:
        return self._clock() < identity.confirmed_until_s and not identity.ended.is_set()

    def _find(
        self, session: Session, identity: Identity, sender: Sender
    ) -> tuple[UserRow, list[Means]]:
        """Return who somebody is, and by what they can confirm."""
        row = users.get(session, identity.actor.user_id)
        if row.password_hash is not None:
            return row, [Means.PASSWORD]
        found = [Means.PASSKEY] if passkeys.list_oldest(session, row.id) else []
        issuer = self._issuer
        if issuer is not None and external_identities.find(session, row.id, issuer) is not None:
            found.append(Means.PROVIDER)
        is_vouched = sender.vouched is not None and names.is_same(sender.vouched, row.name)
        if is_vouched and not found and identity.source is Source.SESSION:
            found.append(Means.NAME)
        return row, found


def _no_password(means: list[Means]) -> NoPassword:
    hint = "An administrator can set one."
    if Means.NAME in means:
        hint = f"{hint[:-1]}; by your name you confirm the end of the account alone."
    elif means:
        hint = (
            "Confirm it under Your account, by a passkey or at the sign-in provider: that is good "
            "for one act within ten minutes."
        )
    return NoPassword("this account has no password to confirm this with", hint)
