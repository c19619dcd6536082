"""Reading other people's chats, which administrators may only where everybody is told so.

Knows one switch, and use cases of conversations as if it were the other person. Off at first; while
it is on, everybody sees a line about it, and each look is written down before it is taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from webui.accounts.accounts import note
from webui.accounts.permissions import actor_of
from webui.actor import LOCAL_USER_ID, Permission
from webui.chat.events import MeChanged
from webui.errors import PermissionDenied
from webui.storage import settings as choices
from webui.storage import users

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from webui.accounts.identity import Sender
    from webui.actor import Actor
    from webui.chat.conversations import Conversations
    from webui.chat.event_log import EventLog
    from webui.chat.views import Page, Transcript
    from webui.storage.database import Database

READING = "server/administrators_read"


class ReadingIsOff(PermissionDenied):
    """Administrators of this server do not read chats."""

    code = "reading_is_off"


class Reading:
    """Use cases of administrators who look into chats.

    Args:
        database: Where the switch is kept, and each look written down.
        conversations: What is looked into.
        events: Where everybody hears of the switch.
    """

    def __init__(self, database: Database, conversations: Conversations, events: EventLog) -> None:
        self.is_on = False
        self._database = database
        self._conversations = conversations
        self._events = events

    async def open(self) -> None:
        """Read how it was left."""
        self.is_on = bool(await self._database.read(choices.find, LOCAL_USER_ID, READING))

    async def switch(self, actor: Actor, sender: Sender, *, is_on: bool) -> None:
        """Let administrators read chats from now on, or no more; every open page hears of it.

        Raises:
            PermissionDenied: The actor is no administrator.
        """
        actor.require(Permission.ADMINISTER)
        await self._database.run(_switch, actor, sender, is_on=is_on)
        self.is_on = is_on
        self._events.broadcast(MeChanged())

    async def list(
        self,
        actor: Actor,
        user_id: str,
        sender: Sender,
        *,
        limit: int = 50,
        before: str | None = None,
    ) -> Page:
        """Return somebody's conversations, newest first.

        Raises:
            PermissionDenied: The actor is no administrator.
            ReadingIsOff: It is switched off.
            NotFound: There is no such user.
        """
        other = await self._look(actor, user_id, sender, "the list")
        return await self._conversations.list(other, limit, before)

    async def get(
        self, actor: Actor, user_id: str, conversation_id: str, sender: Sender
    ) -> Transcript:
        """Return one of somebody's conversations.

        Raises:
            PermissionDenied: The actor is no administrator.
            ReadingIsOff: It is switched off.
            NotFound: There is no such user, or it is not theirs.
        """
        other = await self._look(actor, user_id, sender, f"conversation {conversation_id}")
        return await self._conversations.get(other, conversation_id)

    async def _look(self, actor: Actor, user_id: str, sender: Sender, what: str) -> Actor:
        """Write a look down; returns the actor whose things are looked at."""
        actor.require(Permission.ADMINISTER)
        if not self.is_on:
            raise ReadingIsOff(
                "administrators of this server do not read chats",
                "It can be switched on in the Admin tab; everybody is told then.",
            )
        return await self._database.run(_note_look, actor, user_id, what, sender)


def _note_look(session: Session, actor: Actor, user_id: str, what: str, sender: Sender) -> Actor:
    row = users.get(session, user_id)
    note(session, actor, "read_chats", f"{row.name}: {what}", sender)
    return actor_of(session, row)


def _switch(session: Session, actor: Actor, sender: Sender, *, is_on: bool) -> None:
    choices.put(session, LOCAL_USER_ID, READING, is_on)
    note(session, actor, "reading_on" if is_on else "reading_off", "", sender)
