"""Sign-ins of browsers: opaque tokens that can be taken back at any time.

Knows tokens, rows and time; no password and no request. All changes go through this object, so
what it remembers of a sign-in is what the database says.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from webui.accounts.identity import Identity, Sender, Source, hash_of, new_token
from webui.accounts.names import is_same
from webui.accounts.permissions import Person, actor_of
from webui.actor import UserRole
from webui.errors import PermissionDenied
from webui.storage import credentials
from webui.storage import sessions as rows
from webui.storage.tables import SessionRow, utc_now

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.orm import Session

    from webui.actor import Actor
    from webui.storage.database import Database
    from webui.storage.tables import SignInWay, UserRow

GUEST_IDLE = timedelta(hours=12)
SAVE_EVERY = timedelta(minutes=5)
MAX_TOKEN_CHARS = 100
MAX_WRONG = 5_000


@dataclass(frozen=True, slots=True)
class Lifetime:
    """How long a sign-in lasts: without use, and however much it is used."""

    idle: timedelta = timedelta(days=14)
    longest: timedelta = timedelta(days=30)

    def end(self, role: UserRole, created_at: datetime, now: datetime) -> datetime:
        """Return when one ends that is used now; a guest's ends soon after."""
        idle = min(self.idle, GUEST_IDLE) if role is UserRole.GUEST else self.idle
        return min(now + idle, created_at + self.longest)


@dataclass(slots=True)
class _Known:
    """A sign-in that was used since the server began."""

    identity: Identity
    created_at: datetime
    expires_at: datetime
    saved_at: datetime
    address: str


class Sessions:
    """All sign-ins of browsers.

    Args:
        database: Where they are kept.
        clock: Aware time.
        lifetime: How long they last.
    """

    def __init__(
        self,
        database: Database,
        clock: Callable[[], datetime] = utc_now,
        lifetime: Lifetime = Lifetime(),
    ) -> None:
        self._database = database
        self._clock = clock
        self._lifetime = lifetime
        self._known: dict[str, _Known] = {}  # by hash of the token
        self._reading: dict[str, asyncio.Task[_Known | None]] = {}
        self._wrong: OrderedDict[str, None] = OrderedDict()  # hashes that no sign-in has
        self._num_ended = 0

    def is_known(self, token: str) -> bool:
        """Whether it takes no look at the database to say what a token is worth."""
        token_hash = hash_of(token)
        seen = (self._known, self._wrong, self._reading)
        return len(token) > MAX_TOKEN_CHARS or any(token_hash in one for one in seen)

    async def identify(self, token: str, sender: Sender) -> Identity | None:
        """Return who holds a token; None where it is no good, or no more."""
        if len(token) > MAX_TOKEN_CHARS:
            return None
        token_hash = hash_of(token)
        known = self._known.get(token_hash) or await self._found(token_hash)
        if known is None:
            return None
        now = self._clock()
        if known.expires_at <= now:
            self._drop(token_hash)
            return None
        await self._note_use(known, now, sender)
        return None if known.identity.ended.is_set() else known.identity

    def begin(self, session: Session, user: UserRow, sender: Sender, *, way: SignInWay) -> str:
        """Keep a new sign-in within a transaction; returns its token.

        Raises:
            PermissionDenied: A trusted proxy names somebody else.
        """
        check_vouched(sender, user.name)
        token, now = new_token(), self._clock()
        row = SessionRow(
            token_hash=hash_of(token),
            owner_id=user.id,
            device=sender.device,
            address=sender.address,
            created_at=now,
            last_used_at=now,
            expires_at=self._lifetime.end(user.role, now, now),
            way=way,
        )
        rows.add(session, row)
        return token

    def refresh(self, user: UserRow, actor: Actor) -> None:
        """Let what somebody may do hold from now on, for all of their sign-ins."""
        for known in self._known.values():
            if known.identity.actor.user_id == user.id:
                known.identity.actor = actor
                known.identity.must_change_password = user.must_change_password
        self._num_ended += 1

    def end(self, session_id: str) -> None:
        """Cut off what a sign-in still has open, once its row is gone."""
        self._end_where(lambda identity: identity.id == session_id)

    def end_all(self, user_id: str, *, but: str | None = None) -> None:
        """Cut off what all sign-ins of somebody have open, but for one."""
        self._end_where(lambda one: one.actor.user_id == user_id and one.id != but)

    async def _found(self, token_hash: str) -> _Known | None:
        """Return a sign-in that is not known yet; requests that come at once look for it once."""
        if token_hash in self._wrong:
            self._wrong.move_to_end(token_hash)
            return None
        reading = self._reading.get(token_hash)
        if reading is None:
            reading = asyncio.create_task(self._read(token_hash), name="read a sign-in")
            self._reading[token_hash] = reading
            reading.add_done_callback(lambda _: self._reading.pop(token_hash))
        return await asyncio.shield(reading)

    async def _read(self, token_hash: str) -> _Known | None:
        """Look for a sign-in in the database; what was ended while it was read is none."""
        while True:
            num_ended = self._num_ended
            found = await self._database.read(_find, token_hash)
            if num_ended == self._num_ended:
                break
        if found is None:
            self._wrong[token_hash] = None
            while len(self._wrong) > MAX_WRONG:
                self._wrong.popitem(last=False)
        known = self._known.get(token_hash)  # another request may have been faster
        if known is None and found is not None and found[1].row.disabled_at is None:
            known = self._known[token_hash] = _known(*found)
        return known

    async def _note_use(self, known: _Known, now: datetime, sender: Sender) -> None:
        """Let a sign-in last on, and save that now and then; a clock set back does no harm."""
        is_moved = sender.address != known.address
        if not is_moved and abs(now - known.saved_at) < SAVE_EVERY:
            return
        end = self._lifetime.end(known.identity.actor.role, known.created_at, now)
        is_set_back = now < known.saved_at
        known.expires_at = max(end, known.expires_at) if is_set_back else end
        known.saved_at, known.address = now, sender.address
        use = {known.identity.id: (now, known.expires_at, known.address)}
        if await self._database.run(credentials.note_use, use, {}):
            self.end(known.identity.id)  # it made room for later ones

    def _end_where(self, is_meant: Callable[[Identity], bool]) -> None:
        self._num_ended += 1
        for token_hash, known in list(self._known.items()):
            if is_meant(known.identity):
                self._drop(token_hash)

    def _drop(self, token_hash: str) -> None:
        self._known.pop(token_hash).identity.ended.set()


def check_vouched(sender: Sender, name: str) -> None:
    """Check that nobody comes in beside whom a trusted proxy names, by whatever way.

    Raises:
        PermissionDenied: It names somebody else.
    """
    if sender.vouched is not None and not is_same(sender.vouched, name):
        raise PermissionDenied(
            "the proxy says that somebody else is signed in there",
            "Sign in under the name that the proxy knows you by, or sign out there.",
        )


def _find(session: Session, token_hash: str) -> tuple[SessionRow, Person] | None:
    found = credentials.find_session(session, token_hash)
    return None if found is None else (found[0], Person(found[1], actor_of(session, found[1])))


def _known(row: SessionRow, person: Person) -> _Known:
    identity = Identity(
        actor=person.actor,
        source=Source.SESSION,
        id=row.id,
        must_change_password=person.row.must_change_password,
    )
    return _Known(identity, row.created_at, row.expires_at, row.last_used_at, row.address)
