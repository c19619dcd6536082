"""Running replies on their way to the database.

Knows storage and the event log; does not know who asked or what writes. The progress of all
replies goes in one transaction a tick. When storage refuses (disk full, database held by another
program) nothing is lost: the text stays in memory, people are told once, and it is tried again.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from webui.chat import records
from webui.errors import StorageBusy, StorageFull, StorageUnusable

if TYPE_CHECKING:
    from webui.chat.event_log import EventLog
    from webui.chat.reply import Reply
    from webui.chat.views import ConversationView, MessageView
    from webui.storage.database import Database
    from webui.storage.usage import Spent

logger = logging.getLogger(__name__)

TICK_S = 0.5
RETRY_FIRST_S = 0.5
MAX_RETRY_FACTOR = 16
REFUSALS = (StorageBusy, StorageFull, StorageUnusable)


class Saver:
    """Saves what replies have become.

    Args:
        database: Where to.
        events: Where people are told when it does not work.
        tick_s: Seconds between two savings of progress.
        retry_s: Seconds before the first new try of a last saving; doubles up to 16 times that.
    """

    def __init__(
        self,
        database: Database,
        events: EventLog,
        *,
        tick_s: float = TICK_S,
        retry_s: float = RETRY_FIRST_S,
    ) -> None:
        self._database = database
        self._events = events
        self._tick_s = tick_s
        self._retry_s = retry_s
        self._replies: dict[str, Reply] = {}
        self._told: set[str] = set()
        self._ticker: asyncio.Task[None] | None = None

    def add(self, reply: Reply) -> None:
        """Save the progress of this reply from now on."""
        self._replies[reply.order.generation_id] = reply
        if self._ticker is None or self._ticker.done():
            self._ticker = asyncio.create_task(self._tick(), name="save replies")

    async def finish(
        self, reply: Reply, final: MessageView, spent: Spent | None = None
    ) -> ConversationView | None:
        """Save the reply for good and what it took, trying until it works; returns its conversation.

        None when the conversation was deleted meanwhile.
        """
        self._replies.pop(reply.order.generation_id, None)
        wait_s = self._retry_s
        try:
            while True:
                try:
                    return await self._database.run(records.finish, reply.order, final, spent)
                except REFUSALS as error:
                    self._tell(reply, error)
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, self._retry_s * MAX_RETRY_FACTOR)
        finally:
            self._told.discard(reply.order.generation_id)

    async def close(self) -> None:
        """End the ticks; idempotent."""
        if self._ticker is not None:
            self._ticker.cancel()
            await asyncio.wait({self._ticker})
            self._ticker = None

    async def _tick(self) -> None:
        while self._replies:
            await asyncio.sleep(self._tick_s)
            await self._save()

    async def _save(self) -> None:
        dirty = [reply for reply in self._replies.values() if reply.is_dirty]
        if not dirty:
            return
        views = [reply.view() for reply in dirty]
        for reply in dirty:
            reply.is_dirty = False
        try:
            await self._database.run(records.save_progress, views)
        except REFUSALS as error:
            for reply in dirty:
                reply.is_dirty = True
                self._tell(reply, error)
        except Exception:
            # The rim: a tick that fails must not end the ticks; the last saving has its own end.
            logger.exception("saving the progress of %d replies failed", len(dirty))

    def _tell(self, reply: Reply, error: StorageBusy | StorageFull | StorageUnusable) -> None:
        generation_id = reply.order.generation_id
        if generation_id in self._told:
            return
        self._told.add(generation_id)
        logger.warning("reply %s is not saved yet: %s", generation_id, error.message)
        text = (
            f"This reply is not saved yet: {error.message}. "
            "It is kept in memory and saved as soon as that is possible."
        )
        self._events.append(reply.order.owner, reply.notice(error.code, text))
