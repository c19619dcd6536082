"""Passkeys: adding, listing, naming and removing one's own, signing in and confirming by one.

Knows rows, challenges and what a ceremony proved; nothing of requests.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from webui.accounts import ceremony, names
from webui.accounts.accounts import SignedIn, note
from webui.accounts.challenges import Challenges
from webui.accounts.confirmation import Means
from webui.accounts.enabled import check_enabled, check_signed_in
from webui.accounts.identity import Source, hash_of, new_token
from webui.accounts.permissions import actor_of, seen
from webui.accounts.throttle import network_of
from webui.accounts.views import PasskeyView, passkey_view
from webui.actor import UserRole
from webui.errors import Conflict, NotAuthenticated, NotFound, PermissionDenied
from webui.storage import credentials, users
from webui.storage import passkeys as rows
from webui.storage.sign_in_tables import PasskeyRow
from webui.storage.tables import SignInWay, utc_now

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.orm import Session

    from webui.accounts.accounts import Accounts
    from webui.accounts.ceremony import Assertion, Attestation, Made, Used
    from webui.accounts.challenges import Challenge
    from webui.accounts.identity import Identity, Sender
    from webui.accounts.relying_party import RelyingParty
    from webui.actor import Actor
    from webui.storage.database import Database
    from webui.storage.tables import UserRow

MAX_PASSKEYS = 20  # of one person
EMPTY_HINT = "Say on which device it is."


class WrongPasskey(NotAuthenticated):
    """It is unknown, or does not prove what it must; which of them is not said."""

    code = "wrong_passkey"


class Passkeys:
    """Use cases of passkeys.

    Args:
        database: Where they are kept.
        accounts: Whose people they let in.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        database: Database,
        accounts: Accounts,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._accounts = accounts
        self._adding = Challenges(clock)  # by id of the sign-in that asked
        self._signing_in = Challenges(clock)  # by ticket
        self._confirming = Challenges(clock)  # by id of the sign-in that asked

    async def list(self, actor: Actor) -> list[PasskeyView]:
        """Return one's own passkeys, oldest first."""
        found = await self._database.read(rows.list_oldest, actor.user_id)
        return [passkey_view(row) for row in found]

    async def begin_adding(
        self,
        identity: Identity,
        name: str,
        password: str | None,
        party: RelyingParty,
        sender: Sender,
    ) -> dict[str, Any]:
        """Return what a browser needs to make a passkey; `add` takes what comes of it.

        Args:
            identity: Whose it is to be; the same sign-in must add it.
            name: By which they know it, 1 to 60 characters.
            password: Theirs, as before all that opens an account; None where they have none.
            party: As whom this server asks.
            sender: From where this is asked.

        Raises:
            PermissionDenied: Guests have none.
            NoPassword: They have none, and this was not confirmed otherwise.
            InvalidRequest: The password is wrong, or the name cannot be had; names the field.
            TooManyAttempts: The password was guessed wrong too often.
            Conflict: They have 20, or nobody has an account.
        """
        actor = identity.actor
        _check_may_add(identity)
        name = names.label(name, EMPTY_HINT)
        user = await self._accounts.confirmation.check(identity, password, sender)
        found = await self._database.read(rows.list_oldest, actor.user_id)
        _check_room(found)
        challenge = self._adding.open(identity.id, party, of=actor.user_id, about=name)
        return ceremony.creation_options(
            party,
            challenge,
            name=user.name,
            handle=handle_of(user),
            known=[row.credential_id for row in found],
        )

    async def add(self, identity: Identity, answer: Attestation, sender: Sender) -> PasskeyView:
        """Keep the passkey that a device made.

        Raises:
            ChallengeOver: It was not asked for in this browser within five minutes.
            NotAuthenticated: The sign-in ended meanwhile.
            InvalidRequest: The device's answer is not what was asked for.
            Conflict: It is known already, or they have 20.
        """
        challenge = self._adding.take(identity.id)
        made = await asyncio.to_thread(ceremony.read_made, answer, challenge)
        add = partial(_add, name=challenge.about, sender=sender)
        added = await self._database.run(add, identity, made)
        self._accounts.confirmation.spend(identity)
        return added

    async def rename(self, actor: Actor, passkey_id: str, name: str) -> PasskeyView:
        """Call one of one's own passkeys otherwise.

        Raises:
            NotFound: There is none, or it is somebody else's.
            InvalidRequest: The name cannot be had.
        """
        name = names.label(name, EMPTY_HINT)

        def change(session: Session) -> PasskeyView:
            row = rows.get(session, actor.user_id, passkey_id)
            row.name = name
            return passkey_view(row)

        return await self._database.run(change)

    async def delete(self, actor: Actor, passkey_id: str, sender: Sender) -> None:
        """Take one of one's own passkeys away; who is signed in by it stays so.

        Raises:
            NotFound: There is none, or it is somebody else's.
        """

        def remove(session: Session) -> None:
            row = rows.delete(session, actor.user_id, passkey_id)
            note(session, actor, "delete_passkey", row.name, sender)

        await self._database.run(remove)

    def begin_sign_in(self, party: RelyingParty, sender: Sender) -> tuple[str, dict[str, Any]]:
        """Return a ticket for the browser to show again, and what it needs to use a passkey."""
        ticket = new_token()
        of = network_of(sender.address)
        challenge = self._signing_in.open(hash_of(ticket), party, of=of)
        return ticket, ceremony.request_options(party, challenge)

    async def sign_in(self, ticket: str, answer: Assertion, sender: Sender) -> SignedIn:
        """Let somebody in by a passkey; the answer tells nothing of who there is.

        Raises:
            ChallengeOver: It was not asked for in this browser within five minutes.
            WrongPasskey: It is unknown, or does not prove what it must.
            AccountDisabled: It does, but the account is shut.
            TooManyAttempts: Wrong ones were shown too often.
        """
        challenge = self._signing_in.take(hash_of(ticket))  # who has no ticket guesses nothing
        return await self._let_in(answer, challenge, sender, confirms=None)

    async def begin_confirmation(
        self, identity: Identity, party: RelyingParty, sender: Sender
    ) -> dict[str, Any]:
        """Return what a browser needs to show by a passkey that it is them; `confirm` takes it.

        Raises:
            Conflict: They have a password, which counts alone, or no passkey.
        """
        await self._accounts.confirmation.check_means(identity, Means.PASSKEY, sender)
        challenge = self._confirming.open(identity.id, party, of=identity.actor.user_id)
        return ceremony.request_options(party, challenge)

    async def confirm(self, identity: Identity, answer: Assertion, sender: Sender) -> SignedIn:
        """Begin a sign-in that counts as confirmed, to be put in place of the one that asked.

        Raises:
            ChallengeOver: It was not asked for by this sign-in within five minutes.
            WrongPasskey: It is not theirs, or does not prove what it must.
            NotAuthenticated: The sign-in ended meanwhile.
            TooManyAttempts: Wrong ones were shown too often.
        """
        challenge = self._confirming.take(identity.id)
        signed_in = await self._let_in(answer, challenge, sender, confirms=identity)
        await self._accounts.confirmation.note(signed_in.token, sender)
        return signed_in

    async def _let_in(
        self,
        answer: Assertion,
        challenge: Challenge,
        sender: Sender,
        *,
        confirms: Identity | None,
    ) -> SignedIn:
        """Begin a sign-in of whose passkey was used; of nobody else where somebody confirms."""
        key = f"passkey {hash_of(answer.id)}"  # no name has a key like it
        self._accounts.throttle.begin(key, sender.address)
        found = await self._database.read(credentials.find_passkey, answer.id)
        public_key, handle = ceremony.NOBODYS_KEY, b""
        if found is not None:
            public_key, handle = found[0].public_key, handle_of(found[1])
        read = partial(ceremony.read_use, public_key=public_key, handle=handle)
        used = await asyncio.to_thread(read, answer, challenge)
        if found is None or used is None:
            raise _wrong()
        if confirms is not None and found[0].owner_id != confirms.actor.user_id:
            raise _wrong()
        self._accounts.throttle.note_right(key, sender.address)
        begin = partial(self._begin, confirms=confirms)
        try:
            signed_in = await self._database.run(begin, found[0], used, sender)
        except NotFound as error:  # it was removed meanwhile
            raise _wrong() from error
        if signed_in is None:
            raise _wrong()
        return signed_in

    def _begin(
        self,
        session: Session,
        passkey: PasskeyRow,
        used: Used,
        sender: Sender,
        *,
        confirms: Identity | None,
    ) -> SignedIn | None:
        """Begin a sign-in; None where the passkey counts less than it did, so that two use it."""
        if confirms is not None:
            check_signed_in(session, confirms)
        row = rows.get(session, passkey.owner_id, passkey.id)
        user = users.get(session, row.owner_id)
        check_enabled(user)
        actor = actor_of(session, user)
        if max(used.sign_count, row.sign_count) > 0 and used.sign_count <= row.sign_count:
            counts = f"counted {used.sign_count} after {row.sign_count}: it may be a copy"
            note(session, actor, "refuse_passkey", f"{row.name} {counts}", sender)
            return None
        row.sign_count, row.backed_up = used.sign_count, used.backed_up
        row.last_used_at = utc_now()
        action = "sign_in" if confirms is None else "confirm"
        note(session, actor, action, f"{sender.device} by {row.name}", sender)
        token = self._accounts.sessions.begin(session, user, sender, way=SignInWay.PASSKEY)
        return SignedIn(token, seen(session, user))


