"""Messages: a tree that only grows, and replies while they are written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import event, text

from webui.errors import NotFound
from webui.messages import Role
from webui.storage import conversations, messages, unattended
from webui.storage.messages import MessageEnd
from webui.storage.tables import ConversationRow, MessageRow, MessageStatus
from webui.storage.unattended import MessageProgress

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


@pytest.fixture
def conversation(session: Session) -> ConversationRow:
    return conversations.create(session, "ann")


def add(session: Session, conversation: ConversationRow, **fields: object) -> MessageRow:
    given: dict[str, object] = {"parent_id": None, "role": Role.USER} | fields
    return messages.add(session, "ann", conversation.id, **given)  # type: ignore[arg-type]  # test


def pending(session: Session, conversation: ConversationRow) -> MessageRow:
    return add(session, conversation, role=Role.ASSISTANT, status=MessageStatus.PENDING)


def progress(row: MessageRow, words: str) -> MessageProgress:
    return MessageProgress(
        message_id=row.id, text=words, reasoning="hm", status=MessageStatus.STREAMING, model="m"
    )


def end(status: MessageStatus = MessageStatus.COMPLETE, **fields: object) -> MessageEnd:
    return MessageEnd(text="all", reasoning="", status=status, **fields)  # type: ignore[arg-type]  # test


def test_messages_are_listed_in_the_order_of_arrival(
    session: Session, conversation: ConversationRow
) -> None:
    rows = [add(session, conversation, text=str(number)) for number in range(12)]
    found = messages.list_of(session, "ann", conversation.id)
    assert [row.text for row in found] == [str(number) for number in range(12)]
    assert [row.position for row in found] == sorted(row.position for row in rows)


def test_messages_are_listed_in_one_query(session: Session, conversation: ConversationRow) -> None:
    for _ in range(5):
        add(session, conversation)
    session.commit()
    session.expunge_all()
    statements: list[str] = []
    engine = session.get_bind()
    event.listen(engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    for row in messages.list_of(session, "ann", conversation.id):
        assert row.text == ""
    assert len(statements) == 1


def test_messages_of_another_or_of_a_deleted_conversation_are_not_shown(
    session: Session, conversation: ConversationRow
) -> None:
    row = add(session, conversation)
    assert messages.list_of(session, "bob", conversation.id) == []
    with pytest.raises(NotFound):
        messages.get(session, "bob", conversation.id, row.id)
    conversations.delete(session, "ann", conversation.id)
    assert messages.list_of(session, "ann", conversation.id) == []
    with pytest.raises(NotFound):
        messages.get(session, "ann", conversation.id, row.id)


def test_message_is_not_found_through_another_conversation(
    session: Session, conversation: ConversationRow
) -> None:
    other = conversations.create(session, "ann")
    row = add(session, conversation)
    with pytest.raises(NotFound):
        messages.get(session, "ann", other.id, row.id)


def test_added_message_becomes_the_leaf_and_raises_the_version(
    session: Session, conversation: ConversationRow
) -> None:
    before = conversation.version
    row = add(session, conversation, text="hello")
    assert conversation.active_leaf_id == row.id
    assert conversation.version == before + 1
    assert row.status is MessageStatus.COMPLETE


def test_parent_must_be_of_the_conversation(
    session: Session, conversation: ConversationRow
) -> None:
    other = conversations.create(session, "ann")
    stranger = add(session, other)
    with pytest.raises(NotFound):
        add(session, conversation, parent_id=stranger.id)


def test_nobody_adds_to_the_conversation_of_another(
    session: Session, conversation: ConversationRow
) -> None:
    with pytest.raises(NotFound):
        messages.add(session, "bob", conversation.id, parent_id=None, role=Role.USER)


def test_progress_of_many_replies_goes_in_one_call(
    session: Session, conversation: ConversationRow
) -> None:
    rows = [pending(session, conversation) for _ in range(3)]
    bystander = pending(session, conversation)
    session.commit()
    unattended.save_progress(session, [progress(row, f"part {row.id}") for row in rows])
    session.commit()
    for row in [*rows, bystander]:
        session.refresh(row)
    assert [row.text for row in rows] == [f"part {row.id}" for row in rows]
    assert {(row.status, row.reasoning, row.model) for row in rows} == {("streaming", "hm", "m")}
    assert (bystander.text, bystander.status) == ("", MessageStatus.PENDING)


def test_no_progress_is_no_statement(session: Session) -> None:
    unattended.save_progress(session, [])


def test_late_progress_does_not_touch_an_ended_reply(
    session: Session, conversation: ConversationRow
) -> None:
    row = pending(session, conversation)
    messages.finish(session, "ann", row.id, end())
    session.commit()
    unattended.save_progress(session, [progress(row, "half")])
    session.refresh(row)
    assert (row.text, row.status) == ("all", MessageStatus.COMPLETE)


def test_finished_reply_keeps_its_figures(session: Session, conversation: ConversationRow) -> None:
    row = pending(session, conversation)
    figures = {
        "model": "m",
        "finish_reason": "stop",
        "prompt_tokens": 7,
        "completion_tokens": 9,
        "cached_tokens": 3,
        "drafted_tokens": 8,
        "accepted_tokens": 5,
        "queued_s": 0.1,
        "prefill_s": 0.2,
        "decode_s": 0.3,
    }
    messages.finish(session, "ann", row.id, end(**figures))
    session.commit()
    session.refresh(row)
    assert {name: getattr(row, name) for name in figures} == figures


def test_failed_reply_keeps_error_and_text(session: Session, conversation: ConversationRow) -> None:
    row = pending(session, conversation)
    error = {"error_code": "engine_died", "error_message": "It died", "error_hint": "Again"}
    messages.finish(session, "ann", row.id, end(MessageStatus.ERROR, **error))
    assert {name: getattr(row, name) for name in error} == error
    assert row.text == "all"


def test_reply_of_another_is_not_finished(session: Session, conversation: ConversationRow) -> None:
    row = pending(session, conversation)
    with pytest.raises(NotFound):
        messages.finish(session, "bob", row.id, end())
    assert row.status is MessageStatus.PENDING


def test_reply_in_a_deleted_conversation_is_finished_without_touching_that(
    session: Session, conversation: ConversationRow
) -> None:
    row = pending(session, conversation)
    conversations.delete(session, "ann", conversation.id)
    version = conversation.version
    messages.finish(session, "ann", row.id, end())
    assert (row.status, conversation.version) == (MessageStatus.COMPLETE, version)


def test_reopened_reply_is_pending_with_its_text_and_shown(
    session: Session, conversation: ConversationRow
) -> None:
    row = pending(session, conversation)
    messages.finish(session, "ann", row.id, end(MessageStatus.ERROR, error_code="x"))
    add(session, conversation)
    messages.reopen(session, "ann", conversation.id, row.id)
    assert (row.status, row.text, row.error_code) == (MessageStatus.PENDING, "all", None)
    assert conversation.active_leaf_id == row.id


def test_unfinished_replies_become_interrupted_with_their_text(
    session: Session, conversation: ConversationRow
) -> None:
    waiting, streaming, done = (pending(session, conversation) for _ in range(3))
    messages.finish(session, "ann", done.id, end())
    session.commit()
    unattended.save_progress(session, [progress(streaming, "half")])
    unattended.mark_interrupted(session)
    for row in (waiting, streaming, done):
        session.refresh(row)
    statuses = [row.status.value for row in (waiting, streaming, done)]
    assert statuses == ["interrupted", "interrupted", "complete"]
    assert streaming.text == "half"


def test_unfinished_replies_are_found_without_reading_all_messages(session: Session) -> None:
    statement = "UPDATE messages SET status = 'x' WHERE status IN ('pending', 'streaming')"
    plan = session.execute(text(f"EXPLAIN QUERY PLAN {statement}")).all()
    assert "ix_messages_unfinished" in str(plan)


@pytest.mark.parametrize("words", ["", "🧑‍🍳 crème", "a\0b", "\u202e", "x" * 2_000_000])
def test_text_comes_back_as_it_was(
    session: Session, conversation: ConversationRow, words: str
) -> None:
    row = add(session, conversation, text=words)
    session.commit()
    session.refresh(row)
    assert row.text == words


def test_text_is_not_in_the_words_for_logs(session: Session, conversation: ConversationRow) -> None:
    assert "secret" not in repr(add(session, conversation, text="secret"))
