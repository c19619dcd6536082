"""Messages of a conversation, a tree that only grows.

Nothing is overwritten but a reply while it is written. Every function takes the owner: what is
somebody else's is not found.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from webui.errors import NotFound
from webui.storage import conversations
from webui.storage.owned import get_owned, owned
from webui.storage.tables import ConversationRow, MessageRow, MessageStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session

    from webui.messages import Role


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageEnd:
    """How a reply ended; fields as in `MessageRow`."""

    text: str
    reasoning: str
    status: MessageStatus
    model: str | None = None
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    queued_s: float | None = None
    prefill_s: float | None = None
    decode_s: float | None = None
    reasoning_s: float | None = None
    error_code: str | None = None
    error_message: str | None = None
    error_hint: str | None = None
    drafted_tokens: int | None = None
    accepted_tokens: int | None = None
    left_out_messages: int | None = None
    left_out_before_id: str | None = None
    left_out_tokens: int | None = None


def list_of(session: Session, owner_id: str, conversation_id: str) -> list[MessageRow]:
    """Return all messages of a conversation in the order of their arrival.

    One query; empty also when the conversation is deleted or somebody else's.
    """
    query = (
        owned(MessageRow, owner_id)
        .where(
            MessageRow.conversation_id == conversation_id,
            ConversationRow.deleted_at.is_(None),
        )
        .order_by(MessageRow.position)
    )
    return list(session.scalars(query))


def get(session: Session, owner_id: str, conversation_id: str, message_id: str) -> MessageRow:
    """Return a message.

    Raises:
        NotFound: It is not in this conversation, or that is deleted or somebody else's.
    """
    query = owned(MessageRow, owner_id).where(
        MessageRow.id == message_id,
        MessageRow.conversation_id == conversation_id,
        ConversationRow.deleted_at.is_(None),
    )
    row = session.scalar(query)
    if row is None:
        raise NotFound("There is no such message in this conversation")
    return row


def add(  # noqa: PLR0913 - the columns of a message
    session: Session,
    owner_id: str,
    conversation_id: str,
    *,
    parent_id: str | None,
    role: Role,
    text: str = "",
    status: MessageStatus = MessageStatus.COMPLETE,
    model: str | None = None,
) -> MessageRow:
    """Add a message, show the branch that ends in it, and move the conversation to the top.

    Raises:
        NotFound: The conversation or the parent is not there.
    """
    conversation = conversations.touch(session, owner_id, conversation_id)
    if parent_id is not None:
        get(session, owner_id, conversation_id, parent_id)
    row = MessageRow(
        conversation_id=conversation_id,
        parent_id=parent_id,
        role=role,
        text=text,
        status=status,
        model=model,
    )
    session.add(row)
    session.flush()
    conversation.active_leaf_id = row.id
    return row


def add_branch(
    session: Session, owner_id: str, conversation_id: str, rows: Sequence[MessageRow]
) -> None:
    """Add messages to an empty conversation, each below the one before it; it shows them.

    Args:
        session: Of the database.
        owner_id: Whose conversation.
        conversation_id: Of the conversation.
        rows: At least one, new, of that conversation; `parent_id` is set here.

    Raises:
        NotFound: The conversation is not there.
    """
    conversation = conversations.touch(session, owner_id, conversation_id)
    for above, row in pairwise(rows):
        row.parent_id = above.id
    session.add_all(rows)
    session.flush()
    conversation.active_leaf_id = rows[-1].id


def reopen(session: Session, owner_id: str, conversation_id: str, message_id: str) -> MessageRow:
    """Make an ended reply pending again, to be written on: its text and figures stay.

    The branch that ends in it is shown.

    Raises:
        NotFound: As `get`.
    """
    row = get(session, owner_id, conversation_id, message_id)
    row.status = MessageStatus.PENDING
    row.finish_reason = row.error_code = row.error_message = row.error_hint = None
    conversations.touch(session, owner_id, conversation_id).active_leaf_id = message_id
    return row


def finish(session: Session, owner_id: str, message_id: str, end: MessageEnd) -> MessageRow:
    """Save a reply for good; also in a conversation that was deleted meanwhile.

    Raises:
        NotFound: There is no such message, or it is somebody else's.
    """
    row = get_owned(session, MessageRow, owner_id, message_id, name="message")
    for name in END_COLUMNS:
        setattr(row, name, getattr(end, name))
    if conversations.find(session, owner_id, row.conversation_id) is not None:
        conversations.touch(session, owner_id, row.conversation_id)
    return row


END_COLUMNS = tuple(MessageEnd.__dataclass_fields__)
