"""Generations: one at a time in a conversation, owners apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from webui.errors import Conflict, NotFound
from webui.messages import Role
from webui.storage import conversations, generations, messages, unattended
from webui.storage.tables import GenerationRow, GenerationStatus

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


def begin(session: Session, owner: str, conversation_id: str | None = None) -> GenerationRow:
    if conversation_id is None:
        conversation_id = conversations.create(session, owner).id
    reply = messages.add(session, owner, conversation_id, parent_id=None, role=Role.ASSISTANT)
    return generations.add(
        session,
        owner,
        conversation_id=conversation_id,
        message_id=reply.id,
        params={"temperature": 0.5, "stop": ["\n"]},
    )


def test_second_run_in_a_conversation_is_a_conflict(session: Session) -> None:
    first = begin(session, "ann")
    with pytest.raises(Conflict):
        begin(session, "ann", first.conversation_id)
    generations.finish(session, "ann", first.id, GenerationStatus.DONE)
    assert begin(session, "ann", first.conversation_id).status is GenerationStatus.RUNNING


def test_live_ones_are_those_of_the_owner_that_run(session: Session) -> None:
    first, second, ended = (begin(session, "ann") for _ in range(3))
    begin(session, "bob")
    generations.finish(session, "ann", ended.id, GenerationStatus.STOPPED)
    assert [row.id for row in generations.list_live(session, "ann")] == [first.id, second.id]


def test_end_is_kept_with_model_and_time(session: Session) -> None:
    row = begin(session, "ann")
    generations.finish(session, "ann", row.id, GenerationStatus.FAILED, model="m")
    session.commit()
    session.refresh(row)
    assert (row.status, row.model) == (GenerationStatus.FAILED, "m")
    assert row.finished_at is not None
    assert row.finished_at >= row.created_at
    assert row.params == {"temperature": 0.5, "stop": ["\n"]}


def test_generation_of_another_is_not_found(session: Session) -> None:
    row = begin(session, "ann")
    with pytest.raises(NotFound):
        generations.finish(session, "bob", row.id, GenerationStatus.DONE)
    with pytest.raises(NotFound):
        generations.finish(session, "ann", "no such id", GenerationStatus.DONE)


def test_running_ones_become_interrupted(session: Session) -> None:
    running, done = begin(session, "ann"), begin(session, "ann")
    generations.finish(session, "ann", done.id, GenerationStatus.DONE)
    unattended.mark_interrupted(session)
    session.commit()
    session.refresh(running)
    session.refresh(done)
    assert (running.status, done.status) == ("interrupted", "done")
    assert running.finished_at is not None
