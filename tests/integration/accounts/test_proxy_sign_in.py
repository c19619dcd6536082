"""Signing in by the word of a named proxy, and by nobody else's."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from argon2 import PasswordHasher

from tests.authenticator import Authenticator
from tests.integration.api.conftest import ORIGIN, PASSWORD, Household
from webui.accounts import passwords
from webui.api.door import COOKIE, TICKET
from webui.app import create_app
from webui.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    MakeHouse = Callable[..., Awaitable[Household]]

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

PROXY = "192.0.2.10"
PAGE = {"sec-fetch-site": "none", "sec-fetch-mode": "navigate"}


@pytest.fixture
async def make_house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MakeHouse]:
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(passwords, "PasswordHasher", lambda **_: cheap)
    async with AsyncExitStack() as stack:

        async def make(*, is_filled: bool = True, **more: Any) -> Household:
            settings = Settings(
                data_dir=tmp_path / "data",
                models_dir=tmp_path,
                fake_engine=2000,
                trusted_proxy=(PROXY,),
                trusted_user_header="Remote-User",
                **more,
            )
            household = Household(create_app(settings, draw=_no_drawing))
            await stack.enter_async_context(household.app.router.lifespan_context(household.app))
            if is_filled:
                await household.fill()
            return household

        yield make


def _no_drawing(*_: Any) -> Any:
    raise RuntimeError("the shell is a whole page")


@pytest.fixture
async def household(make_house: MakeHouse) -> Household:
    return await make_house()


def through(household: Household, user: str | None, *, peer: str = PROXY) -> httpx.AsyncClient:
    """Return a browser behind a proxy that names somebody."""
    headers = {"x-forwarded-for": "203.0.113.9", "x-forwarded-proto": "http"}
    headers |= {} if user is None else {"remote-user": user}
    transport = httpx.ASGITransport(household.app, client=(peer, 1))
    return httpx.AsyncClient(transport=transport, base_url=ORIGIN, headers=headers)


async def who(client: httpx.AsyncClient) -> str | None:
    user = (await client.get("/api/session")).json()["user"]
    return None if user is None else str(user["name"])


async def test_person_of_that_name_is_signed_in_when_the_page_opens(household: Household) -> None:
    browser = through(household, "bob")
    assert (await browser.get("/api/me")).status_code == 401
    answer = await browser.get("/c/abc-1", headers=PAGE)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert "HttpOnly" in answer.headers["set-cookie"]
    assert (await browser.get("/api/me")).json()["user"]["name"] == "Bob"
    token = browser.cookies[COOKIE]
    again = await browser.get("/", headers=PAGE)
    assert again.status_code == 200
    assert "set-cookie" not in again.headers
    assert browser.cookies[COOKIE] == token
    entries = (await household.clients["Ann"].get("/api/audit")).json()["entries"]
    assert (entries[0]["actor_name"], entries[0]["action"]) == ("Bob", "sign_in")
    assert entries[0]["about"].endswith("by the proxy")
    assert entries[0]["address"] == "203.0.113.9"
    sessions = (await browser.get("/api/sessions")).json()["sessions"]
    assert [one["way"] for one in sessions if one["is_current"]] == ["proxy"]


@pytest.mark.parametrize("peer", ["192.0.2.11", "127.0.0.1", "203.0.113.9", "::1"])
async def test_header_from_anybody_else_is_nothing(household: Household, peer: str) -> None:
    browser = through(household, "Ann", peer=peer)
    answer = await browser.get("/", headers=PAGE)
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
    assert "set-cookie" not in answer.headers
    assert (await browser.get("/api/session")).json()["proxy_user"] is None
    assert (await browser.get("/api/users")).status_code == 401
    assert await who(browser) is None


async def test_claim_to_come_from_the_proxy_is_nothing(household: Household) -> None:
    browser = through(household, "Ann", peer="203.0.113.9")
    browser.headers["x-forwarded-for"] = f"{PROXY}, {PROXY}"
    browser.headers["x-real-ip"] = PROXY
    assert (await browser.get("/", headers=PAGE)).status_code == 303
    assert await who(browser) is None


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("Zed", "has no account here"),
        ("Bob, Ann", "names somebody in a way"),
        ("<script>alert(1)</script>", "names somebody in a way"),
        ("x" * 300, "names somebody in a way"),
    ],
)
async def test_unknown_person_is_told_so_on_the_way_in(
    household: Household, name: str, code: str
) -> None:
    browser = through(household, name)
    answer = await browser.get("/", headers=PAGE)
    assert answer.status_code == 401
    assert answer.headers["content-type"].startswith("text/html")
    assert 'id="refusal"' in answer.text
    assert code in answer.text
    assert "<script>alert" not in answer.text
    assert "set-cookie" not in answer.headers
    assert await who(browser) is None


@pytest.mark.parametrize("name", ["\uff22ob", "Bob\u200b", "Ⓑob"])
async def test_name_that_only_looks_alike_lets_nobody_in(household: Household, name: str) -> None:
    browser = through(household, None)
    raw = [(b"remote-user", name.encode())]
    answer = await browser.get("/", headers=[*browser.headers.raw, *raw])
    assert answer.status_code == 401
    assert await who(browser) is None


async def test_two_names_are_nobodys(household: Household) -> None:
    browser = through(household, None)
    raw = [(b"remote-user", b"Bob"), (b"remote-user", b"Ann")]
    answer = await browser.get("/", headers=[*browser.headers.raw, *raw])
    assert answer.status_code == 401
    assert await who(browser) is None


async def test_cookie_of_somebody_else_counts_for_nothing(household: Household) -> None:
    token = await household.sign_in("Ann")
    browser = through(household, "bob")
    browser.cookies.set(COOKIE, token, domain="localhost.local", path="/")
    assert (await browser.get("/api/users")).status_code == 401
    assert (await browser.get("/", headers=PAGE)).status_code == 200
    assert await who(browser) == "Bob"
    assert (await household.client(token).get("/api/me")).status_code == 401  # it was left


async def test_disabled_person_stays_out_and_is_cut_off(household: Household) -> None:
    browser = through(household, "bob")
    await browser.get("/", headers=PAGE)
    place = f"/api/users/{household.ids['Bob']}"
    await household.clients["Ann"].patch(place, json={"is_disabled": True})
    assert await who(browser) is None
    answer = await browser.get("/", headers=PAGE)
    assert answer.status_code == 401
    assert "disabled" in answer.text


async def test_other_sites_can_do_nothing_with_it(household: Household) -> None:
    browser = through(household, "bob")
    await browser.get("/", headers=PAGE)
    for headers in (
        {"origin": "https://evil.example"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {},
    ):
        answer = await browser.post("/api/conversations", json={}, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "cross_site")
    good = {"origin": ORIGIN}
    assert (await browser.post("/api/conversations", json={}, headers=good)).status_code == 201


async def test_after_signing_out_the_way_in_says_who_may_go_on(household: Household) -> None:
    browser = through(household, "bob")
    await browser.get("/", headers=PAGE)
    await browser.delete("/api/session", headers={"origin": ORIGIN})
    assert await who(browser) is None
    assert (await browser.get("/sign-in", headers=PAGE)).status_code == 200
    assert await who(browser) is None
    assert (await browser.get("/api/session")).json()["proxy_user"] == "bob"


async def test_password_of_somebody_else_is_not_taken(household: Household) -> None:
    browser = through(household, "bob")
    for name, status in (("Ann", 403), ("Bob", 200)):
        body = {"name": name, "password": PASSWORD}
        answer = await browser.post("/api/session", json=body, headers={"origin": ORIGIN})
        assert answer.status_code == status


async def test_where_the_proxy_names_nobody_passwords_work(household: Household) -> None:
    browser = through(household, None)
    assert (await browser.get("/", headers=PAGE)).status_code == 303
    body = {"name": "Bob", "password": PASSWORD}
    await browser.post("/api/session", json=body, headers={"origin": ORIGIN})
    assert await who(browser) == "Bob"


async def test_api_key_counts_and_the_header_does_not(household: Household) -> None:
    made = await household.clients["Bob"].post("/api/keys", json={"name": "x"})
    program = through(household, "Ann")
    headers = {"authorization": f"Bearer {made.json()['key']}"}
    assert (await program.get("/v1/models", headers=headers)).status_code == 200
    assert (await program.get("/api/users", headers=headers)).status_code == 403


async def test_before_there_is_an_administrator_the_header_makes_none(make_house) -> None:
    household = await make_house(is_filled=False, trusted_user_auto_create=True)
    answer = await through(household, "Ann").get("/", headers=PAGE)
    assert answer.headers["location"] == "/first-run"


async def test_accounts_are_made_where_that_is_wanted(make_house: MakeHouse) -> None:
    household = await make_house(trusted_user_auto_create=True)
    browser = through(household, "Zed")
    assert (await browser.get("/", headers=PAGE)).status_code == 200
    me = (await browser.get("/api/me")).json()["user"]
    assert (me["name"], me["role"]) == ("Zed", "user")
    again = through(household, "zed")
    await again.get("/", headers=PAGE)
    assert (await again.get("/api/me")).json()["user"]["id"] == me["id"]
    bad = through(household, "a/b")
    assert (await bad.get("/", headers=PAGE)).status_code == 401


async def test_made_up_password_is_void_once_they_come_so(household: Household) -> None:
    ann = household.clients["Ann"]
    made = (await ann.post("/api/users", json={"name": "Dora"})).json()
    browser = through(household, "dora")
    assert (await browser.get("/", headers=PAGE)).status_code == 200
    assert (await browser.get("/api/conversations")).status_code == 200
    body = {"name": "Dora", "password": made["password"]}
    assert (await household.client().post("/api/session", json=body)).status_code == 401


async def test_name_deletes_the_account_where_the_proxy_vouches_for_it(
    household: Household,
) -> None:
    await household.clients["Ann"].post("/api/users", json={"name": "Dora"})
    browser = through(household, "dora")
    browser.headers["origin"] = ORIGIN
    await browser.get("/", headers=PAGE)
    found = (await browser.get("/api/confirmation")).json()
    assert found == {"confirmation": {"by": ["name"], "is_confirmed": False}, "provider": None}
    # Her cookie in other hands: past the proxy, by a proxy that names nobody, or somebody else.
    for user, peer, status in (
        ("dora", "203.0.113.9", 409),
        (None, PROXY, 409),
        ("bob", PROXY, 401),
    ):
        thief = through(household, user, peer=peer)
        thief.headers.update({"origin": ORIGIN, "cookie": f"{COOKIE}={browser.cookies[COOKIE]}"})
        answer = await thief.request("DELETE", "/api/me", json={"name": "Dora"})
        assert answer.status_code == status, (user, peer, answer.text)
    for body, code in (
        ({}, "no_password"),
        ({"password": "Dora"}, "no_password"),
        ({"name": "Ann"}, "invalid_request"),
    ):
        answer = await browser.request("DELETE", "/api/me", json=body)
        assert answer.json()["error"]["code"] == code
    answer = await browser.request("PUT", "/api/me/password", json={"new": PASSWORD})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "no_password")
    answer = await browser.request(
        "DELETE", "/api/me", json={"name": "dora"}, headers={"sec-fetch-site": "cross-site"}
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "cross_site")
    answer = await browser.request("DELETE", "/api/me", json={"name": "dora"})
    assert answer.status_code == 204
    users = (await household.clients["Ann"].get("/api/users")).json()["users"]
    assert "Dora" not in {one["name"] for one in users}


async def test_program_that_keeps_no_cookie_is_slowed_down(household: Household) -> None:
    browser = through(household, "bob")
    for _ in range(70):
        browser.cookies.clear()
        answer = await browser.get("/", headers=PAGE)
    assert answer.status_code == 429
    assert "requests a second" in answer.text
    entries = (await household.clients["Ann"].get("/api/audit")).json()["entries"]
    assert sum(one["about"].endswith("by the proxy") for one in entries) < 60
    assert (await through(household, "Ann").get("/", headers=PAGE)).status_code == 200


async def test_passkey_of_somebody_else_is_not_taken(household: Household) -> None:
    for name, status in (("Ann", 403), ("Bob", 200)):
        device, client = Authenticator(ORIGIN), household.clients[name]
        body = {"name": "Phone", "password": PASSWORD}
        options = (await client.post("/api/passkeys/options", json=body)).json()["options"]
        added = await client.post("/api/passkeys", json=device.make(options))
        assert added.status_code == 201, added.text
        browser = through(household, "bob")
        browser.headers["origin"] = ORIGIN
        options = (await browser.post("/api/session/passkey/options")).json()["options"]
        answer = await browser.post("/api/session/passkey", json=device.use(options))
        assert answer.status_code == status, answer.text
        assert await who(browser) == (None if status == 403 else "Bob")


async def test_cookie_hidden_in_another_counts_for_nothing(household: Household) -> None:
    token = await household.sign_in("Ann")
    for sly in (
        f'{TICKET}="x\\073 {COOKIE}={token}"',
        f"{TICKET}=x {COOKIE}={token}",
        f"{TICKET}=x;{COOKIE}={token}",
    ):
        browser = through(household, "bob")
        answer = await browser.get("/api/session", headers={"cookie": sly})
        assert answer.json()["user"] is None


async def test_unknown_names_are_slowed_down(household: Household) -> None:
    browser = through(household, "Zed")
    texts = [(await browser.get("/", headers=PAGE)).text for _ in range(8)]
    assert "has no account" in texts[0]
    assert "too many wrong attempts" in texts[-1]
