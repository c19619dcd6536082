"""Conversations: owners apart, the latest word first, pages without gaps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import event

from webui.errors import InvalidRequest, NotFound
from webui.messages import Role
from webui.storage import conversations, messages

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from webui.storage.tables import ConversationRow


def spoken(session: Session, owner: str = "ann", title: str = "") -> ConversationRow:
    row = conversations.create(session, owner, title=title)
    messages.add(session, owner, row.id, parent_id=None, role=Role.USER, text="hello")
    return row


def listed(session: Session, owner: str = "ann") -> list[str]:
    return [row.id for row in conversations.list_page(session, owner, limit=100).conversations]


def test_created_conversation_is_found_by_its_owner(session: Session) -> None:
    row = conversations.create(session, "ann", title="Bread")
    assert conversations.get(session, "ann", row.id) is row
    assert (row.title, row.version, row.active_leaf_id) == ("Bread", 1, None)
    assert len(row.id) == 22


@pytest.mark.parametrize("act", ["get", "rename", "set_active_leaf", "touch", "delete", "restore"])
def test_conversation_of_another_is_not_found(session: Session, act: str) -> None:
    row = spoken(session, "ann")
    extra = {"rename": ["Mine"], "set_active_leaf": [None]}.get(act, [])
    with pytest.raises(NotFound):
        getattr(conversations, act)(session, "bob", row.id, *extra)
    with pytest.raises(NotFound):
        getattr(conversations, act)(session, "ann", "no such id", *extra)


def test_list_shows_only_what_is_owned_spoken_in_and_not_deleted(session: Session) -> None:
    mine = spoken(session)
    spoken(session, "bob")
    conversations.create(session, "ann")
    gone = spoken(session)
    conversations.delete(session, "ann", gone.id)
    assert listed(session) == [mine.id]


def test_list_puts_the_latest_word_first(session: Session) -> None:
    first, second, third = (spoken(session) for _ in range(3))
    messages.add(session, "ann", first.id, parent_id=None, role=Role.USER)
    assert listed(session) == [first.id, third.id, second.id]


def test_list_order_survives_a_clock_that_goes_back(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = spoken(session)
    past = datetime.now(UTC) - timedelta(days=365)
    monkeypatch.setattr(conversations, "utc_now", lambda: past)
    new = spoken(session)
    assert new.updated_at < old.updated_at
    assert listed(session) == [new.id, old.id]


def test_pages_hold_every_conversation_once(session: Session) -> None:
    rows = [spoken(session) for _ in range(7)]
    seen, before, sizes = [], None, []
    while True:
        page = conversations.list_page(session, "ann", limit=3, before=before)
        sizes.append(len(page.conversations))
        seen += [row.id for row in page.conversations]
        before = page.next
        if before is None:
            break
    assert sizes == [3, 3, 1]
    assert seen == [row.id for row in reversed(rows)]


def test_page_that_is_just_full_is_the_last(session: Session) -> None:
    for _ in range(3):
        spoken(session)
    assert conversations.list_page(session, "ann", limit=3).next is None


@pytest.mark.parametrize("before", ["", "x", "-1", "1.5", "٣", "9" * 5000, "1 or 1"])
def test_cursor_that_is_none_is_refused(session: Session, before: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        conversations.list_page(session, "ann", limit=3, before=before)
    assert caught.value.field == "before"


def test_cursor_beyond_all_integers_of_sqlite_is_taken(session: Session) -> None:
    row = spoken(session)
    page = conversations.list_page(session, "ann", limit=3, before="9" * 19)
    assert [found.id for found in page.conversations] == [row.id]


def test_rename_raises_version_and_keeps_the_place(session: Session) -> None:
    first, second = spoken(session), spoken(session)
    version = first.version
    row = conversations.rename(session, "ann", first.id, "Soup")
    assert (row.title, row.title_is_automatic, row.version) == ("Soup", False, version + 1)
    assert listed(session) == [second.id, first.id]


def test_active_leaf_must_be_of_the_conversation(session: Session) -> None:
    row, other = spoken(session), spoken(session)
    version = row.version
    leaf = other.active_leaf_id
    assert leaf is not None
    with pytest.raises(NotFound):
        conversations.set_active_leaf(session, "ann", row.id, leaf)
    own = messages.list_of(session, "ann", row.id)[0].id
    changed = conversations.set_active_leaf(session, "ann", row.id, own)
    assert (changed.active_leaf_id, changed.version) == (own, version + 1)


def test_deleted_conversation_comes_back_to_its_place(session: Session) -> None:
    first, second = spoken(session), spoken(session)
    conversations.delete(session, "ann", first.id)
    with pytest.raises(NotFound):
        conversations.get(session, "ann", first.id)
    with pytest.raises(NotFound):
        conversations.delete(session, "ann", first.id)
    version = first.version
    assert conversations.restore(session, "ann", first.id).version == version + 1
    assert conversations.restore(session, "ann", first.id).version == version + 1
    assert listed(session) == [second.id, first.id]


def test_list_reads_the_index_and_sorts_nothing(session: Session) -> None:
    seen: list[tuple[str, object]] = []
    engine = session.get_bind()
    event.listen(engine, "before_cursor_execute", lambda *args: seen.append((args[2], args[3])))
    conversations.list_page(session, "ann", limit=50, before="7")
    conversations.touch(session, "ann", conversations.create(session, "ann").id)
    selects = [(sql, given) for sql, given in seen if sql.startswith("SELECT")]
    assert len(selects) >= 2
    for sql, given in selects:
        plan = session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", given).all()
        assert "SEARCH conversations USING" in str(plan)
        assert "TEMP B-TREE" not in str(plan)
