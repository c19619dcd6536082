"""Keys at the door: which header, which path, and the routes that make and revoke them."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.api.fakes import KEY
from tests.unit.api.test_door import asked
from webui.accounts.identity import EndpointGroup, Identity, Scope, Source
from webui.actor import Actor, Permission
from webui.api.door import COOKIE, PUBLIC
from webui.api.key_scope import PATHS, group_of

if TYPE_CHECKING:
    from fastapi import FastAPI

BOB = Actor("bob", "Bob", frozenset({Permission.CHAT}))
BEARER = {"authorization": f"Bearer {KEY}"}
X_API_KEY = {"x-api-key": KEY}
CHAT = {"messages": [{"role": "user", "content": "x"}]}


def keyed(*endpoints: str) -> Identity:
    scope = Scope(frozenset(endpoints) if endpoints else None)
    return Identity(actor=BOB, source=Source.API_KEY, id="k1", scope=scope)


@pytest.fixture
def accounts(runtime) -> Any:
    """Accounts in which nobody is signed in and the key is Bob's."""
    runtime.accounts.identity = None
    runtime.accounts.is_claimed = True
    runtime.accounts.keys.identity = keyed()
    return runtime.accounts


@pytest.mark.parametrize(
    "headers",
    [BEARER, X_API_KEY, {**BEARER, **X_API_KEY}, {"authorization": f"bearer  {KEY} "}],
)
async def test_key_opens_in_either_header(client, accounts, headers) -> None:
    assert (await client.get("/v1/models", headers=headers)).status_code == 200
    assert accounts.keys.shown == [KEY]


@pytest.mark.parametrize("headers", [BEARER, X_API_KEY])
@pytest.mark.parametrize(
    ("path", "status"), [("/v1/models", 200), ("/metrics", 403), ("/api/models", 403)]
)
async def test_both_headers_are_bound_by_the_same_scope(
    client, accounts, headers, path, status
) -> None:
    accounts.keys.identity = keyed("models")
    answer = await client.get(path, headers=headers)
    assert answer.status_code == status
    if status == 403:
        assert answer.json()["error"]["code"] == "key_scope"
        assert "models" in answer.json()["error"]["hint"]


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer wrong"},
        {"authorization": "Bearer "},
        {"authorization": "Bearer"},
        {"x-api-key": ""},
        {"x-api-key": "sk-dummy"},
        {**BEARER, "x-api-key": "sk-dummy"},
        {"authorization": "Bearer wrong", **X_API_KEY},
    ],
)
async def test_wrong_key_is_401_in_the_dialect_of_the_path(client, accounts, headers) -> None:
    ours = await client.get("/api/models", headers=headers)
    assert (ours.status_code, ours.json()["error"]["code"]) == (401, "invalid_api_key")
    theirs = await client.get("/v1/models", headers=headers)
    assert theirs.status_code == 401
    assert theirs.json()["error"]["code"] == "invalid_api_key"
    assert theirs.json()["error"]["type"] == "authentication_error"


@pytest.mark.parametrize("key", ["wrong", KEY])
async def test_cookie_beside_a_key_is_not_looked_at(client, accounts, key) -> None:
    accounts.identity = Identity(actor=BOB, source=Source.SESSION, id="s1")
    headers = {"authorization": f"Bearer {key}", "cookie": f"{COOKIE}={'t' * 43}"}
    answer = await client.get("/api/me", headers=headers)
    assert answer.status_code == (403 if key == KEY else 401)
    assert accounts.shown == []


async def test_password_of_a_proxy_is_no_key(client, accounts) -> None:
    accounts.identity = Identity(actor=BOB, source=Source.SESSION, id="s1")
    headers = {"authorization": "Basic Ym9iOng=", "cookie": f"{COOKIE}={'t' * 43}"}
    assert (await client.get("/api/me", headers=headers)).status_code == 200
    assert accounts.keys.shown == []


@pytest.mark.parametrize("headers", [BEARER, X_API_KEY])
@pytest.mark.parametrize(
    "path",
    ["/", "/c/abc-1", "/api/me", "/api/users", "/api/keys", "/api/sessions", "/api/audit", "/x"],
)
async def test_what_is_for_people_is_opened_by_no_key(client, accounts, headers, path) -> None:
    answer = await client.get(path, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "key_scope")


async def test_drawn_page_is_opened_by_no_key(client, accounts) -> None:
    answer = await client.post("/gradio_api/run/predict", json={}, headers=BEARER)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "key_scope")


