"""Everybody's sign-ins: what administrators see and end, and that nobody else does."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from tests.unit.accounts.conftest import GOOD, HERE, OTHER, House
from webui.accounts.identity import Sender
from webui.accounts.sessions import GUEST_IDLE, Lifetime
from webui.accounts.sign_ins import SignIns
from webui.actor import Permission, UserRole
from webui.errors import NotFound, PermissionDenied
from webui.storage import audit, conversations, everybodys, sessions, users
from webui.storage.tables import SessionRow, SignInWay, UserRow, utc_now

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from webui.accounts.identity import Identity

FAR = Sender("203.0.113.7", "Safari, iPhone")


@dataclass
class Home:
    """Ann, the administrator, and Bob, each signed in here."""

    house: House
    sign_ins: SignIns
    ann: Identity
    bob: Identity

    async def enter(self, name: str = "Bob", sender: Sender = FAR) -> Identity:
        token = (await self.house.accounts.sign_in(name, OTHER, sender)).token
        return await self.house.identity(token)

    async def said(self) -> list[tuple[str, str, str]]:
        found = await self.house.database.read(audit.list_newest, limit=9)
        return [(row.actor_name, row.action, row.about) for row in found]


@pytest.fixture
async def home(house: House) -> Home:
    ann = await house.identity(await house.claim())
    await house.users.add(ann.actor, "Bob", HERE, role=UserRole.USER, password=OTHER)
    token = (await house.accounts.sign_in("Bob", OTHER, HERE)).token
    bob = await house.identity(token)
    return Home(house, SignIns(house.database, house.accounts), ann, bob)


async def test_administrators_see_who_is_in_from_where_by_what(home: Home) -> None:
    far = await home.enter()
    key = await home.house.api_keys.make(home.bob.actor, "Editor", HERE)
    listed = await home.sign_ins.list(home.ann)
    by_id = {one.id: one for one in listed.sessions}
    assert set(by_id) == {home.ann.id, home.bob.id, far.id}
    seen = by_id[far.id]
    assert (seen.user, seen.user_id) == ("Bob", home.bob.actor.user_id)
    assert (seen.device, seen.way) == (FAR.device, "password")
    assert seen.address == HERE.address  # of its last use
    assert [one.id for one in listed.sessions if one.is_current] == [home.ann.id]
    (card,) = listed.keys
    assert (card.id, card.owner, card.owner_id) == (key.view.id, "Bob", home.bob.actor.user_id)
    assert key.key not in str(listed)


async def test_last_used_come_first_and_what_ran_out_is_not_there(home: Home) -> None:
    far = await home.enter()
    now = utc_now()
    await home.house.api_keys.make(
        home.bob.actor, "Short", HERE, expires_at=now + timedelta(hours=1)
    )
    never = await home.house.api_keys.make(home.ann.actor, "Never used", HERE)
    used = await home.house.api_keys.make(home.bob.actor, "Used", HERE)
    await home.house.accounts.keys.identify(used.key, HERE)
    listed = await home.sign_ins.list(home.ann)
    assert listed.sessions[0].id == far.id
    assert [one.name for one in listed.keys] == ["Used", "Never used", "Short"]
    later = SignIns(home.house.database, home.house.accounts, lambda: now + timedelta(hours=2))
    assert [one.id for one in (await later.list(home.ann)).keys] == [used.view.id, never.view.id]
    much_later = now + Lifetime().idle + timedelta(days=1)
    later = SignIns(home.house.database, home.house.accounts, lambda: much_later)
    assert (await later.list(home.ann)).sessions == []


async def test_one_sign_in_ends_at_once_and_others_stay(home: Home) -> None:
    far = await home.enter()
    await home.sign_ins.end(home.ann.actor, far.actor.user_id, far.id, HERE)
    assert far.ended.is_set()
    assert not home.bob.ended.is_set()
    assert home.house.shut_out == []
    left = {one.id for one in (await home.sign_ins.list(home.ann)).sessions}
    assert left == {home.ann.id, home.bob.id}
    assert (await home.said())[0] == ("Ann", "end_session", "Safari, iPhone of Bob")


async def test_sign_in_of_another_is_none_of_theirs(home: Home) -> None:
    for user_id, session_id in (
        (home.ann.actor.user_id, home.bob.id),
        (home.bob.actor.user_id, "nothing"),
        ("nobody", home.bob.id),
    ):
        with pytest.raises(NotFound):
            await home.sign_ins.end(home.ann.actor, user_id, session_id, HERE)
    with pytest.raises(NotFound):
        await home.sign_ins.end_all(home.ann.actor, "nobody", HERE)
    assert not home.bob.ended.is_set()
    assert "end_session" not in {action for _, action, _ in await home.said()}


async def test_all_sign_ins_of_somebody_end_with_their_replies_and_keys_stay(home: Home) -> None:
    far = await home.enter()
    key = (await home.house.api_keys.make(home.bob.actor, "Editor", HERE)).key
    program = await home.house.accounts.keys.identify(key, HERE)
    user_id = home.bob.actor.user_id
    await home.sign_ins.end_all(home.ann.actor, user_id, HERE)
    assert far.ended.is_set()
    assert home.bob.ended.is_set()
    assert not home.ann.ended.is_set()
    assert not program.ended.is_set()
    assert home.house.shut_out == [user_id]
    listed = await home.sign_ins.list(home.ann)
    assert [one.id for one in listed.sessions] == [home.ann.id]
    assert len(listed.keys) == 1
    assert (await home.said())[0] == ("Ann", "end_all_sessions", "Bob")
    assert await home.enter()  # it is no shutting out


async def test_what_a_guest_made_goes_when_an_administrator_ends_the_last(home: Home) -> None:
    ann = home.ann.actor
    guest, _ = await home.house.users.add(ann, "Gus", HERE, role=UserRole.GUEST, password=OTHER)
    identities = [await home.enter("Gus") for _ in range(2)]
    made = await home.house.database.run(conversations.create, guest.id)
    await home.sign_ins.end(ann, guest.id, identities[0].id, HERE)
    await home.house.database.read(conversations.get, guest.id, made.id)
    await home.sign_ins.end(ann, guest.id, identities[1].id, HERE)
    with pytest.raises(NotFound):
        await home.house.database.read(conversations.get, guest.id, made.id)
    assert home.house.gone == [guest.id]
    assert Lifetime().idle > GUEST_IDLE


async def test_nobody_else_sees_or_ends_any(home: Home) -> None:
    assert Permission.ADMINISTER not in home.bob.actor.permissions
    for call in (
        home.sign_ins.list(home.bob),
        home.sign_ins.end(home.bob.actor, home.bob.actor.user_id, home.bob.id, HERE),
        home.sign_ins.end_all(home.bob.actor, home.ann.actor.user_id, HERE),
    ):
        with pytest.raises(PermissionDenied):
            await call
    assert not home.bob.ended.is_set()
    assert not home.ann.ended.is_set()


async def test_new_password_and_claim_begin_sign_ins_by_password(home: Home) -> None:
    changed = await home.house.accounts.change_password(home.ann, GOOD, OTHER, HERE)
    ann = await home.house.identity(changed.token)
    assert {one.way for one in (await home.sign_ins.list(ann)).sessions} == {"password"}


async def test_sign_in_from_before_ways_were_kept_has_none(home: Home) -> None:
    ends_at = utc_now() + timedelta(days=1)
    row = SessionRow(token_hash="x", owner_id=home.bob.actor.user_id, expires_at=ends_at)
    await home.house.database.run(sessions.add, row)
    ways = {one.id: one.way for one in (await home.sign_ins.list(home.ann)).sessions}
    assert ways[row.id] is None


async def test_list_of_very_many_is_bounded(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(everybodys, "MAX_LISTED", 50)

    def fill(session: Session) -> None:
        for number in range(60):
            user = users.add(session, UserRow(name=f"Person {number}", name_key=f"p {number}"))
            row = SessionRow(
                token_hash=f"hash {number}",
                owner_id=user.id,
                last_used_at=utc_now() - timedelta(minutes=number),
                expires_at=utc_now() + timedelta(days=1),
                way=SignInWay.PROXY,
            )
            sessions.add(session, row)

    await home.house.database.run(fill)
    listed = await home.sign_ins.list(home.ann)
    assert len(listed.sessions) == 50
    assert listed.sessions[-1].last_used_at > utc_now() - timedelta(minutes=50)
