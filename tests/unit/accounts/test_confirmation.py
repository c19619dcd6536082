"""Confirming without a password: what does, for whom, how long, and all that must not."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.authenticator import PRESENT, Authenticator
from tests.unit.accounts.conftest import GOOD, HERE, OTHER, House
from webui.accounts.ceremony import Assertion, Attestation
from webui.accounts.challenges import LASTS_S as CHALLENGE_S
from webui.accounts.challenges import ChallengeOver
from webui.accounts.confirmation import LASTS_S, Means, NoPassword
from webui.accounts.identity import Identity, Source
from webui.accounts.passkeys import Passkeys, WrongPasskey
from webui.accounts.relying_party import RelyingParty
from webui.accounts.throttle import PAIR, TooManyAttempts
from webui.actor import UserRole, local_actor
from webui.errors import Conflict, InvalidRequest, NotAuthenticated, NotFound
from webui.storage import audit, external_identities, users
from webui.storage import sessions as session_rows
from webui.storage.sign_in_tables import ExternalIdentityRow
from webui.storage.tables import SignInWay

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from webui.accounts.accounts import SignedIn
    from webui.accounts.identity import Sender

PARTY = RelyingParty("localhost", "http://localhost:7860")
ISSUER = "https://login.example.org"
VOUCHED = replace(HERE, vouched="bob")


class Home:
    """Bob, who is signed in and has no password, and Ann, the administrator, who has one."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.accounts = house.accounts
        self.confirmation = house.accounts.confirmation
        self.confirmation._clock = house.clock
        self.confirmation._issuer = ISSUER
        self.passkeys = Passkeys(house.database, house.accounts, house.clock)
        self.device = Authenticator(PARTY.origin)
        self.ann: Identity
        self.bob: Identity

    async def enter(self) -> Identity:
        """Sign Bob in once more, as a provider does."""

        def begin(session: Session) -> str:
            user = users.get(session, self.bob.actor.user_id)
            return self.accounts.sessions.begin(session, user, HERE, way=SignInWay.PROVIDER)

        token = await self.house.database.run(begin)
        await self.confirmation.note(token, HERE)
        return await self.house.identity(token)

    async def link(self, issuer: str = ISSUER) -> None:
        row = ExternalIdentityRow(
            issuer=issuer, subject="bob-there", owner_id=self.bob.actor.user_id
        )
        await self.house.database.run(external_identities.add, row)

    async def add_passkey(self, name: str = "Phone") -> None:
        """Have Bob add a passkey, once he confirmed that it is him."""
        confirmed = await self.enter()
        options = await self.passkeys.begin_adding(confirmed, name, None, PARTY, HERE)
        await self.passkeys.add(confirmed, Attestation(**self.device.make(options)), HERE)

    async def show(self, identity: Identity, **twists: Any) -> SignedIn:
        """Confirm by the passkey."""
        options = await self.passkeys.begin_confirmation(identity, PARTY, HERE)
        answer = Assertion(**self.device.use(options, **twists))
        return await self.passkeys.confirm(identity, answer, HERE)

    async def by(self, sender: Sender = HERE, identity: Identity | None = None) -> list[str]:
        return (await self.confirmation.look(identity or self.bob, sender)).by

    async def is_there(self) -> bool:
        try:
            await self.house.database.read(users.get, self.bob.actor.user_id)
        except NotFound:
            return False
        return True

    async def actions(self) -> list[tuple[str, str]]:
        found = await self.house.database.read(audit.list_newest, limit=50)
        return [(row.action, row.about) for row in found if row.actor_name == "Bob"]


@pytest.fixture
async def home(house: House) -> Home:
    home = Home(house)
    home.ann = await house.identity(await house.claim())
    view, _ = await house.users.add(home.ann.actor, "Bob", HERE, role=UserRole.USER, password=OTHER)
    home.bob = await house.identity((await house.accounts.sign_in("Bob", OTHER, HERE)).token)

    def drop(session: Session) -> None:
        users.get(session, view.id).password_hash = None

    await house.database.run(drop)
    return home


