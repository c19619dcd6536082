"""What was deleted and can still be brought back: looking at it, and ending it for good.

Putting a conversation in and taking it out again are use cases of `conversations`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from webui.actor import Permission
from webui.chat.views import DeletedView, TrashView
from webui.storage import trash

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from webui.actor import Actor
    from webui.storage.database import Database

MAX_LISTED = 500


class Trash:
    """Use cases of deleted conversations.

    Args:
        database: Where they are kept.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, actor: Actor) -> TrashView:
        """Return those deleted last, and how many there are in all."""
        return await self._database.read(_view, actor.user_id)

    async def delete(self, actor: Actor, conversation_id: str) -> None:
        """End one for good; nothing of it stays but what backups hold.

        Raises:
            NotFound: It is not in the actor's trash.
        """
        actor.require(Permission.CHAT)
        await self._database.run(trash.delete, actor.user_id, conversation_id)

    async def empty(self, actor: Actor) -> int:
        """End all of them for good; returns how many there were."""
        actor.require(Permission.CHAT)
        return await self._database.run(trash.empty, actor.user_id)


def _view(session: Session, owner_id: str) -> TrashView:
    rows, total = trash.list_newest(session, owner_id, MAX_LISTED)
    found = [
        DeletedView(
            id=row.id,
            title=row.title,
            deleted_at=row.deleted_at,
            ends_at=row.deleted_at + trash.KEPT,
        )
        for row in rows
        if row.deleted_at is not None
    ]
    return TrashView(found, total)