def handle_of(user: UserRow) -> bytes:
    """Return by what devices know a person: nothing that others could read, on no two servers the same."""
    return hashlib.sha256(f"passkeys of {user.id} {user.created_at.isoformat()}".encode()).digest()


def _add(
    session: Session, identity: Identity, made: Made, *, name: str, sender: Sender
) -> PasskeyView:
    check_signed_in(session, identity)
    actor = identity.actor
    user = users.get(session, actor.user_id)
    _check_room(rows.list_oldest(session, user.id))
    if credentials.find_passkey(session, made.credential_id) is not None:
        raise Conflict("this passkey is known already", "Use it, or make another one.")
    row = PasskeyRow(
        credential_id=made.credential_id,
        owner_id=user.id,
        public_key=made.public_key,
        sign_count=made.sign_count,
        name=name,
        backed_up=made.backed_up,
    )
    rows.add(session, row)
    note(session, actor, "add_passkey", row.name, sender)
    return passkey_view(row)


def _check_may_add(identity: Identity) -> None:
    if identity.source is not Source.SESSION:
        raise Conflict(
            "nobody is signed in with an account, and passkeys belong to accounts",
            "Make an administrator first, or sign in.",
        )
    if identity.actor.role is UserRole.GUEST:
        raise PermissionDenied(
            "guests have no passkeys: several people may share the account",
            "Ask the administrator of this server for an account of your own.",
        )


def _check_room(found: list[PasskeyRow]) -> None:
    if len(found) >= MAX_PASSKEYS:
        raise Conflict(f"you have {MAX_PASSKEYS} passkeys", "Remove those that you do not use.")


def _wrong() -> WrongPasskey:
    return WrongPasskey(
        "this passkey opens no account here", "Try another one, or sign in with the password."
    )