async def refused(home: Home, identity: Identity) -> None:
    """Check that nothing that is confirmed can be done by a sign-in."""
    calls = (
        lambda: home.accounts.delete(identity, None, HERE),
        lambda: home.accounts.delete(identity, "", HERE),
        lambda: home.accounts.delete(identity, None, HERE, name="Bob"),
        lambda: home.accounts.change_password(identity, None, GOOD, HERE),
        lambda: home.passkeys.begin_adding(identity, "Phone", None, PARTY, HERE),
    )
    for call in calls:
        with pytest.raises(NoPassword):
            await call()
    assert await home.is_there()


async def test_what_there_is_to_confirm_by_is_told(home: Home) -> None:
    assert await home.by(identity=home.ann) == ["password"]
    assert await home.by() == []
    await home.link("https://another.example.org")  # that was named here before
    assert await home.by() == []
    assert await home.by(VOUCHED) == ["name"]
    await home.link()
    assert await home.by() == await home.by(VOUCHED) == ["provider"]
    await home.add_passkey()
    assert await home.by(VOUCHED) == ["passkey", "provider"]
    local = Identity(actor=local_actor(), source=Source.LOCAL)
    home.confirmation._issuer = None
    assert await home.by() == ["passkey"]
    assert await home.by(identity=local) == ["password"]  # who is Ann by now


async def test_sign_in_alone_confirms_nothing(home: Home) -> None:
    await refused(home, home.bob)
    await home.link()
    await home.add_passkey()
    await refused(home, home.bob)
    with pytest.raises(NoPassword, match="no password") as refusal:
        await home.accounts.delete(home.bob, None, HERE)
    assert "Confirm it under Your account" in refusal.value.hint


async def test_confirmed_account_is_deleted(home: Home) -> None:
    confirmed = await home.enter()
    assert (await home.confirmation.look(confirmed, HERE)).is_confirmed
    await home.accounts.delete(confirmed, None, HERE)
    assert not await home.is_there()
    assert home.bob.ended.is_set()


async def test_confirmation_belongs_to_the_sign_in_that_it_began(home: Home) -> None:
    await home.enter()
    assert not (await home.confirmation.look(home.bob, HERE)).is_confirmed
    await refused(home, home.bob)


async def test_confirmation_is_over_after_ten_minutes(home: Home) -> None:
    confirmed = await home.enter()
    home.house.clock.now_s += LASTS_S - 0.1
    await home.confirmation.check(confirmed, None, HERE)
    home.house.clock.now_s += 0.1
    assert not (await home.confirmation.look(confirmed, HERE)).is_confirmed
    await refused(home, confirmed)


async def test_confirmation_is_over_when_its_sign_in_is(home: Home) -> None:
    confirmed = await home.enter()
    await home.accounts.sign_out(confirmed)
    await refused(home, confirmed)  # of a request that was on its way


async def test_confirmation_outlives_no_restart(home: Home) -> None:
    def begin(session: Session) -> str:
        user = users.get(session, home.bob.actor.user_id)
        return home.accounts.sessions.begin(session, user, HERE, way=SignInWay.PROVIDER)

    token = await home.house.database.run(begin)
    await home.confirmation.note(token, HERE)
    home.house.begin()
    await home.house.accounts.open()
    again = await home.house.identity(token)
    with pytest.raises(NoPassword):
        await home.house.accounts.delete(again, None, HERE)


async def test_confirmation_is_good_for_one_passkey(home: Home) -> None:
    confirmed = await home.enter()
    options = await home.passkeys.begin_adding(confirmed, "Phone", None, PARTY, HERE)
    # A device that said no is asked again.
    options = await home.passkeys.begin_adding(confirmed, "Phone", None, PARTY, HERE)
    await home.passkeys.add(confirmed, Attestation(**home.device.make(options)), HERE)
    await refused(home, confirmed)


async def test_password_is_confirmed_by_itself_alone(home: Home) -> None:
    token = (await home.accounts.sign_in("Ann", GOOD, HERE)).token
    await home.confirmation.note(token, HERE)
    ann = await home.house.identity(token)
    for _ in range(PAIR.num_free + 1):  # where none was written none was guessed
        with pytest.raises(InvalidRequest, match="confirmed by your password"):
            await home.accounts.change_password(ann, None, OTHER, HERE)
    with pytest.raises(InvalidRequest, match="confirmed by your password") as refusal:
        await home.accounts.delete(ann, None, replace(HERE, vouched="Ann"), name="Ann")
    assert refusal.value.field == "password"
    for means in (Means.PASSKEY, Means.PROVIDER, Means.NAME):
        with pytest.raises(Conflict, match="has a password"):
            await home.confirmation.check_means(ann, means, HERE)
    with pytest.raises(Conflict):
        await home.passkeys.begin_confirmation(ann, PARTY, HERE)


