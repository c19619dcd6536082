"""What the server does to rows of everybody, with nobody asking.

The only queries beside `owned` that touch rows of people: nothing that a request names comes here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, delete, exists, select, update

from webui.actor import UserRole
from webui.storage import settings
from webui.storage.sharing_tables import ShareRow
from webui.storage.tables import (
    UNFINISHED,
    ConversationRow,
    GenerationRow,
    GenerationStatus,
    JobRow,
    JobStatus,
    MessageRow,
    MessageStatus,
    SessionRow,
    SettingRow,
    UserRow,
    utc_now,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Select
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


def purge_trash(session: Session, before: datetime) -> None:
    """Remove conversations for good that were deleted before a moment, with all they hold."""
    session.execute(delete(ConversationRow).where(ConversationRow.deleted_at < before))


def purge_empty(session: Session, before: datetime) -> None:
    """Remove conversations that were begun before a moment and never held a message.

    No list shows them, and a title takes room that no limit counts.
    """
    holds = exists().where(MessageRow.conversation_id == ConversationRow.id)
    session.execute(delete(ConversationRow).where(ConversationRow.created_at < before, ~holds))


def purge_shares(session: Session, now: datetime) -> None:
    """Remove shares that have run out; nobody reads them any more."""
    session.execute(delete(ShareRow).where(ShareRow.expires_at <= now))


def list_left_guests(session: Session, now: datetime) -> list[str]:
    """Return guests who have something, and whom no sign-in lets in any more."""
    has = exists().where(ConversationRow.owner_id == UserRow.id)
    has_chosen = exists().where(SettingRow.owner_id == UserRow.id, settings.is_own())
    return list(session.scalars(_left_guests(now).where(has | has_chosen)))


def empty(session: Session, user_id: str, now: datetime) -> bool:
    """Remove all that a guest made who left, and leave the account.

    What was chosen for the whole server hangs on the local user's row, and stays.

    Returns:
        Whether it was done: who came in again meanwhile, or is no guest any more, keeps it.
    """
    if session.scalar(_left_guests(now).where(UserRow.id == user_id)) is None:
        return False
    for table in (ConversationRow, GenerationRow, JobRow):
        session.execute(delete(table).where(table.owner_id == user_id))
    session.execute(delete(SettingRow).where(SettingRow.owner_id == user_id, settings.is_own()))
    return True


def _left_guests(now: datetime) -> Select[str]:
    is_in = exists().where(SessionRow.owner_id == UserRow.id, SessionRow.expires_at > now)
    return select(UserRow.id).where(UserRow.role == UserRole.GUEST, ~is_in)