@pytest.mark.parametrize("path", [*sorted(PUBLIC), "/ui/app.js"])
@pytest.mark.parametrize("key", ["wrong", KEY])
async def test_public_paths_look_at_no_key_and_tell_nothing_of_it(
    client, accounts, path, key
) -> None:
    answer = await client.get(path, headers={"x-api-key": key})
    assert answer.status_code in {200, 303, 404, 405}
    assert accounts.keys.shown == []
    if path == "/api/session":
        assert answer.json()["user"] is None


@pytest.mark.parametrize("headers", [BEARER, {"x-api-key": "sk-dummy"}])
async def test_before_there_are_accounts_any_key_is_nothing(client, runtime, headers) -> None:
    assert (await client.get("/api/me", headers=headers)).status_code == 200
    assert runtime.accounts.keys.shown == []
    runtime.accounts.identity = None  # as for those who come from elsewhere
    answer = await client.get("/v1/models", headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "not_authenticated")


@pytest.mark.parametrize(
    ("path", "group"),
    [
        ("/v1/chat/completions", EndpointGroup.CHAT),
        ("/v1/chat/completions/", EndpointGroup.CHAT),
        ("/v1/chat/completions2", None),
        ("/v1", None),
        ("/v1/", None),
        ("/api/models/load", EndpointGroup.MANAGE),
        ("/api/modelsx", None),
        ("/API/models", None),
        ("//api/models", None),
        ("/api/users", None),
        ("/api/conversations/c1/messages", EndpointGroup.CONVERSATIONS),
        ("", None),
    ],
)
def test_group_is_that_of_whole_segments(path, group) -> None:
    assert group_of(path) == group


def test_paths_of_groups_do_not_overlap() -> None:
    begins = [begin for paths in PATHS.values() for begin in paths]
    assert not [(a, b) for a in begins for b in begins if a != b and b.startswith(f"{a}/")]


@pytest.mark.parametrize("stream", [False, True])
async def test_completion_ends_with_the_key(app: FastAPI, runtime, accounts, stream) -> None:
    identity = accounts.keys.identity
    runtime.generations.script.insert(1 if stream else 0, asyncio.Event())
    raw = json.dumps({**CHAT, "stream": stream}).encode()
    headers = [(b"x-api-key", KEY.encode())]
    path = "/v1/chat/completions"
    asking = asyncio.create_task(asked(app, "POST", path, headers=headers, body=raw))
    await runtime.generations.is_begun.wait()
    await asyncio.sleep(0)
    identity.ended.set()
    answer = await asyncio.wait_for(asking, 5)
    assert runtime.generations.is_closed.is_set()
    assert answer.is_complete
    assert answer.status == (200 if stream else 401)
    if not stream:
        assert json.loads(answer.body)["error"]["code"] == "invalid_api_key"


async def test_key_is_told_once_and_its_bounds_are_passed_on(client, runtime) -> None:
    body = {
        "name": "Editor",
        "endpoints": ["chat", "models"],
        "models": ["a.gguf"],
        "expires_at": "2030-01-01T00:00:00+01:00",
    }
    made = await client.post("/api/keys", json=body)
    assert made.status_code == 201
    assert made.json()["key"] == KEY
    _, name, _, given = runtime.api_keys.calls[-1]
    assert name == "Editor"
    assert given["scope"] == Scope(frozenset({"chat", "models"}), frozenset({"a.gguf"}))
    assert given["expires_at"].isoformat() == "2030-01-01T00:00:00+01:00"
    assert KEY not in (await client.get("/api/keys")).text
    assert KEY not in (await client.get("/api/users/u1/keys")).text


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"name": "x", "expires_at": "2030-01-01T00:00:00"}, "expires_at"),
        ({"name": "x", "expires_at": "soon"}, "expires_at"),
        ({"name": "x", "endpoints": "chat"}, "endpoints"),
        ({"name": "x", "models": [1]}, "models.0"),
        ({"name": "x", "owner_id": "ann"}, "owner_id"),
        ({"name": "x", "key": KEY}, "key"),
    ],
)
async def test_wrong_form_of_a_key_names_the_field(client, body, field) -> None:
    answer = await client.post("/api/keys", json=body)
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, field)


async def test_keys_are_revoked_by_id(client, runtime) -> None:
    assert (await client.delete("/api/keys/k1")).status_code == 204
    assert runtime.api_keys.calls[-1][:2] == ("delete", "k1")
    assert (await client.delete("/api/users/u1/keys/k1")).status_code == 204
    assert runtime.api_keys.calls[-1][:3] == ("delete_of", "u1", "k1")
