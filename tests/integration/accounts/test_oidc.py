"""Signing in by a provider of OpenID Connect: who gets in, and who does not, whatever is sent."""

from __future__ import annotations

import asyncio
import ssl
import threading
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.integration.accounts.conftest import (
    FROM_ELSEWHERE,
    Browser,
    actions,
    code_of,
    link_bob,
    linked_to,
    signed_in_as_bob,
)
from tests.integration.api.conftest import ORIGIN, PASSWORD
from tests.oidc_provider import CLIENT
from webui.accounts import attempts, oidc
from webui.accounts.throttle import Throttle
from webui.actor import Actor
from webui.api.door import COOKIE
from webui.api.oidc import BROWSER_COOKIE, CALLBACK
from webui.errors import InvalidRequest
from webui.network.provider import FAILED_S, TIMEOUT_S, Provider
from webui.settings import Settings

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]


async def test_linked_person_signs_in_and_lands_where_they_wanted(household, provider) -> None:
    await link_bob(household, provider)
    browser = Browser(household)
    answer = await browser.sign_in(provider, "/c/abc-1")
    assert (answer.status_code, answer.headers["location"]) == (303, "/c/abc-1")
    assert answer.headers["cache-control"] == "no-store"
    set_cookies = answer.headers.get_list("set-cookie")
    (session,) = [one for one in set_cookies if one.startswith(f"{COOKIE}=")]
    assert "HttpOnly" in session
    assert "SameSite=lax" in session
    user = await browser.user()
    assert (user["name"], user["role"]) == ("Bob", "user")
    assert BROWSER_COOKIE not in browser.client.cookies
    said = await actions(household)
    assert said[0].startswith("Bob: sign_in")
    assert said[0].endswith("by Login")
    assert "Bob: link Login" in said
    sessions = (await browser.client.get("/api/sessions")).json()["sessions"]
    assert sum(one["is_current"] for one in sessions) == 1


async def test_request_to_the_provider_is_that_of_a_careful_client(household, provider) -> None:
    browser = Browser(household)
    first = await browser.begin()
    query = {name: values[0] for name, values in parse_qs(urlsplit(first).query).items()}
    assert first.startswith(f"{provider.issuer}/authorize?tenant=1&")
    assert query["redirect_uri"] == f"{ORIGIN}{CALLBACK}"
    assert (query["response_type"], query["scope"]) == ("code", "openid profile")
    assert query["code_challenge_method"] == "S256"
    again = parse_qs(urlsplit(await browser.begin()).query)
    assert all(query[name] != again[name][0] for name in ("state", "nonce", "code_challenge"))


async def test_cookie_of_the_way_there_is_shown_on_the_way_back_alone(household) -> None:
    client = Browser(household).client
    answer = await client.post("/api/oidc", json={}, headers={"origin": ORIGIN})
    (cookie,) = answer.headers.get_list("set-cookie")
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert f"Path={CALLBACK}" in cookie
    assert "Max-Age=600" in cookie


async def test_no_other_site_can_begin(household) -> None:
    browser = Browser(household)
    for headers in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
        answer = await browser.client.post("/api/oidc", json={}, headers=headers)
        assert (answer.status_code, code_of(answer)) == (403, "cross_site")
    assert (await browser.client.get("/api/oidc", headers=FROM_ELSEWHERE)).status_code == 403


async def test_next_is_a_page_of_ours(household, provider) -> None:
    await link_bob(household, provider)
    for next_path in ("https://evil.example", "//evil.example", "/c/../..", "/\\evil.example"):
        answer = await Browser(household).sign_in(provider, next_path)
        assert answer.headers["location"] == "/"


async def test_stranger_to_us_gets_no_account_and_learns_nothing(household, provider) -> None:
    provider.claims = {"preferred_username": "Bob", "email": "bob@example.org"}
    browser = Browser(household)
    answer = await browser.sign_in(provider)
    assert (answer.status_code, code_of(answer)) == (401, "unknown_person")
    assert await browser.user() is None
    users = (await household.clients["Ann"].get("/api/users")).json()["users"]
    assert len(users) == 4


async def test_disabled_person_stays_out(household, provider) -> None:
    await link_bob(household, provider)
    place = f"/api/users/{household.ids['Bob']}"
    await household.clients["Ann"].patch(place, json={"is_disabled": True})
    browser = Browser(household)
    answer = await browser.sign_in(provider)
    assert (answer.status_code, code_of(answer)) == (401, "account_disabled")
    assert await browser.user() is None


