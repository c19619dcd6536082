"""A whole app with people in it, asked over ASGI as each of them."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from argon2 import PasswordHasher

from webui.accounts import passwords
from webui.api.door import COOKIE
from webui.app import create_app
from webui.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fastapi import FastAPI

ORIGIN = "http://localhost:7860"
PASSWORD = "four words in a row"  # noqa: S105 - of nobody
# What each is to Bob, whose things they ask for.
PEOPLE = {"Ann": "administrator", "Bob": "user", "Cid": "user", "Gus": "guest"}


class Household:
    """An app in which Ann is the administrator, Bob and Cid are users and Gus is a guest.

    Attributes:
        clients: By name, each signed in; a stranger's under the empty name.
        ids: Of the people, by name.
    """

    def __init__(self, app: FastAPI) -> None:
        self.app = app
        self.runtime = app.state.runtime
        self.clients: dict[str, httpx.AsyncClient] = {}
        self.ids: dict[str, str] = {}

    def client(self, token: str = "") -> httpx.AsyncClient:
        """Return a client that shows a token; it is closed by nobody, for nothing is open."""
        headers = {"origin": ORIGIN} | ({"cookie": f"{COOKIE}={token}"} if token else {})
        transport = httpx.ASGITransport(self.app)
        return httpx.AsyncClient(transport=transport, base_url=ORIGIN, headers=headers)

    def program(self, key: str) -> httpx.AsyncClient:
        """Return a client that shows an API key, as programs do."""
        headers = {"authorization": f"Bearer {key}"}
        transport = httpx.ASGITransport(self.app)
        return httpx.AsyncClient(transport=transport, base_url=ORIGIN, headers=headers)

    async def fill(self) -> None:
        """Make the people and sign them in."""
        code = self.runtime.accounts.first_run_code
        first = {"code": code, "name": "Ann", "password": PASSWORD}
        made = await self.client().post("/api/first-run", json=first)
        self.ids["Ann"] = made.json()["user"]["id"]
        await self.sign_in("Ann")
        for name, role in PEOPLE.items():
            if name != "Ann":
                body = {"name": name, "role": role, "password": PASSWORD}
                made = await self.clients["Ann"].post("/api/users", json=body)
                self.ids[name] = made.json()["user"]["id"]
                await self.sign_in(name)
        self.clients[""] = self.client()

    async def sign_in(self, name: str, password: str = PASSWORD) -> str:
        """Sign somebody in anew; returns the token."""
        body = {"name": name, "password": password}
        answer = await self.client().post("/api/session", json=body)
        assert answer.status_code == 200, answer.text
        token = answer.cookies[COOKIE]
        self.clients[name] = self.client(token)
        return token

    async def talk(self, name: str, text: str) -> tuple[str, str, str]:
        """Have somebody say something and be answered; returns conversation, message, generation."""
        client = self.clients[name]
        made = await client.post("/api/conversations")
        conversation_id = made.json()["conversation"]["id"]
        body = {"mode": "send", "parent_id": None, "text": text}
        turn = await client.post(f"/api/conversations/{conversation_id}/messages", json=body)
        assert turn.status_code == 202, turn.text
        async with asyncio.timeout(20):
            while (await client.get(f"/api/conversations/{conversation_id}")).json()["generation"]:  # noqa: ASYNC110 - it asks over HTTP
                await asyncio.sleep(0.01)
        generation = turn.json()["generation"]
        return conversation_id, generation["message_id"], generation["id"]


@pytest.fixture
async def household(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Household]:
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(passwords, "PasswordHasher", lambda **_: cheap)
    (tmp_path / "models").mkdir()
    settings = Settings(
        data_dir=tmp_path / "data", models_dir=tmp_path / "models", ui=False, fake_engine=2000
    )
    async with AsyncExitStack() as stack:
        household = Household(create_app(settings))
        await stack.enter_async_context(household.app.router.lifespan_context(household.app))
        await household.fill()
        yield household


async def status_of(household: Household, name: str, method: str, path: str, body: Any) -> int:
    """Ask as somebody and return the status; an answer that lasts is left as soon as it begins."""
    client = household.clients[name]
    request = client.build_request(method, path, json=body)
    begun, statuses = asyncio.Event(), []
    raw, is_sent = request.read(), False

    async def receive() -> dict[str, Any]:
        nonlocal is_sent
        if is_sent:
            await begun.wait()
            return {"type": "http.disconnect"}
        is_sent = True
        return {"type": "http.request", "body": raw, "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])
            begun.set()

    scope = {
        "type": "http",
        "method": method,
        "path": request.url.path,
        "raw_path": request.url.raw_path.partition(b"?")[0],
        "query_string": request.url.query,
        "headers": [(key.lower(), value) for key, value in request.headers.raw],
        "client": ("192.0.2.7", 1),
        "scheme": "http",
        "http_version": "1.1",
        "asgi": {"version": "3.0"},
    }
    await household.app(scope, receive, send)
    (status,) = statuses
    return int(status)
