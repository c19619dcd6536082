"""Passkeys with a device in software: adding, signing in, and all that must not let anybody in."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url, encode_cbor

from tests.authenticator import BACKED_UP, MAY_BE_BACKED_UP, PRESENT, VERIFIED, Authenticator
from tests.unit.accounts.conftest import GOOD, HERE, OTHER, House
from webui.accounts.ceremony import Assertion, Attestation
from webui.accounts.challenges import LASTS_S, ChallengeOver
from webui.accounts.enabled import AccountDisabled
from webui.accounts.identity import Identity, Sender, Source
from webui.accounts.passkeys import MAX_PASSKEYS, Passkeys, WrongPasskey
from webui.accounts.relying_party import RelyingParty
from webui.accounts.throttle import PAIR, TooManyAttempts
from webui.accounts.users import UserChange
from webui.actor import UserRole, local_actor
from webui.errors import (
    Conflict,
    InvalidRequest,
    NotAuthenticated,
    NotFound,
    PermissionDenied,
)
from webui.storage import audit, credentials, users
from webui.storage import passkeys as rows

if TYPE_CHECKING:
    from webui.accounts.accounts import SignedIn

PARTY = RelyingParty("localhost", "http://localhost:7860")
ELSEWHERE = "https://evil.example"


class Home:
    """Ann, the administrator, signed in, with passkeys to be had."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.passkeys = Passkeys(house.database, house.accounts, house.clock)
        self.ann: Identity
        self.device = Authenticator(PARTY.origin)

    async def begin(self) -> dict[str, Any]:
        return await self.passkeys.begin_adding(self.ann, "Phone", GOOD, PARTY, HERE)

    async def add(self, device: Authenticator, identity: Identity | None = None, **twists: Any):
        identity = identity or self.ann
        password = GOOD if identity is self.ann else OTHER
        options = await self.passkeys.begin_adding(identity, "Phone", password, PARTY, HERE)
        answer = Attestation(**device.make(options, **twists))
        return await self.passkeys.add(identity, answer, HERE)

    async def sign_in(
        self, device: Authenticator, sender: Sender = HERE, **twists: Any
    ) -> SignedIn:
        ticket, options = self.passkeys.begin_sign_in(PARTY, sender)
        answer = Assertion(**device.use(options, **twists))
        return await self.passkeys.sign_in(ticket, answer, sender)

    async def bob(self, role: UserRole = UserRole.USER) -> Identity:
        await self.house.users.add(self.ann.actor, "Bob", HERE, role=role, password=OTHER)
        signed_in = await self.house.accounts.sign_in("Bob", OTHER, HERE)
        return await self.house.identity(signed_in.token)

    async def actions(self) -> list[str]:
        return [row.action for row in await self.house.database.read(audit.list_newest, limit=50)]


@pytest.fixture
async def home(house: House) -> Home:
    home = Home(house)
    home.ann = await house.identity(await house.claim())
    return home


async def test_passkey_is_added_listed_named_and_removed(home: Home) -> None:
    made = await home.add(home.device, flags=PRESENT | VERIFIED | MAY_BE_BACKED_UP | BACKED_UP)
    assert (made.name, made.is_backed_up, made.last_used_at) == ("Phone", True, None)
    actor = home.ann.actor
    assert await home.passkeys.list(actor) == [made]
    renamed = await home.passkeys.rename(actor, made.id, "  Old   phone ")
    assert renamed.name == "Old phone"
    await home.passkeys.delete(actor, made.id, HERE)
    assert await home.passkeys.list(actor) == []
    assert (await home.actions())[:2] == ["delete_passkey", "add_passkey"]
    with pytest.raises(NotFound):
        await home.passkeys.delete(actor, made.id, HERE)
    with pytest.raises(WrongPasskey):
        await home.sign_in(home.device)


