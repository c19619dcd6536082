"""Keys of programs that were shown since the server began, and whose they are.

Knows keys, rows and time; no request. All changes go through this object, so what it remembers of
a key is what the database says. What a key has open ends with it, also in the middle of an answer.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import OrderedDict
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from webui.accounts.enabled import check_enabled
from webui.accounts.identity import Identity, Scope, Source, hash_of
from webui.accounts.permissions import Person, actor_of
from webui.accounts.throttle import Throttle
from webui.actor import Permission
from webui.errors import NotAuthenticated, PermissionDenied, WebuiError
from webui.storage import credentials
from webui.storage.tables import utc_now

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from sqlalchemy.orm import Session

    from webui.accounts.identity import Sender
    from webui.actor import Actor
    from webui.storage.database import Database
    from webui.storage.tables import ApiKeyRow, UserRow

logger = logging.getLogger(__name__)

FORM = re.compile(r"hs-[a-z0-9]{8}-[A-Za-z0-9_-]{43}")
PREFIX_CHARS = len("hs-") + 8
SAVE_EVERY = timedelta(minutes=1)
LOOK_EVERY_S = 60.0
MAX_WRONG = 5_000
# What a key may do at most, whoever its owner is.
KEY_PERMISSIONS = frozenset(
    {Permission.CHAT, Permission.LOAD_MODELS, Permission.DOWNLOAD_MODELS},
)


class InvalidApiKey(NotAuthenticated):
    """The key is wrong, has run out or was revoked; which of them is not said."""

    code = "invalid_api_key"


@dataclass(slots=True)
class _Known:
    """A key that was used since the server began."""

    identity: Identity
    expires_at: datetime | None
    saved_at: datetime | None
    timer: asyncio.TimerHandle | None = None


class KnownKeys:
    """All keys of programs.

    Args:
        database: Where they are kept.
        clock: Aware time.
        throttle: How fast wrong ones may be looked up.
    """

    def __init__(
        self,
        database: Database,
        clock: Callable[[], datetime] = utc_now,
        throttle: Throttle | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._throttle = throttle or Throttle()
        self._known: dict[str, _Known] = {}  # by hash of the key
        self._reading: dict[str, asyncio.Task[_Known]] = {}
        self._wrong: OrderedDict[str, None] = OrderedDict()  # hashes that no key has
        self._num_ended = 0

    async def identify(self, key: str, sender: Sender) -> Identity:
        """Return who holds a key.

        Raises:
            InvalidApiKey: It is no good, or no more.
            AccountDisabled: An administrator shut the account of its owner.
            PermissionDenied: Its owner may not use keys any more.
            TooManyAttempts: Too many wrong ones came from there.
        """
        if FORM.fullmatch(key) is None:
            raise invalid_key()
        key_hash = hash_of(key)
        known = self._known.get(key_hash) or await self._found(key, key_hash, sender)
        now = self._clock()
        if known.expires_at is not None and known.expires_at <= now:
            self._drop(key_hash)
        else:
            await self._note_use(known, now)
        if known.identity.ended.is_set():
            raise invalid_key()
        return known.identity

    def refresh(self, user: UserRow, actor: Actor) -> None:
        """Let what somebody may do hold from now on, for all of their keys."""
        if Permission.API_KEYS not in actor.permissions:
            self.end_all(user.id)
        for known in self._known.values():
            if known.identity.actor.user_id == user.id:
                known.identity.actor = _actor(actor, known.identity.scope)
        self._num_ended += 1

    def end(self, key_id: str) -> None:
        """Cut off what a key still has open, once its row is gone."""
        self._end_where(lambda identity: identity.id == key_id)

    def end_all(self, user_id: str) -> None:
        """Cut off what all keys of somebody have open."""
        self._end_where(lambda identity: identity.actor.user_id == user_id)

    async def _found(self, key: str, key_hash: str, sender: Sender) -> _Known:
        """Return a key that is not known yet; requests that come at once look for it once.

        A key that is known to be wrong costs no look, so that a program that goes on with a revoked
        one keeps no other program of its machine waiting.
        """
        if key_hash in self._wrong:
            self._wrong.move_to_end(key_hash)
            raise invalid_key()
        reading = self._reading.get(key_hash)
        if reading is None:
            reading = asyncio.create_task(self._read(key, key_hash, sender), name="read a key")
            self._reading[key_hash] = reading
            reading.add_done_callback(lambda _: self._reading.pop(key_hash))
        return await asyncio.shield(reading)

    async def _read(self, key: str, key_hash: str, sender: Sender) -> _Known:
        """Look for a key in the database; what was ended while it was read is none."""
        prefix = key[:PREFIX_CHARS]
        self._throttle.begin(prefix, sender.address)
        while True:
            num_ended = self._num_ended
            found = await self._database.read(_find, key_hash)
            if num_ended == self._num_ended:
                break
        if found is None:
            self._note_wrong(key_hash)
            raise invalid_key()
        self._throttle.note_right(prefix, sender.address)
        row, person = found
        check_enabled(person.row)
        if Permission.API_KEYS not in person.actor.permissions:
            raise PermissionDenied(
                f"{person.row.name} may not use API keys any more (needs the permission "
                f"'{Permission.API_KEYS}')",
                "Ask the administrator of this server.",
            )
        known = self._known[key_hash] = _known(row, person.actor)
        self._look_later(key_hash, known)
        return known

    def _note_wrong(self, key_hash: str) -> None:
        self._wrong[key_hash] = None
        while len(self._wrong) > MAX_WRONG:
            self._wrong.popitem(last=False)

    async def _note_use(self, known: _Known, now: datetime) -> None:
        """Save now and then when a key was used; a clock set back does no harm."""
        if known.saved_at is not None and abs(now - known.saved_at) < SAVE_EVERY:
            return
        known.saved_at = now
        try:
            await self._database.run(credentials.note_use, {}, {known.identity.id: now})
        except WebuiError as error:  # a full disk is no reason to refuse who comes in
            logger.warning("the last use of a key was not saved: %s", error.message)

    def _look_later(self, key_hash: str, known: _Known) -> None:
        """See that a key ends in time; by the clock, which may jump, so not in one go."""
        if known.expires_at is None:
            return
        left_s = (known.expires_at - self._clock()).total_seconds()
        if left_s <= 0:
            self._drop(key_hash)
            return
        wait_s = min(left_s, LOOK_EVERY_S)
        loop = asyncio.get_running_loop()
        known.timer = loop.call_later(wait_s, self._look_later, key_hash, known)

    def _end_where(self, is_meant: Callable[[Identity], bool]) -> None:
        self._num_ended += 1
        for key_hash, known in list(self._known.items()):
            if is_meant(known.identity):
                self._drop(key_hash)

    def _drop(self, key_hash: str) -> None:
        known = self._known.pop(key_hash, None)
        if known is None:
            return
        if known.timer is not None:
            known.timer.cancel()
        known.identity.ended.set()


def invalid_key() -> InvalidApiKey:
    """Return what is said of every key that opens nothing."""
    return InvalidApiKey(
        "this API key is wrong, has run out or was revoked",
        "Make a new one on the page, under Your account.",
    )


def _find(session: Session, key_hash: str) -> tuple[ApiKeyRow, Person] | None:
    found = credentials.find_api_key(session, key_hash)
    return None if found is None else (found[0], Person(found[1], actor_of(session, found[1])))


def _actor(actor: Actor, scope: Scope | None) -> Actor:
    models = None if scope is None else scope.models
    return replace(actor, permissions=actor.permissions & KEY_PERMISSIONS, models=models)


def _known(row: ApiKeyRow, actor: Actor) -> _Known:
    scope = Scope(
        None if row.endpoints is None else frozenset(row.endpoints),
        None if row.models is None else frozenset(row.models),
    )
    identity = Identity(actor=_actor(actor, scope), source=Source.API_KEY, id=row.id, scope=scope)
    return _Known(identity, row.expires_at, row.last_used_at)
