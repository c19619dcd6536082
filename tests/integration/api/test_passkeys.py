"""Passkeys over HTTP: cookies, hosts, proxies, and a device in software."""

from __future__ import annotations

import re
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
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]


async def add(client: httpx.AsyncClient, device: Authenticator) -> httpx.Response:
    body = {"name": "Phone", "password": PASSWORD}
    asked = await client.post("/api/passkeys/options", json=body)
    assert asked.status_code == 200, asked.text
    return await client.post("/api/passkeys", json=device.make(asked.json()["options"]))


async def sign_in(client: httpx.AsyncClient, device: Authenticator) -> httpx.Response:
    asked = await client.post("/api/session/passkey/options")
    assert asked.status_code == 200, asked.text
    return await client.post("/api/session/passkey", json=device.use(asked.json()["options"]))


async def test_passkey_is_added_and_signs_a_stranger_in(household: Household) -> None:
    device = Authenticator(ORIGIN)
    bob = household.clients["Bob"]
    added = await add(bob, device)
    assert added.status_code == 201, added.text
    (listed,) = (await bob.get("/api/passkeys")).json()["passkeys"]
    assert listed == added.json()["passkey"]
    assert set(listed) == {"id", "name", "created_at", "last_used_at", "is_backed_up"}
    stranger = household.client()
    answer = await sign_in(stranger, device)
    assert answer.json()["user"]["name"] == "Bob"
    cookies = answer.headers.get_list("set-cookie")
    assert any(cookie.startswith(f"{COOKIE}=") for cookie in cookies)
    assert any(cookie.startswith(f'{TICKET}="";') for cookie in cookies)
    assert (await stranger.get("/api/me")).json()["user"]["name"] == "Bob"


async def test_ticket_is_a_cookie_that_no_script_reads(household: Household) -> None:
    asked = await household.client().post("/api/session/passkey/options")
    cookie = asked.headers["set-cookie"]
    assert re.match(rf"{TICKET}=[\w-]{{43}};", cookie)
    for words in ("HttpOnly", "Max-Age=300", "Path=/", "SameSite=lax"):
        assert words in cookie
    assert asked.headers["cache-control"] == "no-store"
    assert asked.cookies[TICKET] not in asked.text


async def test_another_browsers_challenge_opens_nothing(household: Household) -> None:
    device = Authenticator(ORIGIN)
    await add(household.clients["Bob"], device)
    thief, victim = household.client(), household.client()
    asked = await thief.post("/api/session/passkey/options")
    await victim.post("/api/session/passkey/options")
    answer = device.use(asked.json()["options"])  # signed for the one, shown by the other
    refused = await victim.post("/api/session/passkey", json=answer)
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "wrong_passkey")
    without = await household.client().post("/api/session/passkey", json=answer)
    assert (without.status_code, without.json()["error"]["code"]) == (409, "challenge_over")
    assert COOKIE not in refused.cookies


async def test_whoever_was_signed_in_here_is_so_no_more(household: Household) -> None:
    device = Authenticator(ORIGIN)
    await add(household.clients["Bob"], device)
    token = await household.sign_in("Cid")
    cid = household.clients["Cid"]
    asked = await cid.post("/api/session/passkey/options")
    ticket = asked.cookies[TICKET]
    answer = await cid.post(
        "/api/session/passkey",
        json=device.use(asked.json()["options"]),
        headers={"cookie": f"{COOKIE}={token}; {TICKET}={ticket}"},
    )
    assert answer.json()["user"]["name"] == "Bob"
    assert (await household.client(token).get("/api/me")).status_code == 401


async def test_key_adds_no_passkey(household: Household) -> None:
    made = await household.clients["Bob"].post("/api/keys", json={"name": "x"})
    program = household.program(made.json()["key"])
    body = {"name": "x", "password": PASSWORD}
    assert (await program.post("/api/passkeys/options", json=body)).status_code == 403
    assert (await program.get("/api/passkeys")).status_code == 403


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("id", ""),
        ("id", "A" * 1401),
        ("id", "a+b/c="),
        ("id", "é"),
        ("client_data", "A" * 8001),
        ("signature", "\u0000"),
        ("user_handle", None),
        ("user_handle", {"a": []}),
        ("rawId", "AA"),
    ],
)
async def test_what_is_no_answer_of_a_device_is_named(
    household: Household, part: str, value: Any
) -> None:
    stranger = household.client()
    asked = await stranger.post("/api/session/passkey/options")
    body = Authenticator(ORIGIN).use(asked.json()["options"]) | {part: value}
    answer = await stranger.post("/api/session/passkey", json=body)
    assert answer.status_code == 422
    assert answer.json()["error"]["field"] == part


