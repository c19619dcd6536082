"""One branch of a conversation as others may read it, cut where the share says so.

Functions of a session; whether somebody may read is not known here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from webui.chat.shared_views import SharedMessageView
from webui.errors import InvalidRequest
from webui.messages import Role
from webui.storage import messages
from webui.storage.tables import MessageRow, MessageStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session

    from webui.storage.sharing_tables import ShareRow
    from webui.storage.tables import ConversationRow

SHOWN = frozenset({Role.USER, Role.ASSISTANT})
UNFINISHED = frozenset({MessageStatus.PENDING, MessageStatus.STREAMING})


def branch(session: Session, row: ConversationRow, leaf_id: str | None) -> list[MessageRow]:
    """Return the messages from the first to the one named.

    Args:
        session: Of the database.
        row: The conversation.
        leaf_id: None is the end of the branch that is shown.

    Raises:
        InvalidRequest: The message is not of this conversation, or nothing was said in it.
    """
    tree = {one.id: one for one in messages.list_of(session, row.owner_id, row.id)}
    leaf_id = row.active_leaf_id if leaf_id is None else leaf_id
    if not tree or leaf_id is None:
        raise InvalidRequest(
            "nothing was said in this conversation yet", "Share it when something was."
        )
    if leaf_id not in tree:
        raise InvalidRequest(
            "there is no such message in this conversation",
            "Leave it out for the branch that is shown.",
            field="leaf_id",
        )
    path = [tree[leaf_id]]
    while path[-1].parent_id is not None:
        path.append(tree[path[-1].parent_id])
    return [one for one in reversed(path) if one.role in SHOWN]


def shared_messages(
    session: Session, share: ShareRow, row: ConversationRow
) -> list[SharedMessageView]:
    """Return what a reader of a share sees."""
    views = [_view(one) for one in branch(session, row, share.leaf_id)]
    last = views[-1]
    if last.id == share.leaf_id:
        # A reply that was continued since then grew in its place.
        views[-1] = SharedMessageView(
            id=last.id,
            role=last.role,
            text=last.text[: share.leaf_text_chars],
            reasoning=last.reasoning[: share.leaf_reasoning_chars],
            status=MessageStatus.COMPLETE.value,
            model=share.leaf_model,
            created_at=last.created_at,
        )
    return views


def copied(views: Sequence[SharedMessageView], conversation_id: str) -> list[MessageRow]:
    """Return new messages of a conversation that say the same; what ran is interrupted there."""
    complete = MessageStatus.COMPLETE
    return [
        MessageRow(
            conversation_id=conversation_id,
            role=Role(one.role),
            text=one.text,
            reasoning=one.reasoning,
            status=complete if one.status == complete.value else MessageStatus.INTERRUPTED,
            model=one.model,
        )
        for one in views
    ]


def is_being_written(path: Sequence[MessageRow]) -> bool:
    """Whether a reply of a branch is not at its end."""
    return any(one.status in UNFINISHED for one in path)


def _view(row: MessageRow) -> SharedMessageView:
    return SharedMessageView(
        id=row.id,
        role=row.role.value,
        text=row.text,
        reasoning=row.reasoning,
        status=row.status.value,
        model=row.model,
        created_at=row.created_at,
    )