async def test_signing_in_ends_what_was_signed_in_there_before(household, provider) -> None:
    browser = await link_bob(household, provider)
    before = browser.token
    await browser.sign_in(provider)
    assert browser.token != before
    assert (await household.client(before).get("/api/me")).status_code == 401
    await browser.client.delete("/api/session", headers={"origin": ORIGIN})
    assert await browser.user() is None


SLOW = frozenset({"slow", "trickle", "endless keys"})
LIES = {
    "sign_in_refused": (
        *("wrong nonce", "no nonce", "number as nonce", "alg none", "hs256", "own key in header"),
        *("foreign key", "unknown key", "cut", "no token", "wrong iss", "wrong aud", "no aud"),
        *("two aud", "wrong azp", "list as azp", "expired", "no exp", "text as exp", "future"),
        *("no sub", "empty sub", "number as sub", "long sub", "other answers", "weak key"),
    ),
    "provider_failed": (
        *("huge", "redirect", "slow", "trickle", "not json", "deep", "list", "error", "hang up"),
        *("no id_token", "endless keys"),
    ),
}


@pytest.mark.parametrize("code", LIES)
async def test_provider_that_lies_lets_nobody_in(household, provider, code) -> None:
    await link_bob(household, provider)
    wrong = []
    for lie in LIES[code]:
        household.runtime.oidc._provider._keys = None
        household.runtime.oidc._provider._failures.clear()
        household.runtime.oidc._throttle = Throttle()
        provider.lie = lie
        browser = Browser(household)
        url = await browser.begin()
        household.runtime.oidc._provider._timeout_s = 1.0 if lie in SLOW else TIMEOUT_S
        answer = await browser.come_back(provider.come_back(url))
        status = 401 if code == "sign_in_refused" else 502
        is_told = code_of(answer) == code and bool(answer.json()["error"]["hint"])
        is_out = browser.token is None and await browser.user() is None
        if not (answer.status_code == status and is_told and is_out):
            wrong.append((lie, answer.text))
    assert wrong == []
    assert "/elsewhere" not in provider.asked
    provider.lie = ""
    household.runtime.oidc._provider._keys = None
    household.runtime.oidc._provider._failures.clear()
    household.runtime.oidc._provider._timeout_s = TIMEOUT_S
    assert (await Browser(household).sign_in(provider)).status_code == 303


@pytest.mark.parametrize("lie", ["other issuer", "plain http", "script", "no keys"])
async def test_provider_that_describes_itself_wrongly_is_not_gone_to(
    household, provider, lie
) -> None:
    provider.lie = lie
    client = Browser(household).client
    answer = await client.post("/api/oidc", json={}, headers={"origin": ORIGIN})
    assert (answer.status_code, code_of(answer)) == (502, "provider_failed")


async def test_provider_that_is_down_is_told_and_passwords_still_work(household, provider) -> None:
    household.runtime.oidc._provider = Provider("http://127.0.0.1:9", CLIENT)
    client = Browser(household).client
    answer = await client.post("/api/oidc", json={}, headers={"origin": ORIGIN})
    assert (answer.status_code, code_of(answer)) == (502, "provider_failed")
    assert "127.0.0.1:9 cannot be reached" in answer.json()["error"]["message"]
    await household.sign_in("Bob")


async def test_provider_that_is_down_is_asked_once_by_all_who_wait(household, provider) -> None:
    provider.lie = "no keys"
    client = Browser(household).client
    begun = [client.post("/api/oidc", json={}, headers={"origin": ORIGIN}) for _ in range(10)]
    answers = await asyncio.gather(*begun)
    assert {answer.status_code for answer in answers} == {502}
    assert len(provider.asked) == 1
    provider.lie = ""
    later_s = household.runtime.oidc._provider._clock() + FAILED_S
    household.runtime.oidc._provider._clock = lambda: later_s
    await Browser(household).begin()


async def test_nothing_is_asked_of_the_provider_before_somebody_signs_in(
    household, provider
) -> None:
    assert (await household.clients[""].get("/api/session")).json()["oidc"] == "Login"
    assert provider.asked == []


async def test_changed_keys_are_fetched_but_not_by_every_stranger(household, provider) -> None:
    await link_bob(household, provider)
    provider.lie = "unknown key"
    oidc_provider = household.runtime.oidc._provider
    oidc_provider._clock = lambda: 1e9  # long after the keys were fetched
    for _ in range(3):
        await Browser(household).sign_in(provider)
    assert provider.asked.count("/jwks") == 2


