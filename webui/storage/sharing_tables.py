"""Table of what people let others read.

Split from `tables` by noun; what holds for that file holds here.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from webui.storage.columns import words
from webui.storage.tables import Base, new_id, utc_now


class Audience(StrEnum):
    """To whom a share is made; said in a word, so that no missing id can mean everybody."""

    PERSON = "person"
    GROUP = "group"
    EVERYBODY = "everybody"  # who has an account, guests apart


class ShareRow(Base, kw_only=True):
    """That others may read one branch of a conversation.

    Attributes:
        user_id: Of a person who may; None where it is no person.
        group_id: Of a group whose members may; None where it is no group.
        leaf_id: Last message of the branch as it stood; None follows the branch that is shown.
        leaf_text_chars: With the next two what there was of that message: a reply that is
            continued grows in its place, and another model may write on.
        title: As it stood; None follows that of the conversation.
        num_messages: Of the branch as it stood.
        expires_at: From when on nobody may; None means never.
    """

    __tablename__ = "shares"

    id: Mapped[str] = mapped_column(primary_key=True, default_factory=new_id)
    owner_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    conversation_id: Mapped[str] = mapped_column(
        ForeignKey("conversations.id", ondelete="CASCADE"), index=True
    )
    audience: Mapped[Audience] = mapped_column(words(Audience))
    user_id: Mapped[str | None] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), default=None, index=True
    )
    group_id: Mapped[str | None] = mapped_column(
        ForeignKey("groups.id", ondelete="CASCADE"), default=None, index=True
    )
    leaf_id: Mapped[str | None] = mapped_column(
        ForeignKey("messages.id", ondelete="CASCADE"), default=None, index=True
    )
    leaf_text_chars: Mapped[int | None] = mapped_column(default=None)
    leaf_reasoning_chars: Mapped[int | None] = mapped_column(default=None)
    leaf_model: Mapped[str | None] = mapped_column(default=None)
    title: Mapped[str | None] = mapped_column(default=None, repr=False)
    num_messages: Mapped[int | None] = mapped_column(default=None)
    created_at: Mapped[datetime] = mapped_column(default_factory=utc_now)
    expires_at: Mapped[datetime | None] = mapped_column(default=None)

    @property
    def is_live(self) -> bool:
        """Whether what is said later is seen too."""
        return self.leaf_id is None