async def test_options_ask_for_what_a_sign_in_without_a_name_needs(home: Home) -> None:
    await home.add(home.device)
    options = await home.begin()
    chosen = options["authenticatorSelection"]
    assert chosen["residentKey"] == chosen["userVerification"] == "required"
    assert options["attestation"] == "none"
    assert options["rp"] == {"id": "localhost", "name": "Hearthside"}
    assert [one["id"] for one in options["excludeCredentials"]] == [
        bytes_to_base64url(home.device.id)
    ]
    assert options["user"] | {"id": ""} == {"id": "", "name": "Ann", "displayName": "Ann"}
    # Two servers under one name, each with an id for its first user, are told apart.
    assert len(base64url_to_bytes(options["user"]["id"])) == 32
    _, options = home.passkeys.begin_sign_in(PARTY, HERE)
    assert options["userVerification"] == "required"
    assert not options.get("allowCredentials")


async def test_passkey_signs_in_as_a_password_does(home: Home) -> None:
    made = await home.add(home.device)
    signed_in = await home.sign_in(home.device, Sender("192.0.2.9", "Safari, iPhone"))
    identity = await home.house.identity(signed_in.token)
    assert (identity.actor, identity.source) == (home.ann.actor, Source.SESSION)
    (used,) = await home.passkeys.list(identity.actor)
    assert used.last_used_at is not None
    assert used.id == made.id
    sessions = await home.house.accounts.list_sessions(identity.actor, identity.id)
    assert [(one.device, one.way) for one in sessions if one.is_current] == [
        ("Safari, iPhone", "passkey")
    ]
    entry = (await home.house.database.read(audit.list_newest, limit=1))[0]
    assert (entry.action, entry.about, entry.address) == (
        "sign_in",
        "Safari, iPhone by Phone",
        "192.0.2.9",
    )


async def test_device_that_does_not_count_signs_in_again_and_again(home: Home) -> None:
    device = Authenticator(PARTY.origin, counts=False)
    await home.add(device)
    for _ in range(3):
        await home.sign_in(device)


async def test_passkey_of_a_maker_who_signs_for_it_is_taken_without_looking(home: Home) -> None:
    whole = {"fmt": "packed", "attStmt": {"alg": -7, "sig": b"?", "x5c": [b"no certificate"]}}
    await home.add(home.device, whole=whole)
    await home.sign_in(home.device)


@pytest.mark.parametrize(
    "twists",
    [
        pytest.param({"origin": ELSEWHERE}, id="origin"),
        pytest.param({"origin": "https://localhost:7860"}, id="scheme"),
        pytest.param({"origin": "http://localhost:7861"}, id="port"),
        pytest.param({"origin": "http://localhost"}, id="no port"),
        pytest.param({"rp_id": "evil.example"}, id="rp"),
        pytest.param({"challenge": bytes_to_base64url(bytes(32))}, id="challenge"),
        pytest.param({"challenge": "%%%"}, id="challenge no base64"),
        pytest.param({"challenge": 5}, id="challenge no text"),
        pytest.param({"kind": "webauthn.create"}, id="kind"),
        pytest.param({"cross_origin": True}, id="in a frame"),
        pytest.param({"flags": PRESENT}, id="not verified"),
        pytest.param({"flags": VERIFIED}, id="nobody there"),
        pytest.param({"flags": PRESENT | VERIFIED | BACKED_UP}, id="flags contradict"),
        pytest.param({"key": ec.generate_private_key(ec.SECP256R1())}, id="key"),
        pytest.param({"handle": b"somebody else"}, id="handle"),
        pytest.param({"handle": b""}, id="no handle"),
    ],
)
async def test_wrong_proof_lets_nobody_in(home: Home, twists: dict[str, Any]) -> None:
    await home.add(home.device)
    with pytest.raises(WrongPasskey):
        await home.sign_in(home.device, **twists)
    await home.sign_in(home.device)  # the right one does


@pytest.mark.parametrize(
    "twists",
    [
        pytest.param({"origin": ELSEWHERE}, id="origin"),
        pytest.param({"rp_id": "evil.example"}, id="rp"),
        pytest.param({"challenge": bytes_to_base64url(bytes(32))}, id="challenge"),
        pytest.param({"kind": "webauthn.get"}, id="kind"),
        pytest.param({"cross_origin": True}, id="in a frame"),
        pytest.param({"flags": PRESENT}, id="not verified"),
        pytest.param({"whole": {"authData": b""}}, id="no data"),
        pytest.param({"whole": {"authData": 5}}, id="data of another kind"),
        pytest.param({"whole": {"authData": bytes(37)}}, id="data without a key"),
        pytest.param({"cose": {3: -65535}}, id="sha1"),
        pytest.param({"cose": {1: 99}}, id="kind of key"),
        pytest.param({"cose": {-2: "text"}}, id="key of text"),
        pytest.param({"cose": {-2: b"\1" * 32}}, id="point off the curve"),
        pytest.param({"cose": {-2: bytes(5000)}}, id="large key"),
    ],
)
async def test_passkey_that_is_not_what_was_asked_for_is_not_kept(
    home: Home, twists: dict[str, Any]
) -> None:
    with pytest.raises(InvalidRequest):
        await home.add(home.device, **twists)
    assert await home.passkeys.list(home.ann.actor) == []


