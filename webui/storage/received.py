"""What others let somebody read: the only query that begins with who is shown something.

All that ends a share ends it here, since nothing of it is remembered anywhere else. Whether its
owner may share at all is for use cases to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import and_, exists, or_, select
from sqlalchemy.orm import aliased

from webui.actor import UserRole
from webui.errors import NotFound
from webui.storage.sharing_tables import Audience, ShareRow
from webui.storage.tables import ConversationRow, GroupMemberRow, UserRow

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Select
    from sqlalchemy.orm import Session

MAX_LISTED = 1000


@dataclass(frozen=True, slots=True)
class Received:
    """A share, what it is of, and who made it."""

    share: ShareRow
    conversation: ConversationRow
    owner: UserRow


def list_newest(session: Session, reader_id: str, now: datetime) -> list[Received]:
    """Return what others let somebody read, the latest share first; of very many the latest."""
    query = _shown_to(reader_id, now).order_by(ShareRow.created_at.desc(), ShareRow.id)
    query = query.limit(MAX_LISTED)
    return [Received(found[0], found[1], found[2]) for found in session.execute(query)]


def get(session: Session, reader_id: str, share_id: str, now: datetime) -> Received:
    """Return a share that somebody may read.

    Raises:
        NotFound: There is none, it is over, or it is for others.
    """
    found = session.execute(_shown_to(reader_id, now).where(ShareRow.id == share_id)).first()
    if found is None:
        raise NotFound("There is no such share", "It may have ended.")
    return Received(found[0], found[1], found[2])


def _shown_to(reader_id: str, now: datetime) -> Select[ShareRow, ConversationRow, UserRow]:
    reader = aliased(UserRow)
    both_are_members = [
        exists().where(
            GroupMemberRow.group_id == ShareRow.group_id, GroupMemberRow.user_id == user_id
        )
        for user_id in (reader_id, ShareRow.owner_id)
    ]
    return (
        select(ShareRow, ConversationRow, UserRow)
        .join(ConversationRow, ConversationRow.id == ShareRow.conversation_id)
        .join(UserRow, UserRow.id == ShareRow.owner_id)
        .join(reader, reader.id == reader_id)
        .where(
            ShareRow.owner_id != reader_id,
            ShareRow.owner_id == ConversationRow.owner_id,
            ConversationRow.deleted_at.is_(None),
            or_(ShareRow.expires_at.is_(None), ShareRow.expires_at > now),
            *(
                condition
                for one in (UserRow, reader)
                for condition in (one.disabled_at.is_(None), one.role != UserRole.GUEST)
            ),
            or_(
                and_(ShareRow.audience == Audience.PERSON, ShareRow.user_id == reader_id),
                and_(ShareRow.audience == Audience.GROUP, *both_are_members),
                ShareRow.audience == Audience.EVERYBODY,
            ),
        )
    )
