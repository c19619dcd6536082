"""What was used, by day and model: one's own, and everybody's for administrators.

Knows numbers and names; no text of anybody.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

from webui.accounts.views import StoredView, UsageRowView
from webui.actor import Permission
from webui.storage import usage, users

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session

    from webui.accounts.quotas import Quotas
    from webui.accounts.views import LimitView
    from webui.actor import Actor
    from webui.storage.database import Database
    from webui.storage.tables import UserRow

MAX_DAYS = 365


class Usage:
    """Use cases of what was used.

    Args:
        database: Where it is kept.
        quotas: What is allowed, and used since.
    """

    def __init__(self, database: Database, quotas: Quotas) -> None:
        self._database = database
        self._quotas = quotas

    async def list(self, actor: Actor, days: int = 30) -> list[UsageRowView]:
        """Return what the actor used, oldest first.

        Args:
            actor: Whose.
            days: Today in UTC and so many before, less one; up to `MAX_DAYS`.
        """
        await self._quotas.flush()
        return await self._database.read(_of, actor.user_id, self._first_day(days))

    async def list_whole(self, actor: Actor) -> Sequence[UsageRowView]:
        """Return all that the actor ever used, oldest first."""
        await self._quotas.flush()
        return await self._database.read(_of, actor.user_id, date.min)

    async def list_all(self, actor: Actor, days: int = 30) -> Sequence[UsageRowView]:
        """Return what everybody used, person by person.

        Raises:
            PermissionDenied: The actor is no administrator.
        """
        actor.require(Permission.ADMINISTER)
        await self._quotas.flush()
        return await self._database.read(_of_all, self._first_day(days))

    async def list_stored(self, actor: Actor) -> Sequence[StoredView]:
        """Return how much text everybody keeps who keeps any, the most first; reads all of it.

        Raises:
            PermissionDenied: The actor is no administrator.
        """
        actor.require(Permission.ADMINISTER)
        return await self._database.read(_stored)

    async def limits(self, actor: Actor) -> Sequence[LimitView]:
        """Return the actor's limits and what is left of each."""
        return await self._quotas.list(actor)

    def _first_day(self, days: int) -> date:
        return self._quotas.now().day - timedelta(days=max(1, min(days, MAX_DAYS)) - 1)


def _of(session: Session, user_id: str, first_day: date) -> list[UsageRowView]:
    return _views(session, users.get(session, user_id), first_day)


def _of_all(session: Session, first_day: date) -> list[UsageRowView]:
    found: list[UsageRowView] = []
    for user in users.list_all(session):
        found += _views(session, user, first_day)
    return found


def _stored(session: Session) -> list[StoredView]:
    found = [
        StoredView(user_id=user.id, user=user.name, text_bytes=usage.stored_bytes(session, user.id))
        for user in users.list_all(session)
    ]
    kept = [one for one in found if one.text_bytes > 0]
    return sorted(kept, key=lambda one: (-one.text_bytes, one.user))


def _views(session: Session, user: UserRow, first_day: date) -> list[UsageRowView]:
    return [
        UsageRowView(
            user_id=user.id,
            user=user.name,
            day=spent.day,
            model=spent.model,
            requests=spent.requests,
            prompt_tokens=spent.prompt_tokens,
            completion_tokens=spent.completion_tokens,
            cached_tokens=spent.cached_tokens,
            counted_tokens=spent.counted_tokens,
        )
        for spent in usage.list_since(session, user.id, first_day)
    ]
