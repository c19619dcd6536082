"""What people had models do, by day and model; it stays when the chats go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import LargeBinary, cast, func

from webui.storage.owned import owned
from webui.storage.tables import MessageRow, UsageRow, UserRow

if TYPE_CHECKING:
    from datetime import date

    from sqlalchemy.orm import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What one or more requests took; fields as in `UsageRow`."""

    owner_id: str
    day: date
    model: str
    requests: int = 1
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0

    @property
    def counted_tokens(self) -> int:
        """Return what counts against a limit: tokens read anew, and tokens written."""
        return self.prompt_tokens - self.cached_tokens + self.completion_tokens


def add(session: Session, spent: Spent) -> None:
    """Add to what somebody used; nothing happens when they are gone."""
    if session.get(UserRow, spent.owner_id) is None:
        return
    query = owned(UsageRow, spent.owner_id).where(
        UsageRow.day == spent.day, UsageRow.model == spent.model
    )
    row = session.scalar(query)
    if row is None:
        row = UsageRow(owner_id=spent.owner_id, day=spent.day, model=spent.model)
        session.add(row)
    row.requests += spent.requests
    row.prompt_tokens += spent.prompt_tokens
    row.completion_tokens += spent.completion_tokens
    row.cached_tokens += spent.cached_tokens
    session.flush()


def list_since(session: Session, owner_id: str, first_day: date) -> list[Spent]:
    """Return what somebody used from a day on, oldest first."""
    query = (
        owned(UsageRow, owner_id)
        .where(UsageRow.day >= first_day)
        .order_by(UsageRow.day, UsageRow.model)
    )
    return [
        Spent(
            owner_id=row.owner_id,
            day=row.day,
            model=row.model,
            requests=row.requests,
            prompt_tokens=row.prompt_tokens,
            completion_tokens=row.completion_tokens,
            cached_tokens=row.cached_tokens,
        )
        for row in session.scalars(query)
    ]


def stored_bytes(session: Session, owner_id: str) -> int:
    """Return about how many bytes the text of somebody's conversations takes, the trash included."""
    texts = (MessageRow.text, MessageRow.reasoning)
    sizes = sum((func.length(cast(text, LargeBinary)) for text in texts), start=0)
    query = owned(MessageRow, owner_id).with_only_columns(func.coalesce(func.sum(sizes), 0))
    return int(session.scalar(query) or 0)
