"""What groups and defaults allow, and that it holds at once for who is signed in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.accounts.conftest import GOOD, HERE
from webui.accounts.defaults import Defaults
from webui.accounts.groups import GroupChange, Groups
from webui.accounts.users import UserChange
from webui.actor import Permission, UserRole
from webui.errors import InvalidRequest, PermissionDenied

if TYPE_CHECKING:
    from tests.unit.accounts.conftest import House
    from webui.accounts.identity import Identity
    from webui.actor import Actor

CHAT, LOAD, KEYS = Permission.CHAT, Permission.LOAD_MODELS, Permission.API_KEYS
DOWNLOAD = Permission.DOWNLOAD_MODELS
USUAL = {CHAT, LOAD, KEYS, Permission.SHARING}


class People:
    """An administrator, Bob, who is signed in, and the use cases."""

    def __init__(self, house: House, admin: Actor, bob: Identity) -> None:
        self.house, self.admin, self.bob = house, admin, bob
        self.bob_id = bob.actor.user_id
        self.groups = Groups(house.database, house.accounts)
        self.defaults = Defaults(house.database, house.accounts)

    async def group(self, name: str, *permissions: str) -> str:
        """Make a group in which Bob is; returns its id."""
        wanted = GroupChange(name=name, permissions=permissions, member_ids=[self.bob_id])
        return (await self.groups.add(self.admin, wanted, HERE)).id

    async def change(self, group_id: str, **wanted) -> None:
        await self.groups.change(self.admin, group_id, GroupChange(**wanted), HERE)

    async def change_bob(self, **wanted) -> None:
        await self.house.users.change(self.admin, self.bob_id, UserChange(**wanted), HERE)

    async def seen(self) -> list[str]:
        """Return what the list of people says that Bob may."""
        listed = await self.house.users.list(self.admin)
        return next(one.permissions for one in listed if one.id == self.bob_id)


@pytest.fixture
async def people(house: House) -> People:
    admin = (await house.identity(await house.claim())).actor
    await house.users.add(admin, "Bob", HERE, role=UserRole.USER, password=GOOD)
    token = (await house.accounts.sign_in("Bob", GOOD, HERE)).token
    return People(house, admin, await house.identity(token))


async def test_group_adds_to_what_its_members_may_until_they_leave(people: People) -> None:
    group_id = await people.group("Helpful", "download_models")
    assert people.bob.actor.permissions == USUAL | {DOWNLOAD}
    assert await people.seen() == sorted(USUAL | {DOWNLOAD})
    await people.change(group_id, permissions=[])
    assert people.bob.actor.permissions == USUAL
    await people.change(group_id, permissions=["download_models", "chat"])
    assert people.bob.actor.permissions == USUAL | {DOWNLOAD}
    await people.change(group_id, leaving_ids=[people.bob_id])
    assert people.bob.actor.permissions == USUAL
    await people.change(group_id, joining_ids=[people.bob_id])
    assert people.bob.actor.permissions == USUAL | {DOWNLOAD}
    await people.change(group_id, name="Renamed")
    assert people.bob.actor.permissions == USUAL | {DOWNLOAD}
    await people.groups.delete(people.admin, group_id, HERE)
    assert people.bob.actor.permissions == USUAL
    assert not people.bob.ended.is_set()


async def test_who_is_changed_hears_of_it_when_it_holds(people: People) -> None:
    heard: list[tuple[str, frozenset[Permission]]] = []
    people.house.accounts.on_change = lambda user_id: heard.append(
        (user_id, people.bob.actor.permissions)
    )
    await people.change_bob(permissions=["chat"])
    assert heard.pop() == (people.bob_id, {CHAT})
    await people.change_bob(resets_permissions=True)
    assert heard.pop() == (people.bob_id, USUAL)
    group_id = await people.group("Helpful", "download_models")
    assert heard.pop() == (people.bob_id, USUAL | {DOWNLOAD})
    await people.change(group_id, leaving_ids=[people.bob_id])
    assert heard.pop() == (people.bob_id, USUAL)
    await people.groups.delete(people.admin, group_id, HERE)
    assert heard == []
    await people.defaults.set(people.admin, UserRole.USER, ["chat"], HERE)
    assert {user_id for user_id, _ in heard} == {people.bob_id, people.admin.user_id}
    assert heard[-1][1] == {CHAT}


async def test_groups_come_together_and_guests_gain_too(people: People) -> None:
    await people.group("One", "download_models")
    await people.group("Two", "api_keys", "download_models")
    await people.change_bob(role=UserRole.GUEST)
    assert people.bob.actor.permissions == {CHAT, KEYS, DOWNLOAD}


async def test_own_setting_wins_over_groups_until_it_is_reset(people: People) -> None:
    await people.change_bob(permissions=["chat"])
    await people.group("Helpful", "download_models")
    assert people.bob.actor.permissions == {CHAT}
    await people.change_bob(resets_permissions=True)
    assert people.bob.actor.permissions == USUAL | {DOWNLOAD}


async def test_sign_in_after_a_restart_has_what_the_group_adds(people: People) -> None:
    await people.group("Helpful", "download_models")
    token = (await people.house.accounts.sign_in("Bob", GOOD, HERE)).token
    people.house.begin()
    await people.house.accounts.open()
    again = await people.house.identity(token)
    assert again.actor.permissions == USUAL | {DOWNLOAD}


async def test_keys_follow_what_their_owner_may(people: People) -> None:
    await people.change_bob(role=UserRole.GUEST)
    group_id = await people.group("Programs", "api_keys", "download_models")
    made = await people.house.api_keys.make(people.bob.actor, "x", HERE)
    keys = people.house.accounts.keys
    identity = await keys.identify(made.key, HERE)
    assert identity.actor.permissions == {CHAT, DOWNLOAD}
    await people.change(group_id, permissions=["api_keys"])
    assert identity.actor.permissions == {CHAT}
    await people.change(group_id, permissions=["load_models"])
    assert identity.ended.is_set()
    with pytest.raises(PermissionDenied, match="api_keys"):
        await keys.identify(made.key, HERE)


async def test_administrators_may_all_in_whatever_group(people: People) -> None:
    wanted = GroupChange(name="Few", permissions=[], member_ids=[people.admin.user_id])
    await people.groups.add(people.admin, wanted, HERE)
    assert (await people.house.accounts.get(people.admin)).permissions == sorted(Permission)


@pytest.mark.parametrize("wrong", ["administer", "fly"])
async def test_what_cannot_be_given_is_refused_and_nothing_is_changed(
    people: People, wrong: str
) -> None:
    group_id = await people.group("Helpful", "download_models")
    for call in (
        people.groups.add(people.admin, GroupChange(name="x", permissions=[wrong]), HERE),
        people.groups.change(people.admin, group_id, GroupChange(permissions=[wrong]), HERE),
        people.defaults.set(people.admin, UserRole.GUEST, [wrong], HERE),
    ):
        with pytest.raises(InvalidRequest, match=wrong) as refusal:
            await call
        assert refusal.value.field == "permissions"
    assert people.bob.actor.permissions == USUAL | {DOWNLOAD}
    assert len(await people.groups.list(people.admin)) == 1
    assert (await people.defaults.get(people.admin)).role == "user"


async def test_defaults_are_what_users_may_who_have_nothing_of_their_own(people: People) -> None:
    found = await people.defaults.get(people.admin)
    assert (found.role, found.permissions, found.is_changed) == ("user", sorted(USUAL), False)
    await people.defaults.set(people.admin, UserRole.USER, ["chat"], HERE)
    assert people.bob.actor.permissions == {CHAT}
    await people.group("Helpful", "download_models")
    assert people.bob.actor.permissions == {CHAT, DOWNLOAD}
    await people.change_bob(permissions=["load_models"])
    assert people.bob.actor.permissions == {LOAD}
    await people.change_bob(resets_permissions=True)
    await people.defaults.set(people.admin, UserRole.USER, None, HERE)
    assert people.bob.actor.permissions == USUAL | {DOWNLOAD}


async def test_new_people_are_what_the_default_says(people: People) -> None:
    await people.defaults.set(people.admin, UserRole.GUEST, None, HERE)
    add = people.house.users.add
    view, _ = await add(people.admin, "Cid", HERE, role=None, password=GOOD)
    assert view.role == "guest"
    view, _ = await add(people.admin, "Dee", HERE, role=UserRole.USER, password=GOOD)
    assert view.role == "user"
    with pytest.raises(InvalidRequest) as refusal:
        await people.defaults.set(people.admin, UserRole.ADMINISTRATOR, None, HERE)
    assert refusal.value.field == "role"


async def test_defaults_outlive_the_first_administrator(people: People) -> None:
    await people.defaults.set(people.admin, UserRole.GUEST, ["chat"], HERE)
    await people.change_bob(role=UserRole.ADMINISTRATOR)
    await people.house.users.delete(people.bob.actor, people.admin.user_id, HERE)
    found = await people.defaults.get(people.bob.actor)
    assert (found.role, found.permissions) == ("guest", ["chat"])


async def test_nobody_but_administrators_sees_or_sets_defaults(people: People) -> None:
    bob = people.bob.actor
    for call in (
        people.defaults.get(bob),
        people.defaults.set(bob, UserRole.USER, None, HERE),
        people.groups.list_limits(bob),
    ):
        with pytest.raises(PermissionDenied):
            await call


async def test_changes_of_permissions_are_written_down(people: People) -> None:
    group_id = await people.group("Helpful", "download_models")
    await people.change(group_id, permissions=[], leaving_ids=[people.bob_id])
    await people.defaults.set(people.admin, UserRole.GUEST, [], HERE)
    told = await people.house.users.list_audit(people.admin, limit=3)
    assert [(entry.action, entry.about) for entry in told] == [
        ("set_defaults", "new people: guest; users may nothing"),
        ("change_group", "Helpful: may nothing more; without Bob"),
        ("add_group", "Helpful; may download_models; no limits of its own"),
    ]
