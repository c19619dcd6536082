"""Groups and limits as administrators see to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec.structs import astuple

from tests.unit.accounts.conftest import GOOD, HERE
from webui.accounts.groups import GroupChange, Groups
from webui.accounts.limits import Limits
from webui.actor import Actor, Permission, UserRole
from webui.errors import Conflict, InvalidRequest, NotFound, PermissionDenied

if TYPE_CHECKING:
    from tests.unit.accounts.conftest import House

BOB = Actor("bob", "Bob", frozenset({Permission.CHAT}), UserRole.USER)


class People:
    """An administrator, somebody else, and the use cases."""

    def __init__(self, house: House, admin: Actor, bob_id: str) -> None:
        self.house, self.admin, self.bob_id = house, admin, bob_id
        self.groups = Groups(house.database, house.accounts)

    async def effective(self) -> dict[str, int | None]:
        return (await self.groups.limits_of(self.admin, self.bob_id)).effective


@pytest.fixture
async def people(house: House) -> People:
    admin = (await house.identity(await house.claim())).actor
    bob, _ = await house.users.add(admin, "Bob", HERE, role=UserRole.USER, password=GOOD)
    return People(house, admin, bob.id)


async def test_limits_of_person_group_and_everybody_come_together(people: People) -> None:
    groups, admin = people.groups, people.admin
    await groups.set_default_limits(admin, Limits(tokens_per_day=100, storage_bytes=9), HERE)
    assert (await people.effective())["tokens_per_day"] == 100
    wanted = GroupChange(name="Kids", limits=Limits(tokens_per_day=5), member_ids=[people.bob_id])
    made = await groups.add(admin, wanted, HERE)
    assert (await people.effective())["tokens_per_day"] == 5
    set_now = await groups.set_limits_of(admin, people.bob_id, Limits(tokens_per_day=None), HERE)
    assert set_now.limits == {"tokens_per_day": None}
    assert set_now.effective["tokens_per_day"] is None
    assert set_now.inherited["tokens_per_day"] == 5
    assert set_now.effective["storage_bytes"] == 9
    await groups.set_limits_of(admin, people.bob_id, Limits(), HERE)
    await groups.change(admin, made.id, GroupChange(limits=Limits(tokens_per_day=7)), HERE)
    assert (await people.effective())["tokens_per_day"] == 7
    await groups.change(admin, made.id, GroupChange(member_ids=[]), HERE)
    assert (await people.effective())["tokens_per_day"] == 100
    await groups.delete(admin, made.id, HERE)
    assert await groups.list(admin) == []


async def test_list_says_from_where_each_limit_comes(people: People) -> None:
    groups, admin = people.groups, people.admin
    await groups.set_default_limits(admin, Limits(storage_bytes=9), HERE)
    for name, limits in (
        ("Few", Limits(tokens_per_day=5, context_tokens=8)),
        ("Many", Limits(tokens_per_day=50, context_tokens=None)),
    ):
        wanted = GroupChange(name=name, limits=limits, member_ids=[people.bob_id])
        await groups.add(admin, wanted, HERE)
    await groups.set_limits_of(admin, people.bob_id, Limits(requests_at_once=1), HERE)
    ann, bob = await groups.list_limits(admin)
    assert (ann.user_id, bob.user_id) == (admin.user_id, people.bob_id)
    assert {source.kind for source in ann.sources.values()} == {"default"}
    assert bob == await groups.limits_of(admin, people.bob_id)
    assert {name: (bob.effective[name], *astuple(one)) for name, one in bob.sources.items()} == {
        "tokens_per_day": (50, "group", "Many"),
        "messages_per_minute": (None, "default", None),
        "requests_at_once": (1, "own", None),
        "context_tokens": (None, "group", "Many"),
        "storage_bytes": (9, "default", None),
    }


async def test_group_has_a_name_of_its_own(people: People) -> None:
    made = await people.groups.add(people.admin, GroupChange(name=" Kids "), HERE)
    assert made.name == "Kids"
    with pytest.raises(Conflict, match="kids"):
        await people.groups.add(people.admin, GroupChange(name="kids"), HERE)
    with pytest.raises(InvalidRequest):
        await people.groups.add(people.admin, GroupChange(), HERE)
    renamed = await people.groups.change(people.admin, made.id, GroupChange(name="KIDS"), HERE)
    assert renamed.name == "KIDS"


async def test_nobody_is_no_member_and_has_no_limits(people: People) -> None:
    with pytest.raises(NotFound):
        await people.groups.add(people.admin, GroupChange(name="x", member_ids=["no"]), HERE)
    assert await people.groups.list(people.admin) == []
    with pytest.raises(NotFound):
        await people.groups.change(people.admin, "no", GroupChange(), HERE)
    with pytest.raises(NotFound):
        await people.groups.delete(people.admin, "no", HERE)
    with pytest.raises(NotFound):
        await people.groups.limits_of(people.admin, "no")
    with pytest.raises(NotFound):
        await people.groups.set_limits_of(people.admin, "no", Limits(), HERE)


async def test_others_may_do_nothing_of_it(people: People) -> None:
    groups = people.groups
    calls = [
        groups.list(BOB),
        groups.add(BOB, GroupChange(name="x"), HERE),
        groups.change(BOB, "x", GroupChange(), HERE),
        groups.delete(BOB, "x", HERE),
        groups.limits_of(BOB, people.bob_id),
        groups.set_limits_of(BOB, people.bob_id, Limits(), HERE),
        groups.default_limits(BOB),
        groups.set_default_limits(BOB, Limits(), HERE),
    ]
    for call in calls:
        with pytest.raises(PermissionDenied):
            await call


async def test_what_was_done_is_written_down(people: People) -> None:
    groups, admin = people.groups, people.admin
    made = await groups.add(admin, GroupChange(name="Kids", limits=Limits(tokens_per_day=5)), HERE)
    await groups.change(admin, made.id, GroupChange(member_ids=[people.bob_id]), HERE)
    await groups.delete(admin, made.id, HERE)
    await groups.set_limits_of(admin, people.bob_id, Limits(tokens_per_day=None), HERE)
    await groups.set_default_limits(admin, Limits(), HERE)
    told = await people.house.users.list_audit(admin, limit=5)
    assert [(entry.action, entry.about) for entry in told] == [
        ("set_limits", "everybody: no limits of its own"),
        ("set_limits", "Bob: tokens_per_day none"),
        ("delete_group", "Kids"),
        ("change_group", "Kids: with Bob"),
        ("add_group", "Kids; may nothing more; tokens_per_day 5"),
    ]
