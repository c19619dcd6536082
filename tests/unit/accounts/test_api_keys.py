"""API keys: what one may be, whose it is, and when it ends."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.unit.accounts.conftest import GOOD, HERE, OTHER, House
from webui.accounts import known_keys
from webui.accounts.api_keys import LONGEST, MAX_KEYS, MAX_MODELS
from webui.accounts.enabled import AccountDisabled
from webui.accounts.identity import Scope, Sender, Source, hash_of, new_token
from webui.accounts.known_keys import FORM, SAVE_EVERY, InvalidApiKey, KnownKeys
from webui.accounts.throttle import ADDRESS, TooManyAttempts
from webui.accounts.users import UserChange
from webui.actor import Permission, UserRole, local_actor
from webui.errors import Conflict, InvalidRequest, NotFound, PermissionDenied, StorageFull
from webui.storage import api_keys, credentials
from webui.storage.tables import ApiKeyRow, utc_now

FAR = Sender("203.0.113.7", "")


class Keys:
    """A house in which Ann is the administrator and Bob has keys.

    Attributes:
        times: Added to what the clock of the keys says.
    """

    def __init__(self, house: House) -> None:
        self.house = house
        self.times = timedelta()
        self.num_reads = 0

    async def fill(self) -> None:
        house = self.house
        self.ann = (await house.identity(await house.claim())).actor
        view, _ = await house.users.add(self.ann, "Bob", HERE, role=UserRole.USER, password=OTHER)
        self.bob_id = view.id
        token = (await house.accounts.sign_in("Bob", OTHER, HERE)).token
        self.bob = (await house.identity(token)).actor
        self.forget()

    def forget(self) -> None:
        """Know no key, as after a restart."""
        self.house.accounts.keys = KnownKeys(self.house.database, lambda: utc_now() + self.times)

    async def make(self, **more: Any) -> str:
        return (await self.house.api_keys.make(self.bob, "Editor", HERE, **more)).key

    async def identify(self, key: str, sender: Sender = HERE) -> Any:
        return await self.house.accounts.keys.identify(key, sender)

    async def is_in(self, key: str) -> bool:
        try:
            await self.identify(key)
        except InvalidApiKey:
            return False
        return True

    async def view(self) -> Any:
        return (await self.house.api_keys.list(self.bob))[0]

    async def change(self, **wanted: Any) -> None:
        await self.house.users.change(self.ann, self.bob_id, UserChange(**wanted), HERE)


@pytest.fixture
async def keys(house: House) -> Keys:
    keys = Keys(house)
    await keys.fill()
    return keys


@pytest.fixture
def reads(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Hashes that were looked for in the database."""
    found, find = [], credentials.find_api_key

    def counting(session: Any, key_hash: str) -> Any:
        found.append(key_hash)
        return find(session, key_hash)

    monkeypatch.setattr(credentials, "find_api_key", counting)
    return found


async def test_key_is_told_once_and_not_kept(keys: Keys) -> None:
    key = await keys.make()
    assert FORM.fullmatch(key)
    view = await keys.view()
    assert (view.name, view.prefix, view.last_used_at) == ("Editor", key[:11], None)
    await keys.house.database.close()
    raw = b"".join(path.read_bytes() for path in keys.house.database.path.parent.glob("*.db*"))
    await keys.house.database.open()
    assert key.encode() not in raw
    assert key[12:].encode() not in raw


async def test_key_is_its_owner_with_no_more_than_keys_may(keys: Keys) -> None:
    identity = await keys.identify(await keys.make())
    assert (identity.source, identity.actor.user_id) == (Source.API_KEY, keys.bob_id)
    assert identity.actor.permissions == {Permission.CHAT, Permission.LOAD_MODELS}
    made = await keys.house.api_keys.make(keys.ann, "Mine", HERE)
    ann = (await keys.identify(made.key)).actor
    assert Permission.ADMINISTER in keys.ann.permissions
    assert not ann.permissions & {Permission.ADMINISTER, Permission.API_KEYS}


async def test_key_is_one_identity_however_many_requests_bring_it(keys: Keys, reads) -> None:
    key = await keys.make()
    found = await asyncio.gather(*(keys.identify(key) for _ in range(40)))
    assert len({id(one) for one in found}) == 1
    assert reads == [hash_of(key)]