async def test_state_is_good_once(household, provider) -> None:
    await link_bob(household, provider)
    browser = Browser(household)
    url = await browser.begin()
    word = browser.client.cookies.get(BROWSER_COOKIE)
    back = provider.come_back(url)
    assert (await browser.come_back(back)).status_code == 303
    browser.client.cookies.delete(COOKIE)
    browser.client.cookies.set(BROWSER_COOKIE, word, domain="localhost.local", path="/")
    answer = await browser.come_back(back)
    assert (answer.status_code, code_of(answer)) == (401, "sign_in_refused")
    assert await browser.user() is None


async def test_way_back_in_another_browser_signs_nobody_in(household, provider) -> None:
    """An attacker sends a victim the address that would sign them in as the attacker."""
    await link_bob(household, provider)
    attacker, victim = Browser(household), Browser(household)
    back = provider.come_back(await attacker.begin())
    await victim.begin()  # has a word, of an attempt of their own
    answer = await victim.come_back(back)
    assert code_of(answer) == "sign_in_refused"
    assert await victim.user() is None
    answer = await attacker.come_back(back)  # the state is burnt
    assert code_of(answer) == "sign_in_refused"
    assert await attacker.user() is None


async def test_code_of_another_attempt_is_worth_nothing(household, provider) -> None:
    """PKCE: a stolen code is bound to the attempt that asked for it."""
    await link_bob(household, provider)
    victim, thief = Browser(household), Browser(household)
    stolen = parse_qs(urlsplit(provider.come_back(await victim.begin())).query)["code"][0]
    own = parse_qs(urlsplit(await thief.begin()).query)["state"][0]
    query = {"code": stolen, "state": own, "iss": provider.issuer}
    answer = await thief.client.get(CALLBACK, params=query, headers=FROM_ELSEWHERE)
    assert (answer.status_code, code_of(answer)) == (502, "provider_failed")
    assert await thief.user() is None


@pytest.mark.parametrize("query", ["", "?state=x&code=y", "?state=%00&code=%ff", "?error=x"])
async def test_way_back_without_a_way_there_is_refused(household, provider, query) -> None:
    browser = Browser(household)
    await browser.begin()
    answer = await browser.come_back(CALLBACK + query)
    assert (answer.status_code, code_of(answer)) == (401, "sign_in_refused")
    assert provider.asked == ["/.well-known/openid-configuration"]


async def test_wrong_answers_of_one_address_are_slowed_down(household, provider) -> None:
    provider.lie = "other answers"
    browser = Browser(household)
    codes = [code_of(await browser.sign_in(provider)) for _ in range(8)]
    assert codes[:5] == ["sign_in_refused"] * 5
    assert codes[-1] == "too_many_attempts"


async def test_keys_that_fail_are_asked_for_once_in_a_while(household, provider) -> None:
    provider.lie = "keys down"
    for _ in range(3):
        assert code_of(await Browser(household).sign_in(provider)) == "provider_failed"
    assert provider.asked.count("/jwks") == 1


async def test_authorities_are_read_once_and_beside_the_loop(
    household, provider, monkeypatch
) -> None:
    made, make = [], ssl.create_default_context

    def reading(*args, **named):
        made.append(threading.current_thread())
        return make(*args, **named)

    monkeypatch.setattr(ssl, "create_default_context", reading)
    await link_bob(household, provider)
    assert len(made) == 1
    assert made[0] is not threading.current_thread()


async def test_states_of_another_site_lock_nobody_out(household, provider) -> None:
    await link_bob(household, provider)
    browser, abroad = Browser(household), await Browser(household).begin()
    back = provider.come_back(await browser.begin())
    for url in [provider.come_back(abroad), *[f"{CALLBACK}?state={n}" for n in range(60)]]:
        assert code_of(await Browser(household).come_back(url)) == "sign_in_refused"
    assert (await browser.come_back(back)).status_code == 303
    assert (await browser.user())["name"] == "Bob"


async def test_refusal_of_the_provider_is_told_in_a_word_that_is_safe(household, provider) -> None:
    provider.error = "access_denied"
    answer = await Browser(household).sign_in(provider)
    assert "access_denied" in answer.json()["error"]["message"]
    provider.error = "<script>alert(1)</script>"
    answer = await Browser(household).sign_in(provider)
    assert code_of(answer) == "sign_in_refused"
    assert "script" not in answer.text