GARBAGE = ["", "A", "AAAA", "A" * 4000, bytes_to_base64url(b"{" * 2000)]
NESTED = [
    bytes_to_base64url(b"\x81" * 20_000),  # lists in lists
    bytes_to_base64url(b"\x9b" + b"\xff" * 8),  # a list of 2^64 things
    bytes_to_base64url(b"\x5b\x7f" + b"\xff" * 7),  # bytes without end
    bytes_to_base64url(encode_cbor([1, 2])),
    bytes_to_base64url(encode_cbor({})),
    bytes_to_base64url(b"[" * 5000),
    bytes_to_base64url(b'{"type": {}, "challenge": [], "origin": null}'),
    bytes_to_base64url(b"\xff\xfe"),
]


@pytest.mark.parametrize("part", ["id", "client_data", "attestation"])
async def test_garbage_makes_no_passkey(home: Home, part: str) -> None:
    for text in GARBAGE + NESTED:
        answer = home.device.make(await home.begin()) | {part: text}
        with pytest.raises(InvalidRequest):
            await home.passkeys.add(home.ann, Attestation(**answer), HERE)
    assert await home.passkeys.list(home.ann.actor) == []


@pytest.mark.parametrize("part", ["client_data", "authenticator_data", "signature", "user_handle"])
async def test_garbage_lets_nobody_in(home: Home, part: str) -> None:
    await home.add(home.device)
    for text in GARBAGE + NESTED:
        home.house.clock.now_s += LASTS_S
        ticket, options = home.passkeys.begin_sign_in(PARTY, HERE)
        answer = home.device.use(options) | {part: text}
        with pytest.raises(WrongPasskey):
            await home.passkeys.sign_in(ticket, Assertion(**answer), HERE)


async def test_challenge_is_good_once_in_its_browser_and_in_time(home: Home) -> None:
    await home.add(home.device)
    sign_in = home.passkeys.sign_in
    ticket, options = home.passkeys.begin_sign_in(PARTY, HERE)
    answer = Assertion(**home.device.use(options))
    await sign_in(ticket, answer, HERE)
    with pytest.raises(ChallengeOver):
        await sign_in(ticket, answer, HERE)  # again
    other, _ = home.passkeys.begin_sign_in(PARTY, HERE)
    with pytest.raises(WrongPasskey):
        await sign_in(other, answer, HERE)  # what another browser was asked
    ticket, options = home.passkeys.begin_sign_in(PARTY, HERE)
    answer = Assertion(**home.device.use(options))
    for wrong in ("", "x", home.passkeys.begin_sign_in(PARTY, HERE)[0]):
        with pytest.raises((ChallengeOver, WrongPasskey)):
            await sign_in(wrong, answer, HERE)
    home.house.clock.now_s += LASTS_S
    with pytest.raises(ChallengeOver):
        await sign_in(ticket, answer, HERE)
    await home.sign_in(home.device)


async def test_wrong_answer_spends_the_challenge(home: Home) -> None:
    await home.add(home.device)
    ticket, options = home.passkeys.begin_sign_in(PARTY, HERE)
    right = home.device.use(options)
    with pytest.raises(WrongPasskey):
        await home.passkeys.sign_in(ticket, Assertion(**right | {"signature": "AAAA"}), HERE)
    with pytest.raises(ChallengeOver):
        await home.passkeys.sign_in(ticket, Assertion(**right), HERE)