async def test_scope_goes_with_the_key(keys: Keys) -> None:
    scope = Scope(frozenset({"chat"}), frozenset({"a.gguf"}))
    identity = await keys.identify(await keys.make(scope=scope))
    assert identity.scope == scope
    assert identity.actor.models == {"a.gguf"}
    with pytest.raises(PermissionDenied, match=r"b\.gguf"):
        identity.actor.require_model("b.gguf")
    await keys.change(name="Bobby")
    assert (identity.actor.name, identity.actor.models) == ("Bobby", {"a.gguf"})
    assert (await keys.identify(await keys.make())).actor.models is None


@pytest.mark.parametrize(
    "wrong", ["", "x", "hs-abcd2345-" + "k" * 43, "hs-abcd2345-" + "k" * 42, "k" * 10_000, "ü"]
)
async def test_wrong_key_opens_nothing(keys: Keys, wrong: str) -> None:
    with pytest.raises(InvalidApiKey):
        await keys.identify(wrong)


async def test_prefix_of_a_key_opens_nothing(keys: Keys) -> None:
    key = await keys.make()
    with pytest.raises(InvalidApiKey):
        await keys.identify(f"{key[:12]}{new_token()}")


async def test_revoked_key_ends_at_once_and_after_a_restart(keys: Keys) -> None:
    key, other = await keys.make(), await keys.make()
    identity, stays = await keys.identify(key), await keys.identify(other)
    await keys.house.api_keys.delete(keys.bob, identity.id, HERE)
    assert identity.ended.is_set()
    assert not stays.ended.is_set()
    assert not await keys.is_in(key)
    keys.forget()
    assert not await keys.is_in(key)
    assert await keys.is_in(other)


async def test_key_that_ends_while_it_is_looked_for_is_none(keys: Keys, monkeypatch) -> None:
    key = await keys.make()
    key_id = (await keys.view()).id
    find, ends = credentials.find_api_key, []

    def find_and_end(session: Any, key_hash: str) -> Any:
        found = find(session, key_hash)
        if not ends:
            ends.append(asyncio.run_coroutine_threadsafe(revoke(), loop))
            ends[0].result(10)
        return found

    async def revoke() -> None:
        await keys.house.api_keys.delete(keys.bob, key_id, HERE)

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(credentials, "find_api_key", find_and_end)
    assert not await keys.is_in(key)


async def test_key_runs_out_in_the_middle_of_what_it_has_open(keys: Keys) -> None:
    key = await keys.make(expires_at=utc_now() + timedelta(seconds=0.3))
    identity = await keys.identify(key)
    await asyncio.wait_for(identity.ended.wait(), 10)
    assert not await keys.is_in(key)
    assert (await keys.view()).is_expired


async def test_clock_that_jumps_ends_a_key_at_its_next_look(keys: Keys, monkeypatch) -> None:
    monkeypatch.setattr(known_keys, "LOOK_EVERY_S", 0.01)
    identity = await keys.identify(await keys.make(expires_at=utc_now() + timedelta(days=1)))
    assert not identity.ended.is_set()
    keys.times = timedelta(days=2)
    await asyncio.wait_for(identity.ended.wait(), 10)


async def test_key_that_ran_out_opens_nothing(keys: Keys) -> None:
    key = await keys.make(expires_at=utc_now() + timedelta(days=1))
    keys.times = timedelta(days=1, seconds=1)
    assert not await keys.is_in(key)
    assert not await keys.is_in(key)


async def test_demotion_holds_at_once(keys: Keys) -> None:
    identity = await keys.identify(key := await keys.make())
    await keys.change(permissions=["api_keys", "chat"])
    assert identity.actor.permissions == {Permission.CHAT}
    assert not identity.ended.is_set()
    await keys.change(role=UserRole.GUEST, resets_permissions=True)
    assert identity.ended.is_set()
    with pytest.raises(PermissionDenied, match="api_keys"):
        await keys.identify(key)
    await keys.change(role=UserRole.USER)
    assert await keys.is_in(key)


async def test_disabled_owner_has_no_way_in_until_enabled(keys: Keys) -> None:
    identity = await keys.identify(key := await keys.make())
    await keys.change(is_disabled=True)
    assert identity.ended.is_set()
    with pytest.raises(AccountDisabled):
        await keys.identify(key)
    await keys.change(is_disabled=False)
    assert await keys.is_in(key)


