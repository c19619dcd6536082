"""What the model is told at the beginning of every conversation, as an administrator wants it.

Knows one text, kept by storage and at hand in memory. What models have read of another one serves
nobody any more, and is forgotten.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from webui.accounts.accounts import note
from webui.actor import LOCAL_USER_ID, Permission
from webui.chat.typed_text import clean_server_prompt
from webui.engine.states import SHARED_OWNER
from webui.storage import settings as choices

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from webui.accounts.identity import Sender
    from webui.actor import Actor
    from webui.engine.saved_states import SavedStates
    from webui.storage.database import Database

NAME = "server/prompt"


class ServerPrompt:
    """Use cases of the text; everybody reads it, administrators set it.

    Args:
        database: Where it is kept.
        states: What models have read of it.

    Attributes:
        text: As replies begin with it that are asked for now; empty where there is none.
    """

    def __init__(self, database: Database, states: SavedStates) -> None:
        self.text = ""
        self._database = database
        self._states = states

    async def open(self) -> None:
        """Read what was set before."""
        self.text = await self._database.read(choices.find, LOCAL_USER_ID, NAME) or ""

    async def set(self, actor: Actor, text: str, sender: Sender) -> str:
        """Let all replies that are asked for from now on begin with it; an empty one ends that.

        Returns:
            What is kept of it: no control characters, and no spaces around it.

        Raises:
            PermissionDenied: The actor is no administrator.
            InvalidRequest: It is too long or not valid Unicode.
        """
        actor.require(Permission.ADMINISTER)
        text = clean_server_prompt(text)
        if await self._database.run(_put, actor, text, sender):
            self.text = text
            await self._states.purge(SHARED_OWNER)
        return text


def _put(session: Session, actor: Actor, text: str, sender: Sender) -> bool:
    """Keep a text and write down that; returns whether it is another one than before."""
    if text == (choices.find(session, LOCAL_USER_ID, NAME) or ""):
        return False
    choices.put(session, LOCAL_USER_ID, NAME, text)
    said = f"{len(text):,} characters" if text else "none"
    note(session, actor, "set_server_prompt", said, sender)
    return True