async def test_unknown_passkey_gets_the_answer_of_a_wrong_one(home: Home) -> None:
    await home.add(home.device)
    answers = []
    for device, twists in ((Authenticator(PARTY.origin), {}), (home.device, {"handle": b"?"})):
        with pytest.raises(WrongPasskey) as caught:
            await home.sign_in(device, **twists)
        answers.append((caught.value.message, caught.value.hint, caught.value.code))
    assert answers[0] == answers[1]


async def test_copy_that_counts_less_is_refused_and_written_down(home: Home) -> None:
    await home.add(home.device)
    for _ in range(3):
        await home.sign_in(home.device)
    home.device.num_used = 1  # the next is the second
    with pytest.raises(WrongPasskey):
        await home.sign_in(home.device)
    entry = (await home.house.database.read(audit.list_newest, limit=1))[0]
    assert (entry.action, entry.about) == (
        "refuse_passkey",
        "Phone counted 2 after 3: it may be a copy",
    )
    home.device.num_used = 2  # the same count again
    with pytest.raises(WrongPasskey):
        await home.sign_in(home.device)
    await home.sign_in(home.device)


async def test_count_that_nobody_signed_is_not_written_down(home: Home) -> None:
    await home.add(home.device)
    await home.sign_in(home.device)
    home.device.num_used = 0
    with pytest.raises(WrongPasskey):
        await home.sign_in(home.device, key=ec.generate_private_key(ec.SECP256R1()))
    assert "refuse_passkey" not in await home.actions()


async def test_one_answer_shown_many_times_at_once_lets_in_once(home: Home) -> None:
    await home.add(home.device)
    ticket, options = home.passkeys.begin_sign_in(PARTY, HERE)
    answer = Assertion(**home.device.use(options))
    shown = [home.passkeys.sign_in(ticket, answer, HERE) for _ in range(PAIR.num_free)]
    ends = await asyncio.gather(*shown, return_exceptions=True)
    assert sum(not isinstance(end, BaseException) for end in ends) == 1


async def test_wrong_ones_are_slowed_down_as_wrong_passwords_are(home: Home) -> None:
    await home.add(home.device)
    there = Sender("203.0.113.7")
    for _ in range(PAIR.num_free):
        with pytest.raises(WrongPasskey):
            await home.sign_in(home.device, there, handle=b"?")
    with pytest.raises(TooManyAttempts):
        await home.sign_in(home.device, there)
    for _ in range(20):
        with pytest.raises((WrongPasskey, TooManyAttempts)):
            await home.sign_in(Authenticator(PARTY.origin), there)
    with pytest.raises(TooManyAttempts):  # another one each time is no way around
        await home.sign_in(Authenticator(PARTY.origin), there)
    await home.sign_in(home.device)


async def test_adding_asks_for_the_password_and_counts_guesses(home: Home) -> None:
    for _ in range(PAIR.num_free):
        with pytest.raises(InvalidRequest) as caught:
            await home.passkeys.begin_adding(home.ann, "Phone", "wrong wrong", PARTY, HERE)
        assert caught.value.field == "password"
    with pytest.raises(TooManyAttempts):
        await home.begin()


