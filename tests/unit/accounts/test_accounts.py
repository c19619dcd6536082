"""One's own account: first run, signing in and out, the password, the end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.unit.accounts.conftest import GOOD, HERE, OTHER, House
from webui.accounts.accounts import WrongCredentials
from webui.accounts.confirmation import NoPassword
from webui.accounts.enabled import AccountDisabled
from webui.accounts.identity import Sender, Source
from webui.accounts.sessions import GUEST_IDLE, MAX_WRONG
from webui.accounts.throttle import PAIR, TooManyAttempts
from webui.accounts.users import UserChange
from webui.actor import LOCAL_USER_ID, Permission, UserRole
from webui.administration.housekeeping import EMPTY_KEPT, clear
from webui.errors import Conflict, InvalidRequest, NotFound, PermissionDenied
from webui.messages import Role
from webui.storage import conversations, messages, trash, users
from webui.storage.sessions import MAX_SESSIONS
from webui.storage.tables import utc_now

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

FAR = Sender("203.0.113.7", "Safari, iPhone")


async def member(house: House, name: str = "Bob", role: UserRole = UserRole.USER) -> str:
    """Make a person; returns their id."""
    admin = await house.identity(await house.claim())
    view, _ = await house.users.add(admin.actor, name, HERE, role=role, password=OTHER)
    return view.id


async def member_of(house: House, name: str) -> str:
    """Add one more person to those that `member` made."""
    admin = await house.identity(await token_of(house, "Ann", GOOD))
    view, _ = await house.users.add(admin.actor, name, HERE, role=UserRole.USER, password=OTHER)
    return view.id


async def token_of(house: House, name: str = "Bob", password: str = OTHER) -> str:
    return (await house.accounts.sign_in(name, password, HERE)).token


async def test_wrong_token_is_looked_for_once(house: House, monkeypatch) -> None:
    await house.claim()
    looks, read = [], house.database.read

    async def counting(function, *args):
        looks.append(function)
        return await read(function, *args)

    monkeypatch.setattr(house.database, "read", counting)
    await asyncio.gather(*[house.is_in("x" * 43) for _ in range(5)])
    assert not await house.is_in("x" * 43)
    assert len(looks) == 1
    for n in range(MAX_WRONG + 5):
        house.accounts.sessions._wrong[str(n)] = None
    assert not await house.is_in("y" * 43)
    assert len(house.accounts.sessions._wrong) == MAX_WRONG


async def test_sign_ins_of_one_person_are_bounded(house: House) -> None:
    await member(house)
    tokens = [await token_of(house)]
    first = await house.identity(tokens[0])
    tokens += [await token_of(house) for _ in range(MAX_SESSIONS)]
    listed = await house.accounts.list_sessions(first.actor, "")
    assert len(listed) == MAX_SESSIONS
    assert first.id not in {one.id for one in listed}
    # Moved elsewhere, so that its use is saved: only now is it known to be gone.
    assert await house.accounts.identify(tokens[0], FAR, is_local=False) is None
    assert first.ended.is_set()
    for token in tokens[1:]:
        assert await house.is_in(token)


async def test_signing_out_twice_at_once_is_no_fault(house: House) -> None:
    identity = await house.identity(await house.claim())
    await house.accounts.sign_out(identity)
    await house.accounts.sign_out(identity)
    assert identity.ended.is_set()


async def test_until_there_is_an_administrator_the_machine_itself_is_one(house: House) -> None:
    local = await house.accounts.identify(None, HERE, is_local=True)
    assert local is not None
    assert (local.actor.user_id, local.source) == (LOCAL_USER_ID, Source.LOCAL)
    assert local.actor.permissions == frozenset(Permission)
    assert await house.accounts.identify(None, FAR, is_local=False) is None
    assert await house.accounts.identify("x", FAR, is_local=False) is None


async def test_first_administrator_is_the_local_user_with_all_that_was_theirs(house) -> None:
    made = await house.database.run(conversations.create, LOCAL_USER_ID)
    local = await house.accounts.identify(None, HERE, is_local=True)
    identity = await house.identity(await house.claim())
    assert identity.actor.role is UserRole.ADMINISTRATOR
    assert identity.actor.name == "Ann"
    kept = await house.database.read(conversations.get, identity.actor.user_id, made.id)
    assert kept.id == made.id
    assert local.ended.is_set()
    assert house.accounts.first_run_code is None
    assert await house.accounts.identify(None, HERE, is_local=True) is None


async def test_twenty_at_once_make_one_administrator(house: House) -> None:
    code = house.accounts.first_run_code
    assert code is not None
    house.clock.now_s += 1
    claims = [
        house.accounts.claim(code, f"Name {n}", GOOD, Sender(f"192.0.2.{n}")) for n in range(20)
    ]
    ends = await asyncio.gather(*claims, return_exceptions=True)
    made = [end for end in ends if not isinstance(end, BaseException)]
    assert len(made) == 1
    assert all(isinstance(end, Conflict) for end in ends if isinstance(end, BaseException))
    found = await house.database.read(users.list_all)
    assert [row.name for row in found] == [made[0].user.name]


@pytest.mark.parametrize("code", ["", "AAAA-BBBB-CCCC", "😀"])
async def test_wrong_code_makes_nobody(house: House, code: str) -> None:
    with pytest.raises(PermissionDenied) as refusal:
        await house.accounts.claim(code, "Eve", GOOD, FAR)
    assert refusal.value.field == "code"
    assert not house.accounts.is_claimed


async def test_code_may_be_written_without_care(house: House) -> None:
    code = (house.accounts.first_run_code or "").replace("-", " ").lower()
    assert (await house.accounts.claim(f" {code} ", "Ann", GOOD, HERE)).user.name == "Ann"


async def test_code_cannot_be_guessed_fast(house: House) -> None:
    for _ in range(PAIR.num_free):
        with pytest.raises(PermissionDenied):
            await house.accounts.claim("x", "Eve", GOOD, FAR)
    with pytest.raises(TooManyAttempts):
        await house.accounts.claim(house.accounts.first_run_code or "", "Eve", GOOD, FAR)


async def test_wrong_form_of_the_first_account_leaves_the_code(house: House) -> None:
    code = house.accounts.first_run_code or ""
    for name, password, field in (("", GOOD, "name"), ("Ann", "short", "password")):
        with pytest.raises(InvalidRequest) as refusal:
            await house.accounts.claim(code, name, password, HERE)
        assert refusal.value.field == field
    assert (await house.accounts.claim(code, "Ann", GOOD, HERE)).token


async def test_administrator_outlives_a_restart_and_so_does_the_sign_in(house: House) -> None:
    token = await house.claim()
    house.begin()
    await house.accounts.open()
    assert house.accounts.is_claimed
    assert (await house.identity(token)).actor.name == "Ann"
    assert await house.accounts.identify(None, HERE, is_local=True) is None


async def test_sign_in_gives_a_token_that_is_not_kept(house: House) -> None:
    await member(house)
    signed_in = await house.accounts.sign_in(" bOB ", OTHER, HERE)
    assert signed_in.user.name == "Bob"
    assert (await house.identity(signed_in.token)).actor.role is UserRole.USER
    await house.database.close()
    raw = b"".join(path.read_bytes() for path in house.database.path.parent.glob("*.db*"))
    await house.database.open()
    assert signed_in.token.encode() not in raw
    assert OTHER.encode() not in raw


async def test_each_sign_in_has_a_token_of_its_own(house: House) -> None:
    await member(house)
    assert await token_of(house) != await token_of(house)


@pytest.mark.parametrize(
    ("name", "password"), [("Bob", "wrong one here"), ("Nobody", OTHER), ("", "")]
)
async def test_wrong_password_and_unknown_name_get_the_same_answer(house, name, password) -> None:
    await member(house)
    with pytest.raises(WrongCredentials) as refusal:
        await house.accounts.sign_in(name, password, HERE)
    assert refusal.value.message == "name and password do not belong together"
    assert refusal.value.field is None


async def test_unknown_name_costs_a_hash_too(house: House, monkeypatch) -> None:
    looked: list[str | None] = []
    verify = house.accounts.passwords.verify

    async def counting(stored: str | None, password: str) -> bool:
        looked.append(stored and "hash")
        return await verify(stored, password)

    monkeypatch.setattr(house.accounts.passwords, "verify", counting)
    await member(house)
    for name in ("Nobody", "Bob"):
        with pytest.raises(WrongCredentials):
            await house.accounts.sign_in(name, "wrong one here", HERE)
    assert looked == [None, "hash"]


async def test_guessing_is_slowed_down_but_not_for_the_owner(house: House) -> None:
    await member(house)
    await token_of(house)
    for _ in range(PAIR.num_free):
        with pytest.raises(WrongCredentials):
            await house.accounts.sign_in("Bob", "guess guess guess", FAR)
    with pytest.raises(TooManyAttempts):
        await house.accounts.sign_in("Bob", OTHER, FAR)
    assert await token_of(house)


async def test_disabled_account_says_so_to_its_owner_alone(house: House) -> None:
    user_id = await member(house)
    admin = await house.identity(await token_of(house, "Ann", GOOD))
    token = await token_of(house)
    identity = await house.identity(token)
    await house.users.change(admin.actor, user_id, UserChange(is_disabled=True), HERE)
    assert identity.ended.is_set()
    assert house.shut_out == [user_id]
    assert not await house.is_in(token)
    with pytest.raises(AccountDisabled):
        await token_of(house)
    with pytest.raises(WrongCredentials):
        await token_of(house, "Bob", "wrong one here")
    await house.users.change(admin.actor, user_id, UserChange(is_disabled=False), HERE)
    assert await house.is_in(await token_of(house))


async def test_sign_out_ends_this_sign_in_alone(house: House) -> None:
    await member(house)
    here, there = await token_of(house), await token_of(house)
    identity = await house.identity(here)
    await house.accounts.sign_out(identity)
    assert identity.ended.is_set()
    assert not await house.is_in(here)
    assert await house.is_in(there)


async def test_sign_out_everywhere_ends_all_of_ones_own(house: House) -> None:
    user_id = await member(house)
    tokens = [await token_of(house) for _ in range(3)]
    admin = await token_of(house, "Ann", GOOD)
    identities = [await house.identity(token) for token in tokens]
    await house.accounts.sign_out_everywhere(identities[0].actor, HERE)
    assert all(identity.ended.is_set() for identity in identities)
    assert [await house.is_in(token) for token in tokens] == [False] * 3
    assert await house.is_in(admin)
    assert house.shut_out == [user_id]


async def test_own_sign_ins_are_listed_and_ended_and_nobody_elses(house: House) -> None:
    await member(house)
    bob = await house.identity(await token_of(house))
    far = (await house.accounts.sign_in("Bob", OTHER, FAR)).token
    listed = await house.accounts.list_sessions(bob.actor, bob.id)
    assert {view.device for view in listed} == {HERE.device, FAR.device}
    assert [view.is_current for view in listed if view.id == bob.id] == [True]
    ann = await house.identity(await token_of(house, "Ann", GOOD))
    with pytest.raises(NotFound):
        await house.accounts.end_session(bob.actor, ann.id)
    other = next(view for view in listed if not view.is_current)
    await house.accounts.end_session(bob.actor, other.id)
    assert not await house.is_in(far)
    assert await house.is_in(await token_of(house))


async def test_new_password_ends_all_sign_ins_and_begins_one(house: House) -> None:
    await member(house)
    old = await token_of(house)
    elsewhere = await token_of(house)
    identity = await house.identity(old)
    changed = await house.accounts.change_password(identity, OTHER, GOOD, HERE)
    assert [await house.is_in(token) for token in (old, elsewhere)] == [False, False]
    assert await house.is_in(changed.token)
    with pytest.raises(WrongCredentials):
        await token_of(house)
    assert await token_of(house, password=GOOD)


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [("wrong one here", GOOD, "old"), (OTHER, "short", "new"), (OTHER, OTHER, "new")],
)
async def test_password_change_names_the_field(house: House, old, new, field) -> None:
    await member(house)
    token = await token_of(house)
    with pytest.raises(InvalidRequest) as refusal:
        await house.accounts.change_password(await house.identity(token), old, new, HERE)
    assert refusal.value.field == field
    assert await house.is_in(token)


async def test_old_password_cannot_be_guessed_with_a_stolen_sign_in(house: House) -> None:
    await member(house)
    identity = await house.identity(await token_of(house))
    for _ in range(PAIR.num_free):
        with pytest.raises(InvalidRequest):
            await house.accounts.change_password(identity, "guess guess", GOOD, FAR)
    with pytest.raises(TooManyAttempts):
        await house.accounts.change_password(identity, OTHER, GOOD, FAR)


async def test_own_account_goes_with_everything_in_it(house: House) -> None:
    user_id = await member(house)
    token = await token_of(house)
    identity = await house.identity(token)
    made = await house.database.run(conversations.create, user_id)
    with pytest.raises(InvalidRequest):
        await house.accounts.delete(identity, "wrong one here", HERE)
    await house.accounts.delete(identity, OTHER, HERE)
    assert not await house.is_in(token)
    assert (house.shut_out, house.gone) == ([user_id], [user_id])
    with pytest.raises(NotFound):
        await house.database.read(conversations.get, user_id, made.id)
    with pytest.raises(NotFound):
        await house.database.read(users.get, user_id)


async def test_who_has_no_password_is_told_so_and_not_that_it_is_wrong(house: House) -> None:
    user_id = await member(house)
    bob = await house.identity(await token_of(house))

    def drop(session) -> None:
        users.get(session, user_id).password_hash = None

    await house.database.run(drop)
    for call in (
        lambda: house.accounts.confirmation.check(bob, OTHER, HERE),
        lambda: house.accounts.delete(bob, "", HERE),
        lambda: house.accounts.change_password(bob, OTHER, GOOD, HERE),
    ):
        with pytest.raises(NoPassword, match="no password") as refusal:
            await call()
        assert "administrator" in refusal.value.hint
    for _ in range(PAIR.num_free + 1):  # nothing was guessed, so nothing is slowed down
        with pytest.raises(NoPassword):
            await house.accounts.confirmation.check(bob, OTHER, HERE)
    assert not bob.ended.is_set()


async def test_only_administrator_cannot_go(house: House) -> None:
    await member(house)
    admin = await house.identity(await token_of(house, "Ann", GOOD))
    with pytest.raises(Conflict):
        await house.accounts.delete(admin, GOOD, HERE)
    assert house.shut_out == []
    await house.users.add(admin.actor, "Cid", HERE, role=UserRole.ADMINISTRATOR, password=OTHER)
    await house.accounts.delete(admin, GOOD, HERE)
    house.begin()
    await house.accounts.open()
    assert house.accounts.is_claimed
    assert await house.is_in(await token_of(house, "Cid"))


async def test_nothing_of_a_guest_outlives_their_last_sign_in(house: House) -> None:
    user_id = await member(house, "Gus", UserRole.GUEST)
    bob = await member_of(house, "Bob")
    made = {
        owner: (await house.database.run(conversations.create, owner)).id
        for owner in (user_id, bob)
    }
    tokens = [await token_of(house, "Gus") for _ in range(2)]
    await house.accounts.sign_out(await house.identity(tokens[0]))
    await house.database.read(conversations.get, user_id, made[user_id])
    assert house.gone == []
    await house.accounts.sign_out(await house.identity(tokens[1]))
    with pytest.raises(NotFound):
        await house.database.read(conversations.get, user_id, made[user_id])
    assert (house.shut_out, house.gone) == ([user_id], [user_id])
    await house.database.read(conversations.get, bob, made[bob])
    assert await token_of(house, "Gus")


async def test_guest_who_comes_in_while_the_last_one_leaves_keeps_what_they_make(house) -> None:
    user_id = await member(house, "Gus", UserRole.GUEST)
    await house.database.run(conversations.create, user_id)
    leaves = await house.identity(await token_of(house, "Gus"))
    made, gone = [], []

    async def come_in(_user_id: str) -> None:
        made.append(await token_of(house, "Gus"))
        made.append((await house.database.run(conversations.create, user_id)).id)

    async def note_gone(gone_id: str) -> None:
        gone.append(gone_id)

    house.accounts.tell(on_shut_out=come_in, on_gone=note_gone)
    await house.accounts.sign_out(leaves)
    token, conversation_id = made
    await house.database.read(conversations.get, user_id, conversation_id)
    assert gone == []
    assert await house.is_in(token)


async def test_guest_who_just_stays_away_leaves_nothing_either(house: House, monkeypatch) -> None:
    user_id = await member(house, "Gus", UserRole.GUEST)
    made = await house.database.run(conversations.create, user_id)
    token = await token_of(house, "Gus")
    await clear(house.database, house.accounts)
    await house.database.read(conversations.get, user_id, made.id)
    later = utc_now() + GUEST_IDLE
    monkeypatch.setattr("webui.accounts.accounts.utc_now", lambda: later)
    await clear(house.database, house.accounts)
    with pytest.raises(NotFound):
        await house.database.read(conversations.get, user_id, made.id)
    assert house.gone == [user_id]
    monkeypatch.setattr(house.accounts.sessions, "_clock", lambda: later)
    assert not await house.is_in(token)


async def test_trash_is_kept_for_thirty_days(house: House, monkeypatch) -> None:
    made = await house.database.run(conversations.create, LOCAL_USER_ID)
    await house.database.run(say, made.id)
    await house.database.run(conversations.delete, LOCAL_USER_ID, made.id)
    await clear(house.database, house.accounts)
    await house.database.run(conversations.restore, LOCAL_USER_ID, made.id)
    await house.database.run(conversations.delete, LOCAL_USER_ID, made.id)
    later = utc_now() + trash.KEPT
    monkeypatch.setattr("webui.administration.housekeeping.utc_now", lambda: later)
    await clear(house.database, house.accounts)
    with pytest.raises(NotFound):
        await house.database.run(conversations.restore, LOCAL_USER_ID, made.id)


async def test_conversation_that_never_held_a_message_goes_after_a_day(
    house: House, monkeypatch
) -> None:
    empty, used = [
        (await house.database.run(conversations.create, LOCAL_USER_ID)).id for _ in range(2)
    ]
    await house.database.run(say, used)
    await clear(house.database, house.accounts)
    await house.database.read(conversations.get, LOCAL_USER_ID, empty)
    later = utc_now() + EMPTY_KEPT
    monkeypatch.setattr("webui.administration.housekeeping.utc_now", lambda: later)
    await clear(house.database, house.accounts)
    await house.database.read(conversations.get, LOCAL_USER_ID, used)
    with pytest.raises(NotFound):
        await house.database.read(conversations.get, LOCAL_USER_ID, empty)


def say(session: Session, conversation_id: str) -> None:
    messages.add(session, LOCAL_USER_ID, conversation_id, parent_id=None, role=Role.USER, text="Hi")
