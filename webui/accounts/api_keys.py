"""API keys: making, listing and revoking them, one's own and, for administrators, everybody's.

Knows rows and what a key may be; what is done with one that is shown stands in `known_keys`.
"""

from __future__ import annotations

import secrets
import string
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from webui.accounts import names
from webui.accounts.accounts import note
from webui.accounts.identity import EndpointGroup, Scope, hash_of, new_token
from webui.accounts.known_keys import PREFIX_CHARS
from webui.accounts.views import ApiKeyCard, ApiKeyView, api_key_card, api_key_view
from webui.actor import Permission
from webui.errors import Conflict, InvalidRequest
from webui.storage import api_keys as rows
from webui.storage import users
from webui.storage.tables import ApiKeyRow, utc_now

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from sqlalchemy.orm import Session

    from webui.accounts.accounts import Accounts
    from webui.accounts.identity import Sender
    from webui.actor import Actor
    from webui.storage.database import Database

MAX_KEYS = 50  # of one person
MAX_MODELS = 50
LONGEST = timedelta(days=3660)
PREFIX_ALPHABET = string.ascii_lowercase + string.digits


@dataclass(frozen=True, slots=True)
class MadeKey:
    """A key that was just made.

    Attributes:
        key: To be shown with every request; nobody can read it again.
    """

    key: str
    view: ApiKeyView


class ApiKeys:
    """Use cases of keys for programs.

    Args:
        database: Where they are kept.
        accounts: Whose keys are ended.
        clock: Aware time.
    """

    def __init__(
        self,
        database: Database,
        accounts: Accounts,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database = database
        self._accounts = accounts
        self._clock = clock

    async def list(self, actor: Actor) -> list[ApiKeyView]:
        """Return one's own keys, newest first; who may make none any more sees what is left."""
        found = await self._database.read(rows.list_newest, actor.user_id)
        return [api_key_view(row, self._clock()) for row in found]

    async def make(
        self,
        actor: Actor,
        name: str,
        sender: Sender,
        *,
        scope: Scope | None = None,
        expires_at: datetime | None = None,
    ) -> MadeKey:
        """Make a key.

        Args:
            actor: Whose it is to be.
            name: By which they know it, 1 to 60 characters.
            sender: From where this is asked.
            scope: What it opens; None is all that keys may open.
            expires_at: From when on it opens nothing; aware, at most ten years from now.

        Raises:
            PermissionDenied: The actor may not have any.
            InvalidRequest: Name, scope or time cannot be had; names the field.
            Conflict: They have 50, or nobody has an account.
        """
        actor.require(Permission.API_KEYS)
        if not self._accounts.is_claimed:
            raise Conflict(
                "nobody has an account, so programs of this machine need no key",
                "Make an administrator first; the keys are theirs then.",
            )
        scope = scope or Scope()
        _check_scope(scope)
        self._check_time(expires_at)
        prefix = "hs-" + "".join(secrets.choice(PREFIX_ALPHABET) for _ in range(8))
        key = f"{prefix}-{new_token()}"
        row = ApiKeyRow(
            key_hash=hash_of(key),
            owner_id=actor.user_id,
            name=names.label(name, "Say what the key is for."),
            prefix=key[:PREFIX_CHARS],
            endpoints=None if scope.endpoints is None else sorted(scope.endpoints),
            models=None if scope.models is None else sorted(scope.models),
            created_at=self._clock(),
            expires_at=expires_at,
        )
        return MadeKey(key, await self._database.run(self._add, actor, row, sender))

    async def delete(self, actor: Actor, key_id: str, sender: Sender) -> None:
        """Revoke one of one's own keys; what it has open is cut off.

        Raises:
            NotFound: There is none, or it is somebody else's.
        """
        await self._database.run(_delete, actor, actor.user_id, key_id, sender)
        self._accounts.keys.end(key_id)

    async def list_of(self, actor: Actor, user_id: str) -> Sequence[ApiKeyCard]:
        """Return somebody's keys, newest first.

        Raises:
            PermissionDenied: The actor is no administrator.
            NotFound: There is no such user.
        """
        actor.require(Permission.ADMINISTER)
        return await self._database.read(_cards, user_id)

    async def delete_of(self, actor: Actor, user_id: str, key_id: str, sender: Sender) -> None:
        """Revoke one of somebody's keys; what it has open is cut off.

        Raises:
            PermissionDenied: The actor is no administrator.
            NotFound: There is no such user, or no such key of theirs.
        """
        actor.require(Permission.ADMINISTER)
        await self._database.run(_delete, actor, user_id, key_id, sender)
        self._accounts.keys.end(key_id)

    def _add(self, session: Session, actor: Actor, row: ApiKeyRow, sender: Sender) -> ApiKeyView:
        if len(rows.list_newest(session, actor.user_id)) >= MAX_KEYS:
            raise Conflict(f"you have {MAX_KEYS} API keys", "Revoke those that nothing uses.")
        rows.add(session, row)
        note(session, actor, "make_key", f"{row.name} ({row.prefix})", sender)
        return api_key_view(row, self._clock())

    def _check_time(self, expires_at: datetime | None) -> None:
        now = self._clock()
        if expires_at is None:
            return
        if expires_at.tzinfo is None:
            raise InvalidRequest(
                "expires_at has no time zone", "Add one, such as Z.", field="expires_at"
            )
        if expires_at <= now:
            raise InvalidRequest(
                f"expires_at is {expires_at:%Y-%m-%d %H:%M}, which is past",
                "Take a time to come.",
                field="expires_at",
            )
        if expires_at > now + LONGEST:
            raise InvalidRequest(
                f"expires_at is {expires_at:%Y-%m-%d}, more than ten years from now",
                "Leave it out for a key that does not run out.",
                field="expires_at",
            )


def _delete(session: Session, actor: Actor, user_id: str, key_id: str, sender: Sender) -> None:
    owner = users.get(session, user_id)
    row = rows.delete(session, owner.id, key_id)
    of = "" if owner.id == actor.user_id else f" of {owner.name}"
    note(session, actor, "delete_key", f"{row.name} ({row.prefix}){of}", sender)


def _cards(session: Session, user_id: str) -> list[ApiKeyCard]:
    owner = users.get(session, user_id)
    return [api_key_card(row, owner) for row in rows.list_newest(session, owner.id)]


def _check_scope(scope: Scope) -> None:
    known = [group.value for group in EndpointGroup]
    for word in sorted(scope.endpoints or ()):
        if word not in known:
            raise InvalidRequest(
                f"endpoints has {word[:40]!r}, which no key can open",
                f"There are {', '.join(known)}.",
                field="endpoints",
            )
    for field, chosen in (("endpoints", scope.endpoints), ("models", scope.models)):
        if chosen is not None and not chosen:
            raise InvalidRequest(
                f"{field} is empty, so that the key would open nothing",
                "Name at least one, or leave it out for all.",
                field=field,
            )
    if scope.models is not None and len(scope.models) > MAX_MODELS:
        raise InvalidRequest(
            f"models has {len(scope.models)} ids",
            f"Name at most {MAX_MODELS}, or leave it out for all.",
            field="models",
        )