@pytest.mark.parametrize("name", ["", "  ", "x" * 61, "a\u202eb", "a\0b"])
async def test_name_must_be_one_that_can_be_seen(home: Home, name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await home.passkeys.begin_adding(home.ann, name, GOOD, PARTY, HERE)
    assert caught.value.field == "name"
    made = await home.add(home.device)
    with pytest.raises(InvalidRequest):
        await home.passkeys.rename(home.ann.actor, made.id, name)


async def test_what_one_sign_in_asked_for_another_cannot_add(home: Home) -> None:
    bob = await home.bob()
    answer = Attestation(**home.device.make(await home.begin()))
    with pytest.raises(ChallengeOver):
        await home.passkeys.add(bob, answer, HERE)
    again = await home.house.accounts.sign_in("Ann", GOOD, HERE)
    with pytest.raises(ChallengeOver):
        await home.passkeys.add(await home.house.identity(again.token), answer, HERE)
    await home.passkeys.add(home.ann, answer, HERE)
    with pytest.raises(ChallengeOver):
        await home.passkeys.add(home.ann, answer, HERE)


async def test_passkey_that_its_sign_in_did_not_live_to_see_is_not_kept(home: Home) -> None:
    bob = await home.bob()
    options = await home.passkeys.begin_adding(bob, "Phone", OTHER, PARTY, HERE)
    answer = Attestation(**home.device.make(options))
    await home.house.users.reset_password(home.ann.actor, bob.actor.user_id, HERE)
    with pytest.raises(NotAuthenticated, match="ended meanwhile"):
        await home.passkeys.add(bob, answer, HERE)
    assert await home.passkeys.list(bob.actor) == []


async def test_passkey_of_one_is_not_there_for_another(home: Home) -> None:
    bob = await home.bob()
    made = await home.add(home.device)
    handle = home.device.handle
    assert await home.passkeys.list(bob.actor) == []
    with pytest.raises(NotFound):
        await home.passkeys.rename(bob.actor, made.id, "Mine")
    with pytest.raises(NotFound):
        await home.passkeys.delete(bob.actor, made.id, HERE)
    with pytest.raises(Conflict):
        await home.add(home.device, bob)  # the same id
    home.device.handle = handle
    await home.sign_in(home.device)


async def test_nobody_has_more_than_so_many(home: Home) -> None:
    for _ in range(MAX_PASSKEYS):
        await home.add(Authenticator(PARTY.origin))
    with pytest.raises(Conflict, match=str(MAX_PASSKEYS)):
        await home.begin()


async def test_guests_and_the_machine_itself_have_none(home: Home) -> None:
    guest = await home.bob(UserRole.GUEST)
    with pytest.raises(PermissionDenied):
        await home.passkeys.begin_adding(guest, "x", OTHER, PARTY, HERE)
    local = Identity(actor=local_actor(), source=Source.LOCAL)
    with pytest.raises(Conflict):
        await home.passkeys.begin_adding(local, "x", GOOD, PARTY, HERE)


async def test_passkey_signs_in_after_a_restart_too(home: Home) -> None:
    await home.add(home.device)
    home.house.begin()
    await home.house.accounts.open()
    home.passkeys = Passkeys(home.house.database, home.house.accounts, home.house.clock)
    await home.sign_in(home.device)


async def test_shut_account_stays_shut_until_it_is_opened(home: Home) -> None:
    bob = await home.bob()
    await home.add(home.device, bob)
    change = home.house.users.change
    await change(home.ann.actor, bob.actor.user_id, UserChange(is_disabled=True), HERE)
    with pytest.raises(AccountDisabled):
        await home.sign_in(home.device)
    await change(home.ann.actor, bob.actor.user_id, UserChange(is_disabled=False), HERE)
    await home.sign_in(home.device)


async def test_password_set_by_an_administrator_takes_passkeys_away(home: Home) -> None:
    bob = await home.bob()
    await home.add(home.device, bob)
    await home.house.users.reset_password(home.ann.actor, bob.actor.user_id, HERE)
    assert await home.passkeys.list(bob.actor) == []
    with pytest.raises(WrongPasskey):
        await home.sign_in(home.device)
    entry = next(
        row
        for row in await home.house.database.read(audit.list_newest, limit=9)
        if row.action == "reset_password"
    )
    assert entry.about == "Bob; removed 1 of their passkeys"


async def test_own_new_password_and_signing_out_everywhere_leave_passkeys(home: Home) -> None:
    await home.add(home.device)
    accounts = home.house.accounts
    await accounts.change_password(home.ann, GOOD, "third row of words", HERE)
    await accounts.sign_out_everywhere(home.ann.actor, HERE)
    await home.sign_in(home.device)


async def test_password_that_must_be_changed_must_be_so_after_a_passkey_too(home: Home) -> None:
    await home.add(home.device)

    def order(session: Any) -> None:
        users.get(session, home.ann.actor.user_id).must_change_password = True

    await home.house.database.run(order)
    signed_in = await home.sign_in(home.device)
    assert (await home.house.identity(signed_in.token)).must_change_password


async def test_passkeys_go_with_the_account(home: Home) -> None:
    bob = await home.bob()
    await home.add(home.device, bob)
    await home.house.accounts.delete(bob, OTHER, HERE)
    credential_id = bytes_to_base64url(home.device.id)
    assert await home.house.database.read(credentials.find_passkey, credential_id) is None
    assert await home.house.database.read(rows.list_oldest, bob.actor.user_id) == []
    with pytest.raises(WrongPasskey):
        await home.sign_in(home.device)
