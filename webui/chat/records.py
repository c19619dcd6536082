"""The transactions of conversations: what is written together, and the views it leaves.

Functions of a session, run by `Database`; they compose storage's functions, check the rules of
the tree, and know neither engines nor events. `running` of a view is for the caller to mark.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

from webui.chat.message_end import message_end
from webui.chat.views import (
    ConversationView,
    ErrorView,
    LeftOutView,
    MessageView,
    TimingsView,
    UsageView,
)
from webui.chat.written_with import (
    NOTHING,
    WrittenWith,
    by_message,
    with_seed,
    written_with,
)
from webui.errors import Conflict, InvalidRequest
from webui.messages import Role
from webui.storage import conversations, generations, messages, shares, unattended
from webui.storage import usage as usage_table
from webui.storage.tables import GenerationStatus, MessageStatus
from webui.storage.unattended import MessageProgress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session

    from webui.chat.reply import Order
    from webui.sampling_params import OverflowPolicy, SamplingParams
    from webui.storage.tables import ConversationRow, MessageRow
    from webui.storage.usage import Spent

UNFINISHED = frozenset({MessageStatus.PENDING, MessageStatus.STREAMING})
ENDINGS = {
    "complete": GenerationStatus.DONE,
    "stopped": GenerationStatus.STOPPED,
    "interrupted": GenerationStatus.INTERRUPTED,
    "error": GenerationStatus.FAILED,
}


@dataclass(frozen=True, slots=True)
class Sent:
    """A new message of the user; `title` is for a conversation that has none."""

    parent_id: str | None
    text: str
    title: str


@dataclass(frozen=True, slots=True)
class Retried:
    """Another reply is wanted beside this one."""

    message_id: str


@dataclass(frozen=True, slots=True)
class Continued:
    """This reply is to be written on."""

    message_id: str


Question = Sent | Retried | Continued


@dataclass(frozen=True, slots=True)
class Asked:
    """A saved turn whose reply can begin.

    Attributes:
        messages: The rows that are new or changed.
        reply: The one that is to be written.
        path: From the root to the message that is answered.
        params: How this conversation wants it written.
    """

    conversation: ConversationView
    messages: list[MessageView]
    reply: MessageView
    path: list[MessageView]
    generation_id: str
    params: SamplingParams


def page(
    session: Session, owner: str, limit: int, before: str | None
) -> tuple[list[ConversationView], str | None]:
    """Return conversations that have messages, newest first, and where the next page begins."""
    found = conversations.list_page(session, owner, limit=limit, before=before)
    return [conversation_view(row) for row in found.conversations], found.next


def create(session: Session, owner: str, title: str) -> ConversationView:
    """Add an empty conversation."""
    row = conversations.create(session, owner, title=title, title_is_automatic=not title)
    return conversation_view(row)


def transcript(
    session: Session, owner: str, conversation_id: str
) -> tuple[ConversationView, list[MessageView]]:
    """Return a conversation and all its messages in the order of their arrival."""
    row = conversations.get(session, owner, conversation_id)
    rows = messages.list_of(session, owner, conversation_id)
    runs = by_message(
        (run.message_id, run.params) for run in generations.list_of(session, owner, conversation_id)
    )
    views = [message_view(message, written_with(runs.get(message.id, []))) for message in rows]
    return conversation_view(row), views


def rename(session: Session, owner: str, conversation_id: str, title: str) -> ConversationView:
    """Give a title."""
    return conversation_view(conversations.rename(session, owner, conversation_id, title))


def set_active_leaf(
    session: Session, owner: str, conversation_id: str, leaf_id: str
) -> ConversationView:
    """Choose the branch that is shown."""
    row = conversations.set_active_leaf(session, owner, conversation_id, leaf_id)
    return conversation_view(row)


def set_context_overflow(
    session: Session, owner: str, conversation_id: str, policy: OverflowPolicy | None
) -> ConversationView:
    """Choose what happens when it is longer than the context; None leaves it to the parameters."""
    row = conversations.set_context_overflow(session, owner, conversation_id, policy)
    return conversation_view(row)


def delete(session: Session, owner: str, conversation_id: str) -> list[str]:
    """Take a conversation away with its shares, for good; returns who could read it."""
    conversations.delete(session, owner, conversation_id)
    ended = shares.delete_of(session, owner, conversation_id)
    return [reader for row in ended for reader in shares.readers_of(session, row)]


def restore(session: Session, owner: str, conversation_id: str) -> ConversationView:
    """Bring a conversation back."""
    return conversation_view(conversations.restore(session, owner, conversation_id))


def edit(
    session: Session, owner: str, conversation_id: str, message_id: str, text: str
) -> tuple[ConversationView, MessageView]:
    """Add another version of a message beside it."""
    old = messages.get(session, owner, conversation_id, message_id)
    new = messages.add(
        session, owner, conversation_id, parent_id=old.parent_id, role=old.role, text=text
    )
    row = conversations.get(session, owner, conversation_id)
    return conversation_view(row), message_view(new)


def ask(
    session: Session, owner: str, conversation_id: str, question: Question, params: SamplingParams
) -> Asked:
    """Save a question and the reply it waits for, still empty.

    Raises:
        NotFound: The conversation or a message is not there, or is somebody else's.
        InvalidRequest: The rules of the tree do not allow it.
        Conflict: The reply is being written.
    """
    row = conversations.get(session, owner, conversation_id)
    tree = {m.id: m for m in messages.list_of(session, owner, conversation_id)}
    changed: list[MessageRow] = []
    match question:
        case Sent():
            asked = _send(session, row, tree, question)
            changed.append(asked)
            reply = _add_reply(session, row, asked)
        case Retried():
            old = _reply(session, row, question.message_id)
            if old.parent_id is None:
                raise InvalidRequest("Nothing was asked before this message", field="message_id")
            asked = tree[old.parent_id]
            reply = _add_reply(session, row, asked)
        case Continued():
            reply = _reopened(session, row, tree, question.message_id)
            if reply.parent_id is None:
                raise InvalidRequest("Nothing was asked before this message", field="message_id")
            asked = tree[reply.parent_id]
        case _:
            assert_never(question)
    if row.context_overflow is not None:
        params = params.model_copy(update={"context_overflow": row.context_overflow})
    generation = generations.add(
        session,
        owner,
        conversation_id=conversation_id,
        message_id=reply.id,
        params=params.model_dump(mode="json"),
    )
    runs = generations.list_of(session, owner, conversation_id, reply.id)
    view = message_view(reply, written_with([run.params for run in runs]))
    return Asked(
        conversation=conversation_view(row),
        messages=[*map(message_view, changed), view],
        reply=view,
        path=[message_view(message) for message in _path(tree, asked)],
        generation_id=generation.id,
        params=params,
    )


def save_progress(session: Session, views: Sequence[MessageView]) -> None:
    """Save running replies as far as they are; those that have ended stay as they are."""
    unattended.save_progress(
        session,
        [
            MessageProgress(
                message_id=view.id,
                text=view.text,
                reasoning=view.reasoning,
                status=MessageStatus(view.status),
                model=view.model,
            )
            for view in views
        ],
    )


def finish(
    session: Session, order: Order, final: MessageView, spent: Spent | None = None
) -> ConversationView | None:
    """Save a reply for good and what it took; returns its conversation unless that was deleted."""
    if spent is not None:
        usage_table.add(session, spent)
    messages.finish(session, order.owner, final.id, message_end(final))
    status = ENDINGS[final.status]
    params = None
    if final.seeds != order.message.seeds:
        has_written = len(final.seeds) == len(order.message.seeds)
        params = with_seed(order.params, final.seeds[-1] if has_written else None)
    generations.finish(
        session, order.owner, order.generation_id, status, model=final.model, params=params
    )
    row = conversations.find(session, order.owner, order.conversation_id)
    return None if row is None else conversation_view(row)


def conversation_view(row: ConversationRow) -> ConversationView:
    """Return what faces see of a conversation."""
    return ConversationView(
        id=row.id,
        title=row.title,
        active_leaf_id=row.active_leaf_id,
        version=row.version,
        created_at=row.created_at,
        updated_at=row.updated_at,
        running=False,
        context_overflow=row.context_overflow,
    )


def message_view(row: MessageRow, written: WrittenWith = NOTHING) -> MessageView:
    """Return what faces see of a message."""
    usage = timings = error = None
    if row.prompt_tokens is not None and row.completion_tokens is not None:
        usage = UsageView(
            row.prompt_tokens,
            row.completion_tokens,
            row.cached_tokens or 0,
            row.drafted_tokens or 0,
            row.accepted_tokens or 0,
        )
    if row.queued_s is not None and row.prefill_s is not None and row.decode_s is not None:
        timings = TimingsView(row.queued_s, row.prefill_s, row.decode_s)
    if row.error_code is not None:
        error = ErrorView(row.error_code, row.error_message or "", row.error_hint or "")
    return MessageView(
        id=row.id,
        parent_id=row.parent_id,
        role=row.role.value,
        text=row.text,
        reasoning=row.reasoning,
        status=row.status.value,
        model=row.model,
        created_at=row.created_at,
        finish_reason=row.finish_reason,
        usage=usage,
        timings=timings,
        error=error,
        reasoning_s=row.reasoning_s,
        left_out=_left_out(row),
        params=written.params,
        seeds=written.seeds,
    )


def _left_out(row: MessageRow) -> LeftOutView | None:
    if row.left_out_messages is None and row.left_out_tokens is None:
        return None
    return LeftOutView(row.left_out_messages or 0, row.left_out_before_id, row.left_out_tokens or 0)


def _send(
    session: Session, row: ConversationRow, tree: dict[str, MessageRow], sent: Sent
) -> MessageRow:
    if sent.parent_id is not None:
        parent = messages.get(session, row.owner_id, row.id, sent.parent_id)
        if parent.role is not Role.ASSISTANT:
            raise InvalidRequest(
                "A message can only follow a reply",
                "Name the reply above it as its parent, or none to begin anew.",
                field="parent_id",
            )
    if not row.title:
        conversations.rename(session, row.owner_id, row.id, sent.title, title_is_automatic=True)
    asked = messages.add(
        session,
        row.owner_id,
        row.id,
        parent_id=sent.parent_id,
        role=Role.USER,
        text=sent.text,
    )
    tree[asked.id] = asked
    return asked


def _add_reply(session: Session, row: ConversationRow, asked: MessageRow) -> MessageRow:
    return messages.add(
        session,
        row.owner_id,
        row.id,
        parent_id=asked.id,
        role=Role.ASSISTANT,
        status=MessageStatus.PENDING,
    )


def _reply(session: Session, row: ConversationRow, message_id: str) -> MessageRow:
    reply = messages.get(session, row.owner_id, row.id, message_id)
    if reply.role is not Role.ASSISTANT:
        raise InvalidRequest(
            "This message is not a reply", "Choose a reply of the model.", field="message_id"
        )
    if reply.status in UNFINISHED:
        raise Conflict("This reply is being written", "Wait for its end or stop it first.")
    return reply


def _reopened(
    session: Session, row: ConversationRow, tree: dict[str, MessageRow], message_id: str
) -> MessageRow:
    reply = _reply(session, row, message_id)
    if any(message.parent_id == reply.id for message in tree.values()):
        raise InvalidRequest(
            "Something follows this reply already",
            "Continue the last reply, or retry this one.",
            field="message_id",
        )
    return messages.reopen(session, row.owner_id, row.id, message_id)


def _path(tree: dict[str, MessageRow], leaf: MessageRow) -> list[MessageRow]:
    """Return the messages from the root to `leaf`."""
    path = [leaf]
    while path[-1].parent_id is not None:
        path.append(tree[path[-1].parent_id])
    path.reverse()
    return path