async def test_password_set_by_an_administrator_takes_keys_away(keys: Keys) -> None:
    identity = await keys.identify(key := await keys.make())
    await keys.house.users.reset_password(keys.ann, keys.bob_id, HERE, password=GOOD)
    assert identity.ended.is_set()
    assert not await keys.is_in(key)
    assert await keys.house.api_keys.list(keys.bob) == []


async def test_deleted_owner_takes_keys_along(keys: Keys) -> None:
    identity = await keys.identify(key := await keys.make())
    await keys.house.users.delete(keys.ann, keys.bob_id, HERE)
    assert identity.ended.is_set()
    assert not await keys.is_in(key)


async def test_keys_outlast_signing_out_everywhere_and_a_password_of_ones_own(keys: Keys) -> None:
    identity = await keys.identify(await keys.make())
    house = keys.house
    await house.accounts.sign_out_everywhere(keys.bob, HERE)
    session = await house.identity((await house.accounts.sign_in("Bob", OTHER, HERE)).token)
    await house.accounts.change_password(session, OTHER, GOOD, HERE)
    assert not identity.ended.is_set()


async def test_last_use_is_saved_at_most_once_a_minute(keys: Keys, monkeypatch) -> None:
    saved, note_use = [], credentials.note_use

    def counting(session: Any, sessions: Any, used: Any) -> None:
        saved.append(used)
        note_use(session, sessions, used)

    monkeypatch.setattr(credentials, "note_use", counting)
    key = await keys.make()
    for _ in range(3):
        await keys.identify(key)
    first = (await keys.view()).last_used_at
    assert abs(first - utc_now()) < timedelta(minutes=1)
    keys.times = SAVE_EVERY
    for _ in range(3):
        await keys.identify(key)
    assert len(saved) == 2
    assert (await keys.view()).last_used_at >= first + SAVE_EVERY


async def test_full_disk_keeps_nobody_out(keys: Keys, monkeypatch) -> None:
    def full(*_: Any) -> None:
        raise StorageFull("the disk is full")

    key = await keys.make()
    monkeypatch.setattr(credentials, "note_use", full)
    assert await keys.is_in(key)


async def test_wrong_keys_keep_the_database_quiet(keys: Keys, reads) -> None:
    good = await keys.make()
    wrong = f"hs-abcd2345-{new_token()}"
    for _ in range(30):  # a program that goes on with a revoked key
        with pytest.raises(InvalidApiKey):
            await keys.identify(wrong)
    assert reads == [hash_of(wrong)]
    for number in range(ADDRESS.num_free - 1):
        with pytest.raises(InvalidApiKey):
            await keys.identify(f"hs-abcd{number:04}-{new_token()}", FAR)
    await keys.identify(good, FAR)  # it does not count
    with pytest.raises(InvalidApiKey):
        await keys.identify(f"hs-abcd9998-{new_token()}", Sender("192.0.2.99"))
    num_reads = len(reads)
    assert await keys.is_in(good)
    assert len(reads) == num_reads


async def test_too_many_wrong_keys_have_to_wait_and_known_ones_do_not(keys: Keys) -> None:
    good = await keys.make()
    await keys.identify(good, FAR)
    for number in range(ADDRESS.num_free):
        with pytest.raises(InvalidApiKey):
            await keys.identify(f"hs-abcd{number:04}-{new_token()}", FAR)
    with pytest.raises(TooManyAttempts):
        await keys.identify(f"hs-abcd9999-{new_token()}", FAR)
    assert (await keys.identify(good, FAR)).actor.name == "Bob"


@pytest.mark.parametrize(
    ("name", "more", "field"),
    [
        (" ", {}, "name"),
        ("x" * 61, {}, "name"),
        ("a\u202eb", {}, "name"),
        ("a\x00b", {}, "name"),
        ("x", {"scope": Scope(frozenset())}, "endpoints"),
        ("x", {"scope": Scope(frozenset({"users"}))}, "endpoints"),
        ("x", {"scope": Scope(models=frozenset())}, "models"),
        ("x", {"scope": Scope(models=frozenset(map(str, range(MAX_MODELS + 1))))}, "models"),
        ("x", {"expires_at": datetime(2020, 1, 1, tzinfo=UTC)}, "expires_at"),
        ("x", {"expires_at": datetime(2040, 1, 1)}, "expires_at"),  # noqa: DTZ001 - the point
        ("x", {"expires_at": datetime.max.replace(tzinfo=UTC)}, "expires_at"),
    ],
)
async def test_what_a_key_cannot_be_names_the_field(keys: Keys, name, more, field) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        await keys.house.api_keys.make(keys.bob, name, HERE, **more)
    assert refusal.value.field == field
    assert refusal.value.hint
    assert await keys.house.api_keys.list(keys.bob) == []


