"""The trash of each person."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from webui.errors import NotFound
from webui.messages import Role
from webui.storage import conversations, messages, trash
from webui.storage.tables import MessageRow

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


def thrown_away(session: Session, owner_id: str, title: str) -> str:
    row = conversations.create(session, owner_id, title=title)
    messages.add(session, owner_id, row.id, parent_id=None, role=Role.USER, text=title)
    conversations.delete(session, owner_id, row.id)
    session.flush()
    return row.id


def titles(session: Session, owner_id: str) -> list[str]:
    return [row.title for row in trash.list_newest(session, owner_id, 100)[0]]


def test_newest_are_first_and_all_are_counted(session: Session) -> None:
    for title in ("one", "two", "three"):
        thrown_away(session, "ann", title)
    conversations.create(session, "ann", title="still there")
    thrown_away(session, "bob", "bob's")
    rows, total = trash.list_newest(session, "ann", 2)
    assert ([row.title for row in rows], total) == (["three", "two"], 3)


def test_what_is_ended_takes_its_messages_along_and_nothing_else(session: Session) -> None:
    ended = thrown_away(session, "ann", "ended")
    thrown_away(session, "ann", "stays")
    trash.delete(session, "ann", ended)
    session.expire_all()
    assert titles(session, "ann") == ["stays"]
    assert list(session.scalars(select(MessageRow.text))) == ["stays"]
    with pytest.raises(NotFound):
        conversations.restore(session, "ann", ended)


def test_only_what_is_in_ones_own_trash_is_ended(session: Session) -> None:
    of_bob = thrown_away(session, "bob", "bob's")
    there = conversations.create(session, "ann").id
    for name in (of_bob, there, "nothing"):
        with pytest.raises(NotFound, match="in the trash"):
            trash.delete(session, "ann", name)
    assert titles(session, "bob") == ["bob's"]
    assert conversations.find(session, "ann", there) is not None


def test_emptying_ends_all_of_ones_own(session: Session) -> None:
    for title in ("one", "two"):
        thrown_away(session, "ann", title)
    thrown_away(session, "bob", "bob's")
    there = conversations.create(session, "ann").id
    assert trash.empty(session, "ann") == 2
    assert trash.empty(session, "ann") == 0
    session.expire_all()
    assert (titles(session, "ann"), titles(session, "bob")) == ([], ["bob's"])
    assert conversations.find(session, "ann", there) is not None
