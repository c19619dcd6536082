"""A house with a provider of OpenID Connect, browsers that go there, and what is told of them."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from argon2 import PasswordHasher

from tests.integration.api.conftest import ORIGIN, PASSWORD, Household
from tests.oidc_provider import CLIENT, SECRET, OidcProvider
from webui.accounts import passwords
from webui.api.door import COOKIE
from webui.app import create_app
from webui.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    MakeHouse = Callable[..., Awaitable[Household]]

# What a browser sends along on the way back from another site.
FROM_ELSEWHERE = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}


@pytest.fixture
def provider() -> Iterator[OidcProvider]:
    made = OidcProvider()
    yield made
    made.close()


@pytest.fixture
async def make_house(
    tmp_path: Path, provider: OidcProvider, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[MakeHouse]:
    """Make households with settings of their own."""
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(passwords, "PasswordHasher", lambda **_: cheap)
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    async with AsyncExitStack() as stack:

        async def make(*, is_filled: bool = True, **more: Any) -> Household:
            settings = Settings(
                data_dir=tmp_path / "data",
                models_dir=tmp_path,
                ui=False,
                fake_engine=2000,
                oidc_issuer=provider.issuer,
                oidc_client_id=CLIENT,
                oidc_client_secret_file=file,
                oidc_name="Login",
                **more,
            )
            household = Household(create_app(settings))
            await stack.enter_async_context(household.app.router.lifespan_context(household.app))
            if is_filled:
                await household.fill()
            return household

        yield make


@pytest.fixture
async def household(make_house: MakeHouse) -> Household:
    return await make_house()


class Browser:
    """A browser with its cookies, on our origin."""

    def __init__(self, household: Household, token: str = "") -> None:
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(household.app), base_url=ORIGIN
        )
        if token:
            self.client.cookies.set(COOKIE, token, domain="localhost.local", path="/")

    async def begin(self, next_path: str = "/") -> str:
        """Press the button; returns to where the browser is sent."""
        headers = {"origin": ORIGIN, "sec-fetch-site": "same-origin"}
        answer = await self.client.post("/api/oidc", json={"next": next_path}, headers=headers)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["url"])

    async def link(self, password: str = PASSWORD) -> httpx.Response:
        body = {"password": password}
        headers = {"origin": ORIGIN}
        return await self.client.post("/api/oidc/link", json=body, headers=headers)

    async def come_back(self, url: str) -> httpx.Response:
        return await self.client.get(url, headers=FROM_ELSEWHERE)

    async def sign_in(self, provider: OidcProvider, next_path: str = "/") -> httpx.Response:
        return await self.come_back(provider.come_back(await self.begin(next_path)))

    async def user(self) -> dict[str, Any] | None:
        found = (await self.client.get("/api/session")).json()["user"]
        return found if found is None else dict(found)

    @property
    def token(self) -> str | None:
        return self.client.cookies.get(COOKIE)


async def signed_in_as_bob(household: Household) -> Browser:
    browser = Browser(household)
    body = {"name": "Bob", "password": PASSWORD}
    await browser.client.post("/api/session", json=body, headers={"origin": ORIGIN})
    return browser


async def link_bob(household: Household, provider: OidcProvider) -> Browser:
    browser = await signed_in_as_bob(household)
    made = await browser.link()
    assert made.status_code == 200, made.text
    answer = await browser.come_back(provider.come_back(made.json()["url"]))
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    return browser


def code_of(answer: httpx.Response) -> str:
    return str(answer.json()["error"]["code"])


async def actions(household: Household) -> list[str]:
    entries = (await household.clients["Ann"].get("/api/audit")).json()["entries"]
    return [f"{one['actor_name']}: {one['action']} {one['about']}" for one in entries]


async def linked_to(household: Household, user_id: str) -> list[str]:
    users = (await household.clients["Ann"].get("/api/users")).json()["users"]
    (found,) = [one["linked_to"] for one in users if one["id"] == user_id]
    return list(found)
