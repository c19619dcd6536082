"""Groups, their members, and which limits are found for somebody."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from webui.errors import NotFound
from webui.storage import groups, users
from webui.storage.groups import FoundLimits, Grants
from webui.storage.tables import GroupRow

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


def add(session: Session, name: str, *members: str, **limits: int | None) -> GroupRow:
    row = groups.add(session, GroupRow(name=name, name_key=name.lower(), limits=limits))
    groups.set_members(session, row.id, members)
    return row


def test_limits_are_those_of_the_person_the_groups_and_everybody(session: Session) -> None:
    assert groups.find_limits(session, "ann") == FoundLimits({}, {}, {})
    add(session, "Adults", "ann", "bob", tokens_per_day=None)
    add(session, "Children", "bob", tokens_per_day=5)
    groups.set_default_limits(session, {"storage_bytes": 1})
    groups.set_default_limits(session, {"storage_bytes": 2})
    users.get(session, "ann").limits = {"context_tokens": 7}
    session.flush()
    session.expire_all()
    found = groups.find_limits(session, "ann")
    assert found == FoundLimits(
        {"context_tokens": 7}, {"Adults": {"tokens_per_day": None}}, {"storage_bytes": 2}
    )
    of_bob = groups.find_limits(session, "bob").of_groups
    assert of_bob == {"Adults": {"tokens_per_day": None}, "Children": {"tokens_per_day": 5}}
    everybody = groups.find_all_limits(session)
    assert (everybody["ann"], everybody["bob"].of_groups) == (found, of_bob)
    assert everybody.keys() == {row.id for row in users.list_all(session)}
    assert groups.find_limits(session, "eve").own == {}


def test_grants_are_those_of_groups_and_what_users_may(session: Session) -> None:
    assert groups.find_grants(session) == Grants(None, {})
    add(session, "Adults", "ann", "bob").permissions = ["download_models"]
    add(session, "Children", "bob").permissions = []
    add(session, "Nobody", "bob")
    groups.set_user_permissions(session, ["chat"])
    found = groups.find_grants(session)
    assert found.of_users == ["chat"]
    assert found.of_groups["ann"] == [["download_models"]]
    assert sorted(found.of_groups["bob"]) == [[], ["download_models"]]
    assert groups.find_grants(session, "ann") == Grants(["chat"], {"ann": [["download_models"]]})
    groups.set_user_permissions(session, None)
    assert groups.find_grants(session, "eve") == Grants(None, {})
    assert groups.default_limits(session) == {}


def test_some_come_and_go_while_others_stay(session: Session) -> None:
    row = add(session, "Adults", "ann")
    groups.change_members(session, row.id, ["bob", "ann"], [])
    assert set(groups.member_ids(session, row.id)) == {"ann", "bob"}
    groups.change_members(session, row.id, [], ["ann", "nobody"])
    assert groups.member_ids(session, row.id) == ["bob"]
    with pytest.raises(NotFound):
        groups.change_members(session, row.id, ["nobody"], [])


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