async def test_attempt_that_takes_too_long_is_over(household, provider) -> None:
    browser = Browser(household)
    back = provider.come_back(await browser.begin())
    found = household.runtime.oidc._attempts
    now_s = found._clock()
    found._clock = lambda: now_s + attempts.LASTS_S
    assert code_of(await browser.come_back(back)) == "sign_in_refused"


async def test_person_whom_the_proxy_does_not_name_stays_out(make_house, provider) -> None:
    household = await make_house(
        trusted_proxy=("127.0.0.1",), trusted_user_header="Remote-User", oidc_auto_create=True
    )
    await link_bob(household, provider)
    for named, status in (("Cid", 403), ("bob", 303)):
        browser = Browser(household)
        browser.client.headers.update({"remote-user": named, "x-forwarded-for": "203.0.113.9"})
        assert (await browser.sign_in(provider)).status_code == status
        user = await browser.user()
        assert (user and user["name"]) == (None if status == 403 else "Bob")
    provider.subject, provider.claims = "new", {"preferred_username": "Zed"}
    browser = Browser(household)
    browser.client.headers.update({"remote-user": "Cid", "x-forwarded-for": "203.0.113.9"})
    assert (await browser.sign_in(provider)).status_code == 403
    people = (await household.clients["Ann"].get("/api/users")).json()["users"]
    assert "Zed" not in {one["name"] for one in people}


async def test_new_people_get_an_account_where_that_is_wanted(make_house, provider) -> None:
    household = await make_house(oidc_auto_create=True)
    provider.claims = {"preferred_username": "Bob", "groups": ["admin"], "role": "administrator"}
    browser = Browser(household)
    assert (await browser.sign_in(provider)).status_code == 303
    user = await browser.user()
    assert (user["name"], user["role"]) == ("Bob 2", "user")
    assert user["id"] != household.ids["Bob"]
    again = Browser(household)
    provider.claims = {"preferred_username": "somebody else by now"}
    await again.sign_in(provider)
    assert (await again.user())["id"] == user["id"]
    users = (await household.clients["Ann"].get("/api/users")).json()["users"]
    (made,) = [one for one in users if one["id"] == user["id"]]
    assert made["has_password"] is False
    assert any(
        one.startswith("Bob 2: add_user Bob 2 as user, by Login")
        for one in await actions(household)
    )
    wrong = {"name": "Bob 2", "password": ""}
    answer = await household.client().post("/api/session", json=wrong)
    assert code_of(answer) == "wrong_credentials"
    answer = await browser.client.delete("/api/oidc/link", headers={"origin": ORIGIN})
    assert answer.status_code == 409  # there would be no way in
    headers = {"origin": ORIGIN}
    for method, path, body in (
        ("DELETE", "/api/me", {"password": ""}),
        ("PUT", "/api/me/password", {"old": "", "new": PASSWORD}),
        ("POST", "/api/passkeys/options", {"name": "Phone", "password": ""}),
    ):
        answer = await browser.client.request(method, path, json=body, headers=headers)
        assert (answer.status_code, code_of(answer)) == (409, "no_password"), path
    assert (await browser.client.get("/api/me")).json()["user"]["has_password"] is False
    sessions = (await browser.client.get("/api/sessions")).json()["sessions"]
    assert [one["way"] for one in sessions] == ["provider", "provider"]


async def test_name_of_a_newcomer_is_asked_for_where_the_token_has_none(
    make_house, provider
) -> None:
    household = await make_house(oidc_auto_create=True)
    provider.profile = {"sub": "subject-1", "preferred_username": "dora@example.org"}
    browser = Browser(household)
    await browser.sign_in(provider)
    assert (await browser.user())["name"] == "dora"
    provider.subject = "subject-2"  # of whom the profile is not
    other = Browser(household)
    assert code_of(await other.sign_in(provider)) == "sign_in_refused"
    assert await other.user() is None


