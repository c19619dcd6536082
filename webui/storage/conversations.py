"""Conversations of an owner, without their messages.

Every function takes the owner: what is somebody else's is not found. Every change raises
`version`; what is said in a conversation also moves it to the top of the list.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import func

from webui.errors import InvalidRequest, NotFound
from webui.storage.owned import owned
from webui.storage.tables import ConversationRow, MessageRow, utc_now

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

MAX_PLACE = 2**63 - 1


@dataclass(frozen=True, slots=True)
class ConversationPage:
    """Conversations, newest first; `next` is the `before` of the following page."""

    conversations: list[ConversationRow]
    next: str | None


def create(
    session: Session, owner_id: str, *, title: str = "", title_is_automatic: bool = True
) -> ConversationRow:
    """Add an empty conversation; it is listed once it has a message."""
    row = ConversationRow(owner_id=owner_id, title=title, title_is_automatic=title_is_automatic)
    session.add(row)
    session.flush()
    return row


def find(session: Session, owner_id: str, conversation_id: str) -> ConversationRow | None:
    """Return a conversation that is not deleted, or None."""
    row = _find(session, owner_id, conversation_id)
    return None if row is None or row.deleted_at is not None else row


def get(session: Session, owner_id: str, conversation_id: str) -> ConversationRow:
    """Return a conversation.

    Raises:
        NotFound: There is none, it is deleted, or it is somebody else's.
    """
    row = find(session, owner_id, conversation_id)
    if row is None:
        raise _not_found()
    return row


def list_page(
    session: Session, owner_id: str, *, limit: int, before: str | None = None
) -> ConversationPage:
    """Return conversations that have messages, those with the latest word first.

    Args:
        session: Where to read.
        owner_id: Whose.
        limit: At most how many.
        before: `next` of the page before; None begins.

    Raises:
        InvalidRequest: `before` is not from a page.
    """
    query = (
        owned(ConversationRow, owner_id)
        .where(
            ConversationRow.deleted_at.is_(None),
            ConversationRow.activity > 0,
        )
        .order_by(ConversationRow.activity.desc())
        .limit(limit + 1)
    )
    if before is not None:
        query = query.where(ConversationRow.activity < _place(before))
    rows = list(session.scalars(query))
    more = len(rows) > limit
    return ConversationPage(rows[:limit], str(rows[limit - 1].activity) if more else None)


def rename(
    session: Session,
    owner_id: str,
    conversation_id: str,
    title: str,
    *,
    title_is_automatic: bool = False,
) -> ConversationRow:
    """Give a title; the place in the list stays.

    Raises:
        NotFound: As `get`.
    """
    row = get(session, owner_id, conversation_id)
    row.title = title
    row.title_is_automatic = title_is_automatic
    return _changed(row)


def set_active_leaf(
    session: Session, owner_id: str, conversation_id: str, leaf_id: str | None
) -> ConversationRow:
    """Choose which branch is shown: the one that ends in this message; None shows none.

    Raises:
        NotFound: As `get`, or the message is not of this conversation.
    """
    row = get(session, owner_id, conversation_id)
    if leaf_id is not None:
        query = owned(MessageRow, owner_id).where(
            MessageRow.id == leaf_id, MessageRow.conversation_id == conversation_id
        )
        if session.scalar(query) is None:
            raise NotFound("There is no such message in this conversation")
    row.active_leaf_id = leaf_id
    return _changed(row)


def set_context_overflow(
    session: Session, owner_id: str, conversation_id: str, policy: str | None
) -> ConversationRow:
    """Choose what happens when it is longer than the context; None is as for all.

    Raises:
        NotFound: As `get`.
    """
    row = get(session, owner_id, conversation_id)
    row.context_overflow = policy
    return _changed(row)


def touch(session: Session, owner_id: str, conversation_id: str) -> ConversationRow:
    """Note that something was said: move the conversation to the top of the list.

    Raises:
        NotFound: As `get`.
    """
    row = get(session, owner_id, conversation_id)
    # One writer: nobody takes the same number meanwhile.
    mine = owned(ConversationRow, owner_id)
    latest = session.scalar(mine.with_only_columns(func.max(ConversationRow.activity)))
    row.activity = (latest or 0) + 1
    row.updated_at = utc_now()
    return _changed(row)


def delete(session: Session, owner_id: str, conversation_id: str) -> ConversationRow:
    """Take a conversation away, so that it can be restored.

    Raises:
        NotFound: As `get`.
    """
    row = get(session, owner_id, conversation_id)
    row.deleted_at = utc_now()
    return _changed(row)


def restore(session: Session, owner_id: str, conversation_id: str) -> ConversationRow:
    """Bring a deleted conversation back to its place; nothing happens when it is there.

    Raises:
        NotFound: There is none, or it is somebody else's.
    """
    row = _find(session, owner_id, conversation_id)
    if row is None:
        raise _not_found()
    if row.deleted_at is None:
        return row
    row.deleted_at = None
    return _changed(row)


def _find(session: Session, owner_id: str, conversation_id: str) -> ConversationRow | None:
    return session.scalar(
        owned(ConversationRow, owner_id).where(ConversationRow.id == conversation_id)
    )


def _changed(row: ConversationRow) -> ConversationRow:
    row.version += 1
    return row


def _not_found() -> NotFound:
    return NotFound("There is no such conversation", "It may have been deleted.")


def _place(before: str) -> int:
    # isdecimal alone also takes digits of other scripts, and thousands of them.
    if len(before) <= len(str(MAX_PLACE)) and before.isascii() and before.isdecimal():
        return min(int(before), MAX_PLACE)
    raise InvalidRequest(
        "before is not the end of a page of conversations",
        "Take the value of next.",
        field="before",
    )
