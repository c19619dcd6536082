"""Shares of an owner, and who finds them: nobody whom they were not made for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from webui.actor import UserRole
from webui.errors import NotFound
from webui.messages import Role
from webui.storage import conversations, groups, messages, received, shares, unattended, users
from webui.storage.sharing_tables import Audience, ShareRow
from webui.storage.tables import GroupRow, MessageRow, UserRow

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

NOW = datetime(2026, 11, 27, tzinfo=UTC)
LATER = NOW + timedelta(days=1)


@pytest.fixture
def people(session: Session) -> Session:
    """Ann, Bob, Cid and a guest, all of whom can sign in."""
    for name, role in (("Cid", UserRole.USER), ("Gus", UserRole.GUEST)):
        session.add(UserRow(id=name.lower(), name=name, role=role))
    session.flush()
    for row in users.list_all(session):
        row.name_key = row.id
    return session


def share(session: Session, audience: Audience, **more: Any) -> ShareRow:
    conversation_id = more.pop("conversation_id", None)
    if conversation_id is None:
        conversation_id = conversations.create(session, "ann", title="T").id
    row = ShareRow(owner_id="ann", conversation_id=conversation_id, audience=audience, **more)
    shares.add(session, row)
    return row


def found(session: Session, reader_id: str, now: datetime = NOW) -> list[str]:
    ids = [one.share.id for one in received.list_newest(session, reader_id, now)]
    assert all(received.get(session, reader_id, one, now).share.id == one for one in ids)
    return ids


def test_each_finds_what_is_for_them_alone(people: Session) -> None:
    group = groups.add(people, GroupRow(name="G", name_key="g"))
    groups.set_members(people, group.id, ["ann", "cid", "gus"])
    of_bob = share(people, Audience.PERSON, user_id="bob")
    of_group = share(people, Audience.GROUP, group_id=group.id)
    of_all = share(people, Audience.EVERYBODY)
    assert set(found(people, "bob")) == {of_bob.id, of_all.id}
    assert set(found(people, "cid")) == {of_group.id, of_all.id}
    for nobody in ("ann", "gus", "eve"):
        assert found(people, nobody) == []
    with pytest.raises(NotFound):
        received.get(people, "cid", of_bob.id, NOW)
    groups.set_members(people, group.id, ["ann"])
    assert found(people, "cid") == [of_all.id]


def test_share_with_a_group_rests_while_its_owner_is_no_member(people: Session) -> None:
    group = groups.add(people, GroupRow(name="G", name_key="g"))
    groups.set_members(people, group.id, ["ann", "bob"])
    row = share(people, Audience.GROUP, group_id=group.id)
    assert found(people, "bob") == [row.id]
    assert shares.readers_of(people, row) == ["bob"]
    groups.set_members(people, group.id, ["bob"])
    assert found(people, "bob") == []
    assert shares.readers_of(people, row) == []
    groups.set_members(people, group.id, ["ann", "bob"])
    assert found(people, "bob") == [row.id]


def test_row_that_names_nobody_is_for_nobody(people: Session) -> None:
    for audience in (Audience.PERSON, Audience.GROUP):
        share(people, audience)
    assert found(people, "bob") == []


def test_end_of_time_conversation_and_account_ends_it(people: Session) -> None:
    row = share(people, Audience.PERSON, user_id="bob", expires_at=LATER)
    assert found(people, "bob", LATER - timedelta(seconds=1)) == [row.id]
    assert found(people, "bob", LATER) == []
    for name in ("ann", "bob"):
        who = users.get(people, name)
        who.disabled_at = NOW
        assert found(people, "bob") == []
        who.disabled_at, who.role = None, UserRole.GUEST
        assert found(people, "bob") == []
        who.role = UserRole.USER
    assert found(people, "bob") == [row.id]
    conversations.delete(people, "ann", row.conversation_id)
    assert found(people, "bob") == []
    conversations.restore(people, "ann", row.conversation_id)
    people.delete(row)
    people.flush()
    assert found(people, "bob") == []


@pytest.mark.parametrize("gone", ["ann", "bob"])
def test_share_goes_with_owner_and_reader(people: Session, gone: str) -> None:
    share(people, Audience.PERSON, user_id="bob")
    users.delete(people, users.get(people, gone))
    people.flush()
    assert shares.list_newest(people, "ann") == []


def test_share_with_a_group_goes_with_it_and_becomes_no_others(people: Session) -> None:
    group = groups.add(people, GroupRow(name="G", name_key="g"))
    groups.set_members(people, group.id, ["bob"])
    share(people, Audience.GROUP, group_id=group.id)
    groups.delete(people, group)
    assert shares.list_newest(people, "ann") == []
    assert found(people, "bob") == []


def test_owner_alone_lists_counts_and_deletes(people: Session) -> None:
    row = share(people, Audience.PERSON, user_id="bob")
    assert shares.list_newest(people, "ann", row.conversation_id) == [row]
    assert shares.list_newest(people, "ann", "x") == shares.list_newest(people, "bob") == []
    assert (shares.count(people, "ann"), shares.count(people, "bob")) == (1, 0)
    with pytest.raises(NotFound):
        shares.delete(people, "bob", row.id)
    shares.delete(people, "ann", row.id)
    assert shares.count(people, "ann") == 0


def test_sharing_anew_with_the_same_takes_the_place_of_it(people: Session) -> None:
    first = share(people, Audience.PERSON, user_id="bob")
    first_id, conversation_id = first.id, first.conversation_id
    other = share(people, Audience.PERSON, user_id="cid", conversation_id=conversation_id)
    everybody = share(people, Audience.EVERYBODY, conversation_id=conversation_id)
    again = share(
        people, Audience.PERSON, user_id="bob", conversation_id=conversation_id, title="New"
    )
    assert again.id == first_id  # links go on
    rows = shares.list_newest(people, "ann")
    assert {row.id for row in rows} == {other.id, everybody.id, again.id}
    assert next(row for row in rows if row.id == first_id).title == "New"
    last = share(people, Audience.EVERYBODY, conversation_id=conversation_id)
    ids = {row.id for row in shares.list_newest(people, "ann")}
    assert ids == {other.id, again.id, last.id}


def test_readers_are_able_others(people: Session) -> None:
    group = groups.add(people, GroupRow(name="G", name_key="g"))
    groups.set_members(people, group.id, ["ann", "bob", "gus"])
    assert shares.reader_ids(people, "ann", Audience.GROUP, group.id) == ["bob"]
    assert set(shares.reader_ids(people, "ann", Audience.EVERYBODY, None)) == {"bob", "cid"}
    assert shares.reader_ids(people, "ann", Audience.PERSON, "gus") == []
    assert shares.reader_ids(people, "ann", Audience.PERSON, None) == []
    assert [one.id for one in shares.list_people(people, "ann")] == ["bob", "cid"]
    assert shares.list_groups(people, "cid") == []
    assert shares.list_groups(people, "ann") == [group]


def test_what_ran_out_is_cleared_away(people: Session) -> None:
    share(people, Audience.EVERYBODY, expires_at=NOW)
    left = share(people, Audience.EVERYBODY, expires_at=LATER)
    unattended.purge_shares(people, NOW)
    assert shares.list_newest(people, "ann") == [left]


def test_branch_is_added_in_order_and_shown(people: Session) -> None:
    row = conversations.create(people, "bob")
    rows = [
        MessageRow(conversation_id=row.id, role=Role.USER, text=str(n), status="complete")
        for n in range(40)
    ]
    messages.add_branch(people, "bob", row.id, rows)
    people.flush()
    people.expire_all()
    listed = messages.list_of(people, "bob", row.id)
    assert [one.text for one in listed] == [str(n) for n in range(40)]
    assert [one.parent_id for one in listed] == [None, *(one.id for one in listed[:-1])]
    assert (row.active_leaf_id, row.activity) == (listed[-1].id, 1)
    with pytest.raises(NotFound):
        messages.add_branch(people, "ann", row.id, rows)