async def test_nothing_is_confirmed_by_what_one_does_not_have(home: Home) -> None:
    with pytest.raises(Conflict, match="no passkey"):
        await home.passkeys.begin_confirmation(home.bob, PARTY, HERE)
    with pytest.raises(Conflict, match="no link"):
        await home.confirmation.check_means(home.bob, Means.PROVIDER, VOUCHED)
    for source in (Source.API_KEY, Source.LOCAL):
        other = Identity(actor=home.bob.actor, source=source, id="x")
        with pytest.raises(Conflict, match="nobody is signed in"):
            await home.confirmation.check_means(other, Means.PASSKEY, HERE)


async def test_first_password_is_taken_and_is_asked_for_from_then_on(home: Home) -> None:
    confirmed = await home.enter()
    with pytest.raises(InvalidRequest):
        await home.accounts.change_password(confirmed, None, "password", HERE)
    changed = await home.accounts.change_password(confirmed, None, OTHER, HERE)
    assert ("change_password", "took a first one") in await home.actions()
    assert confirmed.ended.is_set()
    assert home.bob.ended.is_set()
    again = await home.house.identity(changed.token)
    with pytest.raises(InvalidRequest, match="confirmed by your password"):
        await home.accounts.delete(again, None, HERE)
    await home.accounts.sign_in("Bob", OTHER, HERE)


