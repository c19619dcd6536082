"""What administrators do to accounts, and that nobody else does."""

from __future__ import annotations

import pytest

from tests.unit.accounts.conftest import GOOD, HERE, OTHER, House
from webui.accounts.users import UserChange
from webui.actor import (
    LOCAL_USER_ID,
    Permission,
    UserRole,
    command_line_actor,
    local_actor,
)
from webui.errors import Conflict, InvalidRequest, NotFound, PermissionDenied
from webui.storage import audit, conversations, settings


@pytest.fixture
async def admin(house: House):
    return (await house.identity(await house.claim())).actor


async def sign_in(house: House, name: str, password: str = OTHER):
    token = (await house.accounts.sign_in(name, password, HERE)).token
    return await house.identity(token)


async def add(house: House, admin, name: str = "Bob", role: UserRole = UserRole.USER) -> str:
    view, made_up = await house.users.add(admin, name, HERE, role=role, password=OTHER)
    assert made_up is None
    return view.id


async def test_account_with_a_made_up_password_must_change_it(house: House, admin) -> None:
    view, made_up = await house.users.add(admin, "Bob", HERE, role=UserRole.USER, password=None)
    assert view.must_change_password
    assert made_up is not None
    identity = await sign_in(house, "Bob", made_up)
    assert identity.must_change_password
    changed = await house.accounts.change_password(identity, made_up, GOOD, HERE)
    assert not (await house.identity(changed.token)).must_change_password


@pytest.mark.parametrize("name", ["Bob", "BOB", " bob "])
async def test_name_that_is_taken_is_refused_at_its_field(house: House, admin, name) -> None:
    await add(house, admin)
    with pytest.raises(Conflict) as refusal:
        await house.users.add(admin, name, HERE, role=UserRole.USER, password=OTHER)
    assert refusal.value.field == "name"


async def test_reset_ends_all_sign_ins(house: House, admin) -> None:
    user_id = await add(house, admin)
    identity = await sign_in(house, "Bob")
    made_up = await house.users.reset_password(admin, user_id, HERE)
    assert identity.ended.is_set()
    assert house.shut_out == [user_id]
    assert made_up is not None
    assert (await sign_in(house, "Bob", made_up)).must_change_password
    assert await house.users.reset_password(admin, user_id, HERE, password=GOOD) is None
    assert not (await sign_in(house, "Bob", GOOD)).must_change_password


async def test_demotion_holds_at_once_for_who_is_signed_in(house: House, admin) -> None:
    user_id = await add(house, admin, role=UserRole.ADMINISTRATOR)
    identity = await sign_in(house, "Bob")
    await house.users.list(identity.actor)
    await house.users.change(admin, user_id, UserChange(role=UserRole.USER), HERE)
    assert not identity.ended.is_set()
    with pytest.raises(PermissionDenied):
        await house.users.list(identity.actor)


@pytest.mark.parametrize("is_chat", [True, False])
async def test_nobody_loses_what_they_have_by_becoming_a_guest_unasked(
    house: House, admin, is_chat
) -> None:
    bob = await add(house, admin)
    if is_chat:
        await house.database.run(conversations.create, bob)
    else:
        await house.database.run(settings.put, bob, "parameters", {"top_k": 5})
    to_guest = UserChange(role=UserRole.GUEST)
    with pytest.raises(Conflict, match="Bob has chats or settings") as refusal:
        await house.users.change(admin, bob, to_guest, HERE)
    assert refusal.value.field == "role"
    await house.accounts.empty_left_guests()
    assert house.gone == []
    given = UserChange(role=UserRole.GUEST, empties=True)
    assert (await house.users.change(admin, bob, given, HERE)).role == "guest"
    (entry,) = await house.users.list_audit(admin, limit=1)
    assert entry.about == "Bob: guest, who loses chats and settings"
    await house.users.change(admin, bob, to_guest, HERE)  # no change, so nothing to ask
    await house.accounts.empty_left_guests()
    assert house.gone == [bob]


async def test_choices_of_the_server_outlive_a_first_administrator_who_becomes_a_guest(
    house: House, admin
) -> None:
    await add(house, admin, role=UserRole.ADMINISTRATOR)
    of_server = {
        "server/banner": "Down at noon",
        "model_options/a": {"n_ctx": 9},
        "last_model": "a",
    }
    for name, value in of_server.items():
        await house.database.run(settings.put, LOCAL_USER_ID, name, value)
    await house.users.change(admin, LOCAL_USER_ID, UserChange(role=UserRole.GUEST), HERE)
    await house.accounts.sign_out_everywhere(admin, HERE)
    assert house.gone == [], "what is the server's is nothing that a guest has"
    await house.database.run(settings.put, LOCAL_USER_ID, "parameters", {"top_k": 5})
    await house.accounts.empty_left_guests()
    assert house.gone == [LOCAL_USER_ID]
    assert await house.database.read(settings.list_of_server) == of_server
    assert await house.database.read(settings.find, LOCAL_USER_ID, "parameters") is None


async def test_permissions_are_given_taken_and_reset(house: House, admin) -> None:
    user_id = await add(house, admin)
    identity = await sign_in(house, "Bob")
    own = identity.actor.permissions
    given = UserChange(permissions=["chat", "download_models"])
    view = await house.users.change(admin, user_id, given, HERE)
    assert view.permissions == ["chat", "download_models"]
    assert identity.actor.permissions == {Permission.CHAT, Permission.DOWNLOAD_MODELS}
    await house.users.change(admin, user_id, UserChange(resets_permissions=True), HERE)
    assert identity.actor.permissions == own


