"""Sign-ins of browsers: opaque tokens that can be taken back at any time.

Knows tokens, rows and time; no password and no request. All changes go through this object, so
what it remembers of a sign-in is what the database says.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from webui.accounts.identity import Identity, Sender, Source, hash_of, new_token
from webui.accounts.permissions import Person, actor_of
from webui.actor import UserRole
from webui.storage import credentials
from webui.storage import sessions as rows
from webui.storage.tables import SessionRow, utc_now

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.orm import Session

    from webui.actor import Actor
    from webui.storage.database import Database
    from webui.storage.tables import SignInWay, UserRow

IDLE, GUEST_IDLE = timedelta(days=30), timedelta(hours=12)
LONGEST = timedelta(days=180)
SAVE_EVERY = timedelta(minutes=5)
MAX_TOKEN_CHARS = 100


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
    """

    def __init__(self, database: Database, clock: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._clock = clock
        self._known: dict[str, _Known] = {}  # by hash of the token
        self._num_ended = 0

    async def identify(self, token: str, sender: Sender) -> Identity | None:
        """Return who holds a token; None where it is no good, or no more."""
        if len(token) > MAX_TOKEN_CHARS:
            return None
        token_hash = hash_of(token)
        known = self._known.get(token_hash) or await self._read(token_hash)
        if known is None:
            return None
        now = self._clock()
        if known.expires_at <= now:
            self._drop(token_hash)
            return None
        await self._note_use(known, now, sender)
        return known.identity

    def begin(self, session: Session, user: UserRow, sender: Sender, *, way: SignInWay) -> str:
        """Keep a new sign-in within a transaction; returns its token."""
        token, now = new_token(), self._clock()
        row = SessionRow(
            token_hash=hash_of(token),
            owner_id=user.id,
            device=sender.device,
            address=sender.address,
            created_at=now,
            last_used_at=now,
            expires_at=now + _idle(user.role),
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

    async def _read(self, token_hash: str) -> _Known | None:
        """Look for a sign-in in the database; what was ended while it was read is none."""
        while True:
            num_ended = self._num_ended
            found = await self._database.read(_find, token_hash)
            if num_ended == self._num_ended:
                break
        known = self._known.get(token_hash)  # another request may have been faster
        if known is None and found is not None and found[1].row.disabled_at is None:
            known = self._known[token_hash] = _known(*found)
        return known

    async def _note_use(self, known: _Known, now: datetime, sender: Sender) -> None:
        """Let a sign-in last on, and save that now and then; a clock set back does no harm."""
        is_moved = sender.address != known.address
        if not is_moved and abs(now - known.saved_at) < SAVE_EVERY:
            return
        known.saved_at, known.address = now, sender.address
        idle = _idle(known.identity.actor.role)
        known.expires_at = min(now + idle, known.created_at + LONGEST)
        use = {known.identity.id: (now, known.expires_at, known.address)}
        await self._database.run(credentials.note_use, use, {})

    def _end_where(self, is_meant: Callable[[Identity], bool]) -> None:
        self._num_ended += 1
        for token_hash, known in list(self._known.items()):
            if is_meant(known.identity):
                self._drop(token_hash)

    def _drop(self, token_hash: str) -> None:
        self._known.pop(token_hash).identity.ended.set()


def _idle(role: UserRole) -> timedelta:
    return GUEST_IDLE if role is UserRole.GUEST else IDLE


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
