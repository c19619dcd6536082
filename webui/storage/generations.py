"""Runs of a model for the replies of an owner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from webui.errors import Conflict
from webui.storage.owned import get_owned, owned
from webui.storage.tables import GenerationRow, GenerationStatus, utc_now

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


def add(
    session: Session,
    owner_id: str,
    *,
    conversation_id: str,
    message_id: str,
    params: dict[str, Any],
    model: str | None = None,
) -> GenerationRow:
    """Note that a reply is being written.

    Raises:
        Conflict: One is being written in this conversation already.
    """
    query = owned(GenerationRow, owner_id).where(
        GenerationRow.conversation_id == conversation_id,
        GenerationRow.status == GenerationStatus.RUNNING,
    )
    if session.scalar(query.limit(1)) is not None:
        raise Conflict(
            "A reply is already being written in this conversation",
            "Wait for its end or stop it first.",
        )
    row = GenerationRow(
        owner_id=owner_id,
        conversation_id=conversation_id,
        message_id=message_id,
        params=params,
        model=model,
    )
    session.add(row)
    session.flush()
    return row


def finish(
    session: Session,
    owner_id: str,
    generation_id: str,
    status: GenerationStatus,
    *,
    model: str | None = None,
    params: dict[str, Any] | None = None,
) -> GenerationRow:
    """Note how it ended, and which model wrote, and how, when that is known only now.

    Raises:
        NotFound: There is no such generation, or it is somebody else's.
    """
    row = get_owned(session, GenerationRow, owner_id, generation_id, name="generation")
    row.status = status
    row.finished_at = utc_now()
    if model is not None:
        row.model = model
    if params is not None:
        row.params = params
    return row


def list_of(
    session: Session, owner_id: str, conversation_id: str, message_id: str | None = None
) -> list[GenerationRow]:
    """Return the runs in a conversation, or only those for one message, oldest first."""
    query = owned(GenerationRow, owner_id).where(GenerationRow.conversation_id == conversation_id)
    if message_id is not None:
        query = query.where(GenerationRow.message_id == message_id)
    return list(session.scalars(query.order_by(GenerationRow.created_at, GenerationRow.id)))


def list_live(session: Session, owner_id: str) -> list[GenerationRow]:
    """Return what is being written for an owner, oldest first."""
    query = (
        owned(GenerationRow, owner_id)
        .where(GenerationRow.status == GenerationStatus.RUNNING)
        .order_by(GenerationRow.created_at, GenerationRow.id)
    )
    return list(session.scalars(query))
