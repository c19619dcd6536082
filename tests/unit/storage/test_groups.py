"""Groups, their members, and which limits are found for somebody."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from webui.errors import NotFound
from webui.storage import groups, users
from webui.storage.groups import FoundLimits
from webui.storage.tables import GroupRow

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


def add(session: Session, name: str, *members: str, **limits: int | None) -> GroupRow:
    row = groups.add(session, GroupRow(name=name, name_key=name.lower(), limits=limits))
    groups.set_members(session, row.id, members)
    return row


def test_limits_are_those_of_the_person_the_groups_and_everybody(session: Session) -> None:
    assert groups.find_limits(session, "ann") == FoundLimits({}, [], {})
    add(session, "Adults", "ann", "bob", tokens_per_day=None)
    add(session, "Children", "bob", tokens_per_day=5)
    groups.set_default_limits(session, {"storage_bytes": 1})
    groups.set_default_limits(session, {"storage_bytes": 2})
    users.get(session, "ann").limits = {"context_tokens": 7}
    session.flush()
    session.expire_all()
    found = groups.find_limits(session, "ann")
    assert found == FoundLimits(
        {"context_tokens": 7}, [{"tokens_per_day": None}], {"storage_bytes": 2}
    )
    of_bob = groups.find_limits(session, "bob").of_groups
    assert {one["tokens_per_day"] for one in of_bob} == {None, 5}
    assert groups.find_limits(session, "eve").own == {}


def test_default_is_no_group_that_is_listed_or_found(session: Session) -> None:
    groups.set_default_limits(session, {})
    session.flush()
    row = groups.find_by_key(session, groups.EVERYBODY_KEY)
    assert row is not None
    assert groups.list_all(session) == []
    with pytest.raises(NotFound):
        groups.get(session, row.id)


def test_members_are_replaced_and_go_with_group_and_person(session: Session) -> None:
    row = add(session, "All", "ann", "bob", "ann")
    assert set(groups.member_ids(session, row.id)) == {"ann", "bob"}
    groups.set_members(session, row.id, ["bob"])
    assert groups.member_ids(session, row.id) == ["bob"]
    with pytest.raises(NotFound):
        groups.set_members(session, row.id, ["eve"])
    users.delete(session, users.get(session, "bob"))
    session.flush()
    assert groups.member_ids(session, row.id) == []
    groups.delete(session, row)
    assert groups.list_all(session) == []