async def test_name_is_kept_without_spaces_around(keys: Keys) -> None:
    made = await keys.house.api_keys.make(
        keys.bob, " My  editor 🙂 ", HERE, expires_at=utc_now() + LONGEST - timedelta(minutes=1)
    )
    assert made.view.name == "My editor 🙂"


async def test_nobody_has_more_than_fifty(keys: Keys) -> None:
    def fill(session: Any) -> None:
        for number in range(MAX_KEYS - 1):
            row = ApiKeyRow(key_hash=str(number), owner_id=keys.bob_id, name="x", prefix="x")
            api_keys.add(session, row)

    await keys.house.database.run(fill)
    await keys.make()
    with pytest.raises(Conflict, match="50"):
        await keys.make()
    await keys.house.api_keys.delete(keys.bob, (await keys.view()).id, HERE)
    assert await keys.make()


async def test_keys_of_others_are_not_there(keys: Keys) -> None:
    key = await keys.make()
    key_id = (await keys.view()).id
    assert await keys.house.api_keys.list(keys.ann) == []
    with pytest.raises(NotFound):
        await keys.house.api_keys.delete(keys.ann, key_id, HERE)
    assert await keys.is_in(key)


async def test_administrators_see_name_and_beginning_and_revoke(keys: Keys) -> None:
    identity = await keys.identify(key := await keys.make(scope=Scope(frozenset({"chat"}))))
    (card,) = await keys.house.api_keys.list_of(keys.ann, keys.bob_id)
    assert {name: getattr(card, name) for name in card.__struct_fields__} == {
        "id": identity.id,
        "name": "Editor",
        "prefix": key[:11],
        "owner_id": keys.bob_id,
        "owner": "Bob",
        "last_used_at": (await keys.view()).last_used_at,
        "expires_at": None,
    }
    for user_id in (keys.ann.user_id, "nobody"):
        with pytest.raises(NotFound):
            await keys.house.api_keys.delete_of(keys.ann, user_id, identity.id, HERE)
    await keys.house.api_keys.delete_of(keys.ann, keys.bob_id, identity.id, HERE)
    assert identity.ended.is_set()
    with pytest.raises(NotFound):
        await keys.house.api_keys.list_of(keys.ann, "nobody")
    for call in (
        keys.house.api_keys.list_of(keys.bob, keys.ann.user_id),
        keys.house.api_keys.delete_of(keys.bob, keys.bob_id, identity.id, HERE),
    ):
        with pytest.raises(PermissionDenied):
            await call


async def test_who_may_not_have_keys_makes_none_and_revokes_those_left(keys: Keys) -> None:
    identity = await keys.identify(await keys.make())
    await keys.change(role=UserRole.GUEST)
    token = (await keys.house.accounts.sign_in("Bob", OTHER, HERE)).token
    guest = (await keys.house.identity(token)).actor
    with pytest.raises(PermissionDenied):
        await keys.house.api_keys.make(guest, "x", HERE)
    assert [view.id for view in await keys.house.api_keys.list(guest)] == [identity.id]
    await keys.house.api_keys.delete(guest, identity.id, HERE)
    assert await keys.house.api_keys.list(guest) == []
    with pytest.raises(NotFound):
        await keys.house.api_keys.delete(guest, identity.id, HERE)


async def test_before_there_are_accounts_no_key_is_needed(house: House) -> None:
    with pytest.raises(Conflict):
        await house.api_keys.make(local_actor(), "x", HERE)


async def test_making_and_revoking_is_noted_without_the_key(keys: Keys) -> None:
    key = await keys.make()
    key_id = (await keys.view()).id
    await keys.house.api_keys.delete_of(keys.ann, keys.bob_id, key_id, HERE)
    entries = await keys.house.users.list_audit(keys.ann)
    told = [(one.actor_name, one.action, one.about) for one in entries[:2]]
    assert told == [
        ("Ann", "delete_key", f"Editor ({key[:11]}) of Bob"),
        ("Bob", "make_key", f"Editor ({key[:11]})"),
    ]
    assert not [one for one in entries if key[12:] in one.about]