async def test_huge_answer_is_not_read(household: Household) -> None:
    body = {"id": "A" * 5_000_000}
    assert (await household.client().post("/api/session/passkey", json=body)).status_code == 413
    body = {"id": "AA", "client_data": "AA", "attestation": "A" * 1_000_000}
    refused = await household.clients["Bob"].post("/api/passkeys", json=body)
    assert refused.json()["error"]["field"] == "attestation"


def at(household: Household, place: str, peer: str = "127.0.0.1", **words: str) -> Any:
    """Return a client that comes in under another address, by a peer that says these words."""
    headers = {"origin": place} | {key.replace("_", "-"): value for key, value in words.items()}
    transport = httpx.ASGITransport(household.app, client=(peer, 1))
    return httpx.AsyncClient(transport=transport, base_url=place, headers=headers)


def cookie_of(household: Household, name: str) -> str:
    return household.clients[name].headers["cookie"]


async def test_bare_address_has_none_and_says_what_to_do(household: Household) -> None:
    client = at(household, "http://127.0.0.1:7860", cookie=cookie_of(household, "Bob"))
    told = (await client.get("/api/passkeys")).json()["impossible"]
    assert "127.0.0.1" in told
    assert "http://localhost:7860" in told
    for path, body in (
        ("/api/passkeys/options", {"name": "x", "password": PASSWORD}),
        ("/api/session/passkey/options", None),
    ):
        refused = await client.post(path, json=body)
        error = refused.json()["error"]
        assert (refused.status_code, error["code"]) == (422, "passkeys_impossible")
    here = await household.clients["Bob"].get("/api/passkeys")
    assert here.json()["impossible"] is None


OUTSIDE = "https://chat.example.org"


@pytest.fixture
async def behind_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Household]:
    """One that a proxy at 127.0.0.1 shows as `OUTSIDE`; the proxy asks over plain http."""
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(passwords, "PasswordHasher", lambda **_: cheap)
    settings = Settings(
        data_dir=tmp_path,
        models_dir=tmp_path,
        ui=False,
        fake_engine=2000,
        trusted_proxy=["127.0.0.1"],
        allowed_hosts=["chat.example.org"],
    )
    household = Household(create_app(settings))
    async with household.app.router.lifespan_context(household.app):
        await household.fill()
        yield household


async def test_named_proxy_says_under_which_name_and_scheme_it_is(behind_proxy: Household) -> None:
    device = Authenticator(OUTSIDE)
    inside = "http://chat.example.org"
    words = {"x_forwarded_proto": "https", "x_forwarded_for": "192.0.2.50"}
    words["origin"] = OUTSIDE
    bob = at(behind_proxy, inside, **words, cookie=cookie_of(behind_proxy, "Bob"))
    assert (await add(bob, device)).status_code == 201
    stranger = at(behind_proxy, inside, **words)
    asked = await stranger.post("/api/session/passkey/options")
    assert asked.json()["options"]["rpId"] == "chat.example.org"
    assert "Secure" in asked.headers["set-cookie"]
    ticket = {"cookie": f"{TICKET}={asked.cookies[TICKET]}"}  # a browser has it for https
    answer = device.use(asked.json()["options"], origin=inside)  # somebody in between reads along
    shown = await stranger.post("/api/session/passkey", json=answer, headers=ticket)
    assert (shown.status_code, shown.json()["error"]["code"]) == (401, "wrong_passkey")
    asked = await stranger.post("/api/session/passkey/options")
    ticket = {"cookie": f"{TICKET}={asked.cookies[TICKET]}"}
    answer = device.use(asked.json()["options"])
    shown = await stranger.post("/api/session/passkey", json=answer, headers=ticket)
    assert shown.json()["user"]["name"] == "Bob"


async def test_words_of_a_proxy_that_nobody_named_change_nothing(behind_proxy: Household) -> None:
    stranger = at(
        behind_proxy, "http://chat.example.org", peer="192.0.2.7", x_forwarded_proto="https"
    )
    refused = await stranger.post("/api/session/passkey/options")
    assert refused.status_code == 422
    assert "--trusted-proxy" in refused.json()["error"]["hint"]


async def test_export_names_passkeys(household: Household) -> None:
    await add(household.clients["Bob"], Authenticator(ORIGIN))
    saved = (await household.clients["Bob"].get("/api/me/export")).json()
    assert [one["name"] for one in saved["passkeys"]] == ["Phone"]
    assert (await household.clients["Cid"].get("/api/me/export")).json()["passkeys"] == []