async def test_first_password_that_its_sign_in_did_not_live_to_see_is_not_kept(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    confirmed = await home.enter()
    make_hash = home.accounts.passwords.hash

    async def hash_slowly(password: str) -> str:
        await home.accounts.sign_out_everywhere(home.bob.actor, HERE)
        return await make_hash(password)

    monkeypatch.setattr(home.accounts.passwords, "hash", hash_slowly)
    with pytest.raises(NotAuthenticated):
        await home.accounts.change_password(confirmed, None, OTHER, HERE)
    row = await home.house.database.read(users.get, home.bob.actor.user_id)
    assert row.password_hash is None


async def test_passkey_confirms_by_another_sign_in(home: Home) -> None:
    await home.add_passkey()
    signed_in = await home.show(home.bob)
    confirmed = await home.house.identity(signed_in.token)
    assert confirmed.id != home.bob.id
    assert (await home.confirmation.look(confirmed, HERE)).is_confirmed
    assert not (await home.confirmation.look(home.bob, HERE)).is_confirmed
    assert (await home.actions())[0] == ("confirm", "Firefox, Linux by Phone")
    row = await home.house.database.read(session_rows.get, home.bob.actor.user_id, confirmed.id)
    assert row.way is SignInWay.PASSKEY
    await home.accounts.delete(confirmed, None, HERE)
    assert not await home.is_there()


async def test_passkey_that_signs_in_has_not_confirmed(home: Home) -> None:
    await home.add_passkey()
    ticket, options = home.passkeys.begin_sign_in(PARTY, HERE)
    answer = Assertion(**home.device.use(options))
    signed_in = await home.passkeys.sign_in(ticket, answer, HERE)
    await refused(home, await home.house.identity(signed_in.token))


@pytest.mark.parametrize(
    "twists", [{"flags": PRESENT}, {"origin": "https://evil.example"}, {"handle": b"x"}]
)
async def test_wrong_proof_confirms_nothing(home: Home, twists: dict[str, Any]) -> None:
    await home.add_passkey()
    with pytest.raises(WrongPasskey):
        await home.show(home.bob, **twists)
    await home.show(home.bob)  # the right one does


async def test_passkey_of_somebody_else_confirms_nothing(home: Home) -> None:
    await home.add_passkey()
    device = Authenticator(PARTY.origin)
    options = await home.passkeys.begin_adding(home.ann, "Hers", GOOD, PARTY, HERE)
    await home.passkeys.add(home.ann, Attestation(**device.make(options)), HERE)
    num_before = len(await home.accounts.list_sessions(home.ann.actor, ""))
    for _ in range(PAIR.num_free):
        options = await home.passkeys.begin_confirmation(home.bob, PARTY, HERE)
        with pytest.raises(WrongPasskey):
            await home.passkeys.confirm(home.bob, Assertion(**device.use(options)), HERE)
    options = await home.passkeys.begin_confirmation(home.bob, PARTY, HERE)
    with pytest.raises(TooManyAttempts):
        await home.passkeys.confirm(home.bob, Assertion(**device.use(options)), HERE)
    assert len(await home.accounts.list_sessions(home.ann.actor, "")) == num_before
    await refused(home, home.bob)


async def test_what_was_asked_of_a_device_is_good_once_in_time_and_for_its_sign_in(
    home: Home,
) -> None:
    await home.add_passkey()
    options = await home.passkeys.begin_confirmation(home.bob, PARTY, HERE)
    answer = Assertion(**home.device.use(options))
    other = await home.enter()
    with pytest.raises(ChallengeOver):
        await home.passkeys.confirm(other, answer, HERE)
    home.house.clock.now_s += CHALLENGE_S
    with pytest.raises(ChallengeOver):
        await home.passkeys.confirm(home.bob, answer, HERE)
    options = await home.passkeys.begin_confirmation(home.bob, PARTY, HERE)
    answer = Assertion(**home.device.use(options))
    await home.passkeys.confirm(home.bob, answer, HERE)
    with pytest.raises(ChallengeOver):
        await home.passkeys.confirm(home.bob, answer, HERE)


async def test_answer_to_a_sign_in_confirms_nothing_nor_the_other_way(home: Home) -> None:
    await home.add_passkey()
    ticket, options = home.passkeys.begin_sign_in(PARTY, HERE)
    asked = await home.passkeys.begin_confirmation(home.bob, PARTY, HERE)
    with pytest.raises(WrongPasskey):
        await home.passkeys.confirm(home.bob, Assertion(**home.device.use(options)), HERE)
    with pytest.raises(WrongPasskey):
        await home.passkeys.sign_in(ticket, Assertion(**home.device.use(asked)), HERE)


async def test_sign_in_that_ended_meanwhile_is_not_begun_anew(home: Home) -> None:
    await home.add_passkey()
    options = await home.passkeys.begin_confirmation(home.bob, PARTY, HERE)
    answer = Assertion(**home.device.use(options))
    await home.accounts.sign_out_everywhere(home.bob.actor, HERE)
    with pytest.raises(NotAuthenticated, match="ended meanwhile"):
        await home.passkeys.confirm(home.bob, answer, HERE)
    assert await home.accounts.list_sessions(home.bob.actor, "") == []


async def test_name_deletes_the_account_where_the_proxy_vouches_for_nothing_else(
    home: Home,
) -> None:
    with pytest.raises(InvalidRequest, match="not your name") as refusal:
        await home.accounts.delete(home.bob, None, VOUCHED, name="Bobby")
    assert (refusal.value.field, refusal.value.hint) == (
        "name",
        "Write it as it stands here: Bob",
    )
    with pytest.raises(NoPassword, match="no password") as refusal_of_none:
        await home.accounts.delete(home.bob, None, VOUCHED)
    assert "by your name" in refusal_of_none.value.hint
    for call in (
        lambda: home.accounts.change_password(home.bob, None, GOOD, VOUCHED),
        lambda: home.accounts.change_password(home.bob, "Bob", GOOD, VOUCHED),
        lambda: home.passkeys.begin_adding(home.bob, "Phone", None, PARTY, VOUCHED),
    ):
        with pytest.raises(NoPassword):
            await call()
    await home.accounts.delete(home.bob, None, VOUCHED, name=" BOB")
    assert not await home.is_there()


@pytest.mark.parametrize("vouched", [None, "", "ann", "bób", "bob "])
async def test_name_does_nothing_past_the_proxy(home: Home, vouched: str | None) -> None:
    sender = replace(HERE, vouched=vouched)
    with pytest.raises(NoPassword):
        await home.accounts.delete(home.bob, None, sender, name="Bob")
    assert await home.is_there()


async def test_name_does_nothing_where_there_is_something_better(home: Home) -> None:
    await home.link()
    with pytest.raises(NoPassword):
        await home.accounts.delete(home.bob, None, VOUCHED, name="Bob")
    assert await home.is_there()