@pytest.mark.parametrize(
    ("claims", "is_in"),
    [
        ({"email": "dora@Example.org", "email_verified": True}, True),
        ({"email": "dora@example.org", "email_verified": False}, False),
        ({"email": "dora@example.org", "email_verified": "true"}, False),
        ({"email": "dora@evil.example", "email_verified": True}, False),
        ({"email": "dora@evilexample.org", "email_verified": True}, False),
        ({"email": "dora@example.org@evil.example", "email_verified": True}, False),
        ({"email": "@example.org", "email_verified": True}, False),
        ({"email": ["dora@example.org"], "email_verified": True}, False),
        ({}, False),
    ],
)
async def test_accounts_are_made_for_confirmed_addresses_of_the_named_domains(
    make_house, provider, claims, is_in
) -> None:
    household = await make_house(
        oidc_auto_create=True, oidc_email_domains=("example.org",), oidc_scopes="openid email"
    )
    provider.claims = claims
    provider.profile = {"sub": "subject-1"}
    browser = Browser(household)
    answer = await browser.sign_in(provider)
    assert (answer.status_code == 303) is is_in
    assert (await browser.user() is not None) is is_in


@pytest.mark.parametrize(
    ("claims", "profile", "is_in"),
    [
        ({"email": "a@example.org"}, {"email": "a@evil.example", "email_verified": True}, False),
        ({"email_verified": True}, {"email": "a@example.org"}, False),
        ({"email": "a@example.org"}, {"email_verified": True}, False),
        ({"email": "a@evil.example"}, {"email": "a@example.org", "email_verified": True}, True),
        ({}, {"email": "a@example.org", "email_verified": True}, True),
    ],
)
async def test_address_and_its_confirmation_are_of_one_source(
    make_house, provider, claims, profile, is_in
) -> None:
    household = await make_house(
        oidc_auto_create=True, oidc_email_domains=("example.org",), oidc_scopes="openid email"
    )
    provider.claims, provider.profile = claims, {"sub": "subject-1", **profile}
    browser = Browser(household)
    await browser.sign_in(provider)
    assert (await browser.user() is not None) is is_in


async def test_before_there_is_an_administrator_nobody_comes_in_so(make_house, provider) -> None:
    household = await make_house(is_filled=False, oidc_auto_create=True)
    client = Browser(household).client
    answer = await client.post("/api/oidc", json={}, headers={"origin": ORIGIN})
    assert (answer.status_code, code_of(answer)) == (409, "conflict")
    assert provider.asked == []


async def test_linking_wants_the_password(household, provider) -> None:
    browser = await signed_in_as_bob(household)
    answer = await browser.link("wrong wrong wrong")
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, "password")
    assert (await browser.client.get("/api/oidc/link")).json()["link"]["linked_at"] is None


async def test_link_belongs_to_the_sign_in_that_began_it(household, provider) -> None:
    """Somebody else who sits down at the browser meanwhile does not get the link."""
    browser = await signed_in_as_bob(household)
    back = provider.come_back((await browser.link()).json()["url"])
    body = {"name": "Cid", "password": PASSWORD}
    await browser.client.post("/api/session", json=body, headers={"origin": ORIGIN})
    assert code_of(await browser.come_back(back)) == "sign_in_refused"
    for name in ("Bob", "Cid"):
        await household.sign_in(name)
        found = (await household.clients[name].get("/api/oidc/link")).json()
        assert found["link"]["linked_at"] is None


async def test_person_there_is_one_person_here(household, provider) -> None:
    await link_bob(household, provider)
    browser = Browser(household)
    body = {"name": "Cid", "password": PASSWORD}
    await browser.client.post("/api/session", json=body, headers={"origin": ORIGIN})
    answer = await browser.come_back(provider.come_back((await browser.link()).json()["url"]))
    assert (answer.status_code, code_of(answer)) == (409, "conflict")
    assert "Bob" not in answer.text
    bob = await signed_in_as_bob(household)
    provider.subject = "subject-2"
    answer = await bob.come_back(provider.come_back((await bob.link()).json()["url"]))
    assert code_of(answer) == "conflict"


async def test_link_that_its_sign_in_did_not_live_to_see_is_not_kept(
    household, provider, monkeypatch
) -> None:
    browser = await signed_in_as_bob(household)
    back = provider.come_back((await browser.link()).json()["url"])
    oidc_of_house = household.app.state.runtime.oidc
    exchange = Provider.exchange
    reset = f"/api/users/{household.ids['Bob']}/password"

    async def exchange_slowly(*args: Any, **more: Any) -> Any:
        answer = await household.clients["Ann"].post(reset, json={"password": f"{PASSWORD}s"})
        assert answer.status_code == 200, answer.text
        return await exchange(*args, **more)

    monkeypatch.setattr(Provider, "exchange", exchange_slowly)
    answer = await browser.come_back(back)
    assert (answer.status_code, code_of(answer)) == (401, "not_authenticated")
    views = await oidc_of_house.list_links(Actor(household.ids["Bob"], "Bob", frozenset()))
    assert views == []


