"""What the server does to rows of everybody, with nobody asking.

The only queries beside `owned` that touch rows of people: nothing that a request names comes here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, update

from webui.storage.tables import (
    UNFINISHED,
    GenerationRow,
    GenerationStatus,
    JobRow,
    JobStatus,
    MessageRow,
    MessageStatus,
    utc_now,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageProgress:
    """What a running reply has become."""

    message_id: str
    text: str
    reasoning: str
    status: MessageStatus
    model: str | None = None


def save_progress(session: Session, replies: Sequence[MessageProgress]) -> None:
    """Save what running replies of all people have become, in one statement.

    A reply that has ended meanwhile stays as it is.
    """
    if not replies:
        return
    statement = (
        update(MessageRow)
        .where(MessageRow.id == bindparam("of_id"), UNFINISHED)
        .values(
            text=bindparam("new_text"),
            reasoning=bindparam("new_reasoning"),
            status=bindparam("new_status"),
            model=bindparam("new_model"),
        )
    )
    rows = [
        {
            "of_id": reply.message_id,
            "new_text": reply.text,
            "new_reasoning": reply.reasoning,
            "new_status": reply.status,
            "new_model": reply.model,
        }
        for reply in replies
    ]
    session.connection().execute(statement, rows)


def mark_interrupted(session: Session) -> None:
    """Mark what an end without goodbye left running; the text of replies is kept."""
    session.connection().execute(
        update(MessageRow).where(UNFINISHED).values(status=MessageStatus.INTERRUPTED)
    )
    session.execute(
        update(GenerationRow)
        .where(GenerationRow.status == GenerationStatus.RUNNING)
        .values(status=GenerationStatus.INTERRUPTED, finished_at=utc_now())
    )
    session.execute(
        update(JobRow)
        .where(JobRow.status == JobStatus.RUNNING)
        .values(status=JobStatus.INTERRUPTED, finished_at=utc_now())
    )
