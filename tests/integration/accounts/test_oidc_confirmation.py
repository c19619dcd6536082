"""Confirming at the provider, for who has no password: what does, and what never must."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.authenticator import Authenticator
from tests.integration.accounts.conftest import Browser, actions, code_of, link_bob
from tests.integration.api.conftest import ORIGIN, PASSWORD, Household
from webui.accounts.confirmation import LASTS_S
from webui.accounts.throttle import Throttle
from webui.api.door import COOKIE
from webui.api.oidc import BROWSER_COOKIE, CALLBACK
from webui.network.provider import Provider
from webui.storage import external_identities

if TYPE_CHECKING:
    import httpx

    from tests.oidc_provider import OidcProvider

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

BEGIN = "/api/confirmation/provider"


class Dora(Browser):
    """The browser of somebody for whom an account was made when they came: no password."""

    async def ask(self, method: str, path: str, body: Any = None) -> httpx.Response:
        headers = {"origin": ORIGIN}
        return await self.client.request(method, path, json=body, headers=headers)

    async def begin_confirmation(self, next_path: str = "/") -> str:
        answer = await self.ask("POST", BEGIN, {"next": next_path})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["url"])

    async def confirm(self, provider: OidcProvider, next_path: str = "/") -> httpx.Response:
        return await self.come_back(provider.come_back(await self.begin_confirmation(next_path)))

    async def is_confirmed(self) -> bool:
        found = (await self.client.get("/api/confirmation")).json()["confirmation"]
        return bool(found["is_confirmed"])

    async def delete(self) -> httpx.Response:
        return await self.ask("DELETE", "/api/me", {})


@pytest.fixture
async def household(make_house) -> Household:
    made: Household = await make_house(oidc_auto_create=True)
    return made


@pytest.fixture
async def dora(household, provider) -> Dora:
    provider.subject, provider.claims = "dora-there", {"preferred_username": "Dora"}
    dora = Dora(household)
    await dora.sign_in(provider)
    assert (await dora.user())["name"] == "Dora"
    return dora


async def names(household: Household) -> list[str]:
    users = (await household.clients["Ann"].get("/api/users")).json()["users"]
    return [one["name"] for one in users]


def stolen(household: Household, dora: Dora) -> Dora:
    """Return the browser of a thief, who has the cookie of the sign-in and nothing else."""
    assert dora.token is not None
    return Dora(household, dora.token)


async def test_account_is_deleted_once_its_owner_signed_in_anew(household, provider, dora) -> None:
    before = dora.token
    assert (await dora.client.get("/api/confirmation")).json() == {
        "confirmation": {"by": ["provider"], "is_confirmed": False},
        "provider": "Login",
    }
    assert code_of(await dora.delete()) == "no_password"
    answer = await dora.confirm(provider, "/c/abc-1")
    assert (answer.status_code, answer.headers["location"]) == (303, "/c/abc-1")
    assert await dora.is_confirmed()
    said = (await actions(household))[0]
    assert said.startswith("Dora: confirm ")
    assert said.endswith("by Login")
    assert dora.token != before
    assert (await household.client(before).get("/api/me")).status_code == 401
    sessions = (await dora.client.get("/api/sessions")).json()["sessions"]
    assert [(one["way"], one["is_current"]) for one in sessions] == [("provider", True)]
    assert (await dora.delete()).status_code == 204
    assert "Dora" not in await names(household)
    assert await dora.user() is None


async def test_provider_is_asked_to_have_them_sign_in_anew(provider, dora) -> None:
    query = parse_qs(urlsplit(await dora.begin_confirmation()).query)
    assert (query["prompt"], query["max_age"]) == (["login"], ["0"])
    plain = parse_qs(urlsplit(await dora.begin()).query)
    assert not {"prompt", "max_age"} & plain.keys()


LIES = {
    "no auth_time": "does not say when",
    "old auth_time": "Sign out there",
    "future auth_time": "a clock is wrong",
    "text as auth_time": "does not say when",
    "true as auth_time": "does not say when",
    "nan as auth_time": "did not ask you",
    "wrong iss": "does not fit (iss)",
    "other answers": "another provider answered",
    "wrong nonce": "does not fit (nonce)",
    "wrong aud": "does not fit (aud)",
    "expired": "has run out",
    "alg none": "does not prove",
    "foreign key": "does not prove",
}


@pytest.mark.parametrize("lie", LIES)
async def test_provider_that_lies_confirms_nothing(household, provider, dora, lie) -> None:
    before = dora.token
    url = await dora.begin_confirmation()
    provider.lie = lie
    answer = await dora.come_back(provider.come_back(url))
    assert (answer.status_code, code_of(answer)) == (401, "sign_in_refused")
    error = answer.json()["error"]
    assert LIES[lie] in f"{error['message']}. {error['hint']}"
    assert error["hint"]
    assert dora.token == before
    assert not await dora.is_confirmed()
    assert code_of(await dora.delete()) == "no_password"
    assert "Dora" in await names(household)
    provider.lie = ""
    household.runtime.oidc._throttle = Throttle()
    await dora.confirm(provider)
    assert await dora.is_confirmed()


@pytest.mark.parametrize("subject", ["somebody-new", "bob-there"])
async def test_another_person_there_confirms_nothing(household, provider, dora, subject) -> None:
    provider.subject = "bob-there"
    await link_bob(household, provider)
    before = dora.token
    provider.subject = subject
    answer = await dora.confirm(provider)
    assert (answer.status_code, code_of(answer)) == (401, "sign_in_refused")
    assert "as somebody else" in answer.json()["error"]["message"]
    assert "Bob" not in answer.text
    assert dora.token == before
    assert (await dora.user())["name"] == "Dora"
    assert not await dora.is_confirmed()
    assert len(await names(household)) == 5  # nobody was made an account on the way


async def test_stolen_sign_in_alone_confirms_nothing(household, provider, dora) -> None:
    thief = stolen(household, dora)
    assert code_of(await thief.delete()) == "no_password"
    provider.subject = "thief-there"  # who can sign in there as themselves
    assert code_of(await thief.confirm(provider)) == "sign_in_refused"
    provider.subject = "dora-there"
    # The thief has Dora go there, as which the thief's own way began.
    back = provider.come_back(await thief.begin_confirmation())
    assert code_of(await dora.come_back(back)) == "sign_in_refused"
    for browser in (thief, dora):
        assert not await browser.is_confirmed()
    # Once she confirms something herself the thief is out.
    await dora.confirm(provider)
    assert await dora.is_confirmed()
    assert (await thief.client.get("/api/me")).status_code == 401
    assert (await thief.delete()).status_code == 401
    assert "Dora" in await names(household)


async def test_state_of_a_confirmation_is_good_once(household, provider, dora) -> None:
    url = await dora.begin_confirmation()
    word = dora.client.cookies.get(BROWSER_COOKIE)
    back = provider.come_back(url)
    assert (await dora.come_back(back)).status_code == 303
    await dora.client.delete("/api/session", headers={"origin": ORIGIN})
    await dora.sign_in(provider)
    dora.client.cookies.set(BROWSER_COOKIE, word, domain="localhost.local", path="/")
    assert code_of(await dora.come_back(back)) == "sign_in_refused"
    assert not await dora.is_confirmed()


async def test_way_in_of_a_sign_in_confirms_nothing(household, provider, dora) -> None:
    """Who is let in without a question, as providers do, has shown nothing anew."""
    await dora.sign_in(provider)
    assert not await dora.is_confirmed()
    other, own = await dora.begin(), await dora.begin_confirmation()
    code = parse_qs(urlsplit(provider.come_back(other)).query)["code"][0]
    query = {
        "code": code,
        "state": parse_qs(urlsplit(own).query)["state"][0],
        "iss": provider.issuer,
    }
    answer = await dora.client.get(CALLBACK, params=query)
    assert (answer.status_code, code_of(answer)) == (502, "provider_failed")
    assert not await dora.is_confirmed()


async def test_confirmation_is_over_after_ten_minutes_and_when_they_sign_out(
    household, provider, dora
) -> None:
    await dora.confirm(provider)
    confirmation = household.runtime.accounts.confirmation
    now_s = confirmation._clock()
    confirmation._clock = lambda: now_s + LASTS_S + 1
    assert not await dora.is_confirmed()
    assert code_of(await dora.delete()) == "no_password"
    await dora.confirm(provider)
    assert await dora.is_confirmed()
    await dora.ask("DELETE", "/api/session")
    assert (await dora.delete()).status_code == 401
    await dora.sign_in(provider)
    assert code_of(await dora.delete()) == "no_password"


async def test_confirmation_belongs_to_the_sign_in_that_asked(household, provider, dora) -> None:
    other = Dora(household)
    await other.sign_in(provider)
    back = provider.come_back(await dora.begin_confirmation())
    await dora.ask("DELETE", "/api/session")
    assert code_of(await dora.come_back(back)) == "sign_in_refused"
    assert await dora.user() is None
    await other.confirm(provider)
    await dora.sign_in(provider)
    assert not await dora.is_confirmed()


async def test_sign_in_that_ends_while_the_provider_is_asked_confirms_nothing(
    household, provider, dora, monkeypatch
) -> None:
    back = provider.come_back(await dora.begin_confirmation())
    exchange = Provider.exchange
    dora_id = (await dora.user())["id"]

    async def exchange_slowly(*args: Any, **more: Any) -> Any:
        answer = await household.clients["Ann"].delete(f"/api/users/{dora_id}/sessions")
        assert answer.status_code == 204, answer.text
        return await exchange(*args, **more)

    monkeypatch.setattr(Provider, "exchange", exchange_slowly)
    assert code_of(await dora.come_back(back)) == "not_authenticated"
    assert await dora.user() is None


async def test_disabled_person_confirms_nothing(household, provider, dora) -> None:
    back = provider.come_back(await dora.begin_confirmation())
    dora_id = (await dora.user())["id"]
    await household.clients["Ann"].patch(f"/api/users/{dora_id}", json={"is_disabled": True})
    assert (await dora.come_back(back)).status_code == 401
    assert await dora.user() is None


async def test_who_has_a_password_confirms_by_it_alone(household, provider) -> None:
    bob = await link_bob(household, provider)
    answer = await bob.client.post(BEGIN, json={}, headers={"origin": ORIGIN})
    assert (answer.status_code, code_of(answer)) == (409, "conflict")
    assert "has a password" in answer.json()["error"]["message"]
    found = (await bob.client.get("/api/confirmation")).json()["confirmation"]
    assert found == {"by": ["password"], "is_confirmed": False}


async def test_no_other_site_can_begin(provider, dora) -> None:
    for headers in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
        for path in (BEGIN, "/api/confirmation/passkey/options", "/api/confirmation/passkey"):
            answer = await dora.client.post(path, json={}, headers=headers)
            assert (answer.status_code, code_of(answer)) == (403, "cross_site")


async def test_next_is_a_page_of_ours(provider, dora) -> None:
    for next_path in ("https://evil.example", "//evil.example", "/c/../.."):
        answer = await dora.confirm(provider, next_path)
        assert answer.headers["location"] == "/"


async def test_first_password_is_taken_and_the_account_unlinked(household, provider, dora) -> None:
    await dora.confirm(provider)
    new = {"new": PASSWORD}
    answer = await dora.ask("PUT", "/api/me/password", new)
    assert answer.status_code == 200, answer.text
    assert (await dora.client.get("/api/me")).json()["user"]["has_password"] is True
    answer = await dora.ask("PUT", "/api/me/password", new)
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, "old")
    assert (await dora.ask("DELETE", "/api/oidc/link")).status_code == 204
    assert await household.sign_in("Dora")
    assert "Dora: change_password took a first one" in await actions(household)


async def test_passkey_is_added_then_confirms_in_place_of_the_provider(
    household, provider, dora
) -> None:
    device = Authenticator(ORIGIN)
    body = {"name": "Phone"}
    answer = await dora.ask("POST", "/api/passkeys/options", body)
    assert code_of(answer) == "no_password"
    await dora.confirm(provider)
    options = (await dora.ask("POST", "/api/passkeys/options", body)).json()["options"]
    added = await dora.ask("POST", "/api/passkeys", device.make(options))
    assert added.status_code == 201, added.text
    assert not await dora.is_confirmed()  # it was good for one act
    assert code_of(await dora.delete()) == "no_password"
    before, thief = dora.token, stolen(household, dora)
    options = (await dora.ask("POST", "/api/confirmation/passkey/options")).json()["options"]
    used = device.use(options)
    shown = await dora.ask("POST", "/api/confirmation/passkey", used)
    assert shown.status_code == 200, shown.text
    assert shown.json()["user"]["name"] == "Dora"
    assert "HttpOnly" in shown.headers["set-cookie"]
    assert dora.token != before
    assert (await thief.client.get("/api/me")).status_code == 401
    again = await dora.ask("POST", "/api/confirmation/passkey", used)
    assert (again.status_code, code_of(again)) == (409, "challenge_over")
    assert (await dora.delete()).status_code == 204
    assert "Dora" not in await names(household)


async def test_link_at_the_next_provider_is_confirmed_by_a_passkey(
    household, provider, dora
) -> None:
    device = Authenticator(ORIGIN)
    await dora.confirm(provider)
    options = await dora.ask("POST", "/api/passkeys/options", {"name": "Phone"})
    await dora.ask("POST", "/api/passkeys", device.make(options.json()["options"]))
    dora_id = (await dora.user())["id"]
    # As if the house had another provider now, at which she is nobody yet.
    await household.runtime.database.run(external_identities.delete_all, dora_id)
    assert code_of(await dora.ask("POST", "/api/oidc/link", {})) == "no_password"
    options = await dora.ask("POST", "/api/confirmation/passkey/options")
    used = device.use(options.json()["options"])
    await dora.ask("POST", "/api/confirmation/passkey", used)
    made = await dora.ask("POST", "/api/oidc/link", {})
    assert made.status_code == 200, made.text
    assert not await dora.is_confirmed()
    answer = await dora.come_back(provider.come_back(made.json()["url"]))
    assert answer.status_code == 303
    link = (await dora.client.get("/api/oidc/link")).json()["link"]
    assert link["linked_at"] is not None


async def test_keys_confirm_nothing(household, provider, dora) -> None:
    await dora.confirm(provider)
    made = await dora.ask("POST", "/api/keys", {"name": "Editor"})
    program = household.program(made.json()["key"])
    for method, path in (
        ("GET", "/api/confirmation"),
        ("POST", BEGIN),
        ("POST", "/api/confirmation/passkey/options"),
        ("DELETE", "/api/me"),
    ):
        answer = await program.request(method, path, json={} if method != "GET" else None)
        assert (answer.status_code, code_of(answer)) == (403, "key_scope")
    assert COOKIE in dora.client.cookies
    assert await dora.is_confirmed()