@pytest.mark.parametrize("wanted", [{}, {"unlinks": False}])
async def test_password_set_by_an_administrator_takes_the_link_away(
    household, provider, wanted
) -> None:
    await link_bob(household, provider)
    bob = household.ids["Bob"]
    assert await linked_to(household, bob) == [provider.issuer]
    await household.clients["Ann"].post(f"/api/users/{bob}/password", json=wanted)
    stays = bool(wanted)
    assert await linked_to(household, bob) == ([provider.issuer] if stays else [])
    said = (await actions(household))[0]
    assert said == "Ann: reset_password Bob" + (
        "" if stays else "; removed 1 of their links to providers"
    )
    browser = Browser(household)
    await browser.sign_in(provider)
    assert (await browser.user() is not None) is stays


@pytest.mark.parametrize("wanted", [{}, {"unlinks": True}])
async def test_who_had_no_password_keeps_the_link_unless_that_is_said(
    make_house, provider, wanted
) -> None:
    household = await make_house(oidc_auto_create=True)
    provider.claims = {"preferred_username": "Dora"}
    browser = Browser(household)
    await browser.sign_in(provider)
    dora = (await browser.user())["id"]
    await household.clients["Ann"].post(f"/api/users/{dora}/password", json=wanted)
    assert await linked_to(household, dora) == ([] if wanted else [provider.issuer])


async def test_saved_data_says_who_one_is_at_the_provider(household, provider) -> None:
    browser = await link_bob(household, provider)
    (link,) = (await browser.client.get("/api/me/export")).json()["links"]
    assert (link["issuer"], link["subject"]) == (provider.issuer, "subject-1")
    assert link["linked_at"]
    assert (await household.clients["Cid"].get("/api/me/export")).json()["links"] == []


async def test_unlinked_person_is_a_stranger_again(household, provider) -> None:
    browser = await link_bob(household, provider)
    assert (await browser.client.get("/api/oidc/link")).json()["link"]["linked_at"]
    answer = await browser.client.delete("/api/oidc/link", headers={"origin": ORIGIN})
    assert answer.status_code == 204
    assert "Bob: unlink Login" in await actions(household)
    assert code_of(await Browser(household).sign_in(provider)) == "unknown_person"
    answer = await browser.client.delete("/api/oidc/link", headers={"origin": ORIGIN})
    assert answer.status_code == 404


async def test_link_goes_with_the_account(household, provider) -> None:
    await link_bob(household, provider)
    await household.clients["Ann"].delete(f"/api/users/{household.ids['Bob']}")
    assert code_of(await Browser(household).sign_in(provider)) == "unknown_person"


async def test_secret_may_go_in_the_body(household, provider) -> None:
    provider.lie = "post"
    await link_bob(household, provider)
    assert (await Browser(household).sign_in(provider)).status_code == 303


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff", b"x" * 5000])
async def test_secret_that_cannot_be_read_ends_the_start(tmp_path, content) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    settings = Settings(
        data_dir=tmp_path / "data", oidc_issuer="https://x.example", oidc_client_secret_file=file
    )
    made = oidc.Oidc(None, None, settings)  # type: ignore[arg-type] - neither is asked
    with pytest.raises(InvalidRequest, match="secret"):
        await made.open()


async def test_root_path_and_outer_scheme_stand_in_the_way_back(make_house, provider) -> None:
    household = await make_house(
        root_path="/hearth", trusted_proxy=("127.0.0.1",), allowed_hosts=("chat.example.org",)
    )
    headers = {
        "origin": "https://chat.example.org",
        "x-forwarded-proto": "https",
        "x-forwarded-host": "chat.example.org",
        "x-forwarded-for": "203.0.113.9",
    }
    client = Browser(household).client
    answer = await client.post("/hearth/api/oidc", json={}, headers=headers)
    query = parse_qs(urlsplit(answer.json()["url"]).query)
    assert query["redirect_uri"] == [f"https://chat.example.org/hearth{CALLBACK}"]
    (cookie,) = answer.headers.get_list("set-cookie")
    assert f"Path=/hearth{CALLBACK}" in cookie
    assert "Secure" in cookie
