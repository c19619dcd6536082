"""Everybody's sign-ins: what administrators see of them, and ending them.

Knows rows; one's own sign-ins stand in `accounts`, API keys in `api_keys`. Whoever's sign-in is
ended is out at once; their chats stay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from webui.accounts.accounts import note
from webui.accounts.views import SignedInView, api_key_card, everybodys_session_view
from webui.actor import Permission
from webui.storage import everybodys, users
from webui.storage import sessions as rows
from webui.storage.tables import utc_now

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from sqlalchemy.orm import Session

    from webui.accounts.accounts import Accounts
    from webui.accounts.identity import Identity, Sender
    from webui.actor import Actor
    from webui.storage.database import Database


class SignIns:
    """Use cases of administrators for sign-ins.

    Args:
        database: Where they are kept.
        accounts: Whose sign-ins are ended.
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

    async def list(self, identity: Identity) -> SignedInView:
        """Return everybody's sign-ins and API keys that have not run out, last used first.

        Args:
            identity: Of an administrator, whose own sign-in is marked.

        Raises:
            PermissionDenied: The actor is no administrator.
        """
        identity.actor.require(Permission.ADMINISTER)
        return await self._database.read(_list, self._clock(), identity.id)

    async def end(self, actor: Actor, user_id: str, session_id: str, sender: Sender) -> None:
        """End one of somebody's sign-ins, with what it has open.

        Raises:
            PermissionDenied: The actor is no administrator.
            NotFound: There is no such user, or no such sign-in of theirs.
        """
        actor.require(Permission.ADMINISTER)
        await self._database.run(_end, actor, user_id, session_id, sender)
        self._accounts.sessions.end(session_id)
        await self._accounts.empty_left_guests()

    async def end_all(self, actor: Actor, user_id: str, sender: Sender) -> None:
        """End all of somebody's sign-ins, and the replies that run; their API keys stay.

        Raises:
            PermissionDenied: The actor is no administrator.
            NotFound: There is no such user.
        """
        actor.require(Permission.ADMINISTER)
        await self._database.run(_end_all, actor, user_id, sender)
        await self._accounts.end_sign_ins(user_id)


def _list(session: Session, now: datetime, current_id: str) -> SignedInView:
    return SignedInView(
        sessions=[
            everybodys_session_view(row, owner, current_id)
            for row, owner in everybodys.list_sessions(session, now)
        ],
        keys=[api_key_card(row, owner) for row, owner in everybodys.list_keys(session, now)],
    )


def _end(session: Session, actor: Actor, user_id: str, session_id: str, sender: Sender) -> None:
    owner = users.get(session, user_id)
    row = rows.delete(session, owner.id, session_id)
    note(session, actor, "end_session", f"{row.device or 'some program'} of {owner.name}", sender)


def _end_all(session: Session, actor: Actor, user_id: str, sender: Sender) -> None:
    owner = users.get(session, user_id)
    rows.delete_all(session, owner.id)
    note(session, actor, "end_all_sessions", owner.name, sender)