@pytest.mark.parametrize("word", ["administer", "fly", ""])
async def test_permission_that_cannot_be_given_is_refused(house: House, admin, word) -> None:
    user_id = await add(house, admin)
    with pytest.raises(InvalidRequest) as refusal:
        await house.users.change(admin, user_id, UserChange(permissions=[word]), HERE)
    assert refusal.value.field == "permissions"


@pytest.mark.parametrize("change", [UserChange(role=UserRole.USER), UserChange(is_disabled=True)])
async def test_only_administrator_stays_one(house: House, admin, change) -> None:
    with pytest.raises(Conflict):
        await house.users.change(admin, admin.user_id, change, HERE)
    with pytest.raises(Conflict):
        await house.users.delete(admin, admin.user_id, HERE)
    bob = await add(house, admin, role=UserRole.ADMINISTRATOR)
    await house.users.change(admin, admin.user_id, change, HERE)
    with pytest.raises(Conflict):
        await house.users.delete(admin, bob, HERE)


async def test_renamed_person_signs_in_by_the_new_name(house: House, admin) -> None:
    user_id = await add(house, admin)
    await house.users.change(admin, user_id, UserChange(name="Bobby"), HERE)
    assert (await sign_in(house, "bobby")).actor.name == "Bobby"
    with pytest.raises(Conflict):
        await house.users.change(admin, user_id, UserChange(name="ANN"), HERE)
    view = await house.users.change(admin, user_id, UserChange(name="BOBBY"), HERE)
    assert view.name == "BOBBY"


async def test_deleted_account_is_gone_and_told_of(house: House, admin) -> None:
    user_id = await add(house, admin)
    identity = await sign_in(house, "Bob")
    await house.users.delete(admin, user_id, HERE)
    assert identity.ended.is_set()
    assert house.gone == [user_id]
    assert [view.name for view in await house.users.list(admin)] == ["Ann"]
    with pytest.raises(NotFound):
        await house.users.delete(admin, user_id, HERE)


async def test_what_was_done_is_written_down_without_secrets(house: House, admin) -> None:
    user_id = await add(house, admin)
    await house.users.change(admin, user_id, UserChange(role=UserRole.GUEST), HERE)
    await house.users.reset_password(admin, user_id, HERE, password=GOOD)
    entries = await house.users.list_audit(admin)
    assert [entry.action for entry in entries] == [
        "reset_password",
        "change_user",
        "add_user",
        "claim",
    ]
    assert entries[1].about == "Bob: guest"
    assert {entry.address for entry in entries} == {HERE.address}
    assert not any(secret in str(entries) for secret in (GOOD, OTHER, "argon2"))
    older = await house.users.list_audit(admin, limit=1, before=entries[2].position)
    assert [entry.action for entry in older] == ["claim"]


async def test_what_administrators_did_is_kept_apart(house: House, admin) -> None:
    user_id = await add(house, admin)
    await sign_in(house, "Bob")
    await house.users.reset_password(command_line_actor(), user_id, HERE, password=GOOD)
    rows = await house.database.read(audit.list_newest, limit=9)
    assert [(row.action, row.by_administrator) for row in rows] == [
        ("reset_password", True),
        ("sign_in", False),
        ("add_user", True),
        ("claim", True),
    ]


async def test_command_line_is_told_from_people_whatever_they_are_called(
    house: House, admin
) -> None:
    with pytest.raises(InvalidRequest, match="Command line"):
        await house.users.add(admin, "Command line", HERE, role=UserRole.USER, password=GOOD)
    user_id = await add(house, admin)
    with pytest.raises(InvalidRequest, match="something else"):
        await house.users.change(admin, user_id, UserChange(name="command-line"), HERE)
    await house.users.reset_password(command_line_actor(), user_id, HERE, password=GOOD)
    entries = await house.users.list_audit(admin)
    assert [(one.actor_name, one.actor_kind) for one in entries] == [
        ("command line", "command_line"),
        ("Ann", "person"),
        ("Ann", "person"),
    ]


async def test_nobody_but_administrators_does_any_of_it(house: House, admin) -> None:
    await add(house, admin)
    bob, users = (await sign_in(house, "Bob")).actor, house.users
    calls = [
        users.list(bob),
        users.list_audit(bob),
        users.add(bob, "Eve", HERE, role=UserRole.ADMINISTRATOR, password=GOOD),
        users.reset_password(bob, admin.user_id, HERE),
        users.change(bob, bob.user_id, UserChange(role=UserRole.ADMINISTRATOR), HERE),
        users.delete(bob, admin.user_id, HERE),
    ]
    for call in calls:
        with pytest.raises(PermissionDenied):
            await call
    assert len(await users.list(admin)) == 2


async def test_there_are_no_others_before_the_first_administrator(house: House) -> None:
    with pytest.raises(Conflict):
        await house.users.add(local_actor(), "Bob", HERE, role=UserRole.USER, password=OTHER)
    assert await house.users.list(local_actor()) == []
    with pytest.raises(NotFound):
        await house.users.reset_password(local_actor(), LOCAL_USER_ID, HERE)
