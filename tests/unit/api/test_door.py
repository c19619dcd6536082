"""Who gets past the door, where everybody else is sent, and what is cut when a sign-in ends."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.api.fakes import SIGNED_IN
from webui.accounts.identity import Identity, Sender, Source
from webui.actor import Actor, Permission
from webui.api.door import COOKIE, PUBLIC
from webui.api.traffic import Traffic

if TYPE_CHECKING:
    from fastapi import FastAPI

ANN = Actor("ann", "Ann", frozenset(Permission))
TOKEN = "t" * 43


def signed_in(**more: Any) -> Identity:
    return Identity(actor=ANN, source=Source.SESSION, id="s1", **more)


@pytest.fixture
def stranger(runtime):
    runtime.accounts.identity = None
    runtime.accounts.is_claimed = True
    return runtime.accounts


@pytest.mark.parametrize("path", ["/api/me", "/api/conversations", "/v1/models", "/metrics", "/x"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_stranger_gets_no_further_than_the_door(client, stranger, method, path) -> None:
    answer = await client.request(method, path)
    assert answer.status_code == 401
    error = answer.json()["error"]
    assert error["code"] == "not_authenticated"
    assert answer.headers["cache-control"] == "no-store"
    assert "content-security-policy" in answer.headers


@pytest.mark.parametrize("path", [*sorted(PUBLIC), "/ui/app.js"])
async def test_public_paths_are_open(client, stranger, path) -> None:
    assert (await client.get(path)).status_code in {200, 303, 404, 405}


@pytest.mark.parametrize(
    "path", ["/ui/../api/me", "/ui/%2e%2e/api/me", "//api/me", "/API/me", "/health/"]
)
async def test_no_way_of_writing_a_path_gets_around_it(client, stranger, path) -> None:
    answer = await client.get(path)
    assert answer.status_code in {401, 404}
    assert "user" not in answer.text


@pytest.mark.parametrize(
    ("is_claimed", "path", "where"),
    [
        (True, "/", "/sign-in"),
        (True, "/c/abc-1", "/sign-in?next=%2Fc%2Fabc-1"),
        (True, "/s/abc-1", "/sign-in?next=%2Fs%2Fabc-1"),
        (False, "/", "/first-run"),
        (False, "/c/abc-1", "/first-run?next=%2Fc%2Fabc-1"),
    ],
)
async def test_browser_of_a_stranger_is_sent_to_the_way_in(
    client, stranger, is_claimed, path, where
) -> None:
    stranger.is_claimed = is_claimed
    answer = await client.get(path)
    assert (answer.status_code, answer.headers["location"]) == (303, where)
    assert answer.headers["cache-control"] == "no-store"


async def test_way_in_lies_below_the_root_path(client, stranger, runtime) -> None:
    runtime.settings = runtime.settings.model_copy(update={"root_path": "/hearth"})
    assert (await client.get("/")).headers["location"] == "/hearth/sign-in"


@pytest.mark.parametrize(
    ("cookies", "token"),
    [
        ([f"{COOKIE}={TOKEN}"], TOKEN),
        ([f"a=b; {COOKIE}={TOKEN}; c=d"], TOKEN),
        (["a=b", f"{COOKIE}={TOKEN}"], TOKEN),
        ([f"{COOKIE}={TOKEN}", f"{COOKIE}=other"], None),
        ([f"x{COOKIE}={TOKEN}"], None),
        ([], None),
        (['=;;;"'], None),
    ],
)
async def test_token_is_that_of_the_one_cookie(client, runtime, cookies, token) -> None:
    headers = [("cookie", cookie) for cookie in cookies] + [("user-agent", "Firefox Linux")]
    await client.get("/api/me", headers=headers)
    assert runtime.accounts.shown == [(token, Sender("127.0.0.1", "Firefox, Linux"), True)]


@pytest.mark.parametrize(
    ("address", "is_local"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("192.168.1.7", False),
        ("::ffff:192.168.1.7", False),
        ("fe80::1", False),
        ("", False),
        ("localhost", False),
    ],
)
async def test_only_the_machine_itself_is_local(app, runtime, address, is_local) -> None:
    await asked(app, "GET", "/api/me", client=(address, 1))
    assert runtime.accounts.shown[-1][2] is is_local


async def test_sender_behind_a_proxy_that_nobody_named_is_not_local(app, runtime) -> None:
    headers = [(b"x-forwarded-for", b"203.0.113.9")]
    await asked(app, "GET", "/api/me", headers=headers)
    assert runtime.accounts.shown[-1][1:] == (Sender("", ""), False)


async def test_word_of_gradios_own_page_makes_nobody_a_stranger(app, runtime) -> None:
    await asked(app, "GET", "/api/me", headers=[(b"x-gradio-user", b"app")])
    assert runtime.accounts.shown[-1][2] is True


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/me", 200),
        ("GET", "/api/session", 200),
        ("GET", "/sign-in", 200),
        ("GET", "/", 303),
        ("GET", "/api/conversations", 403),
        ("POST", "/v1/chat/completions", 403),
        ("POST", "/gradio_api/run/predict", 403),
    ],
)
async def test_nothing_goes_before_a_password_of_ones_own(
    client, runtime, method, path, status
) -> None:
    runtime.accounts.is_claimed = True
    runtime.accounts.identity = signed_in(must_change_password=True)
    answer = await client.request(method, path)
    assert answer.status_code == status
    if status == 403:
        assert "password_change_required" in answer.text


async def test_sign_in_sets_a_cookie_that_no_script_reads(client, stranger) -> None:
    answer = await client.post("/api/session", json={"name": "Ann", "password": "x"})
    cookie = answer.headers["set-cookie"].lower()
    assert cookie.startswith(f"{COOKIE}={SIGNED_IN.token}")
    assert {"httponly", "samesite=lax", "path=/"} <= {part.strip() for part in cookie.split(";")}
    assert "secure" not in cookie
    assert SIGNED_IN.token not in answer.text
    assert answer.headers["cache-control"] == "no-store"


async def test_cookie_is_for_https_alone_where_that_is_served(app, stranger) -> None:
    body = json.dumps({"name": "Ann", "password": "x"}).encode()
    answer = await asked(app, "POST", "/api/session", body=body, scheme="https")
    assert b"secure" in dict(answer.headers)[b"set-cookie"].lower()


async def test_sign_in_ends_what_was_signed_in_here_before(client, runtime) -> None:
    runtime.accounts.identity = before = signed_in()
    await client.post("/api/session", json={"name": "Ann", "password": "x"})
    assert [call[0] for call in runtime.accounts.calls] == ["sign_in", "sign_out"]
    assert before.id == "s1"


async def test_sign_out_forgets_the_cookie(client, runtime) -> None:
    runtime.accounts.identity = signed_in()
    answer = await client.delete(
        "/api/session", headers={"cookie": f"{COOKIE}={TOKEN}", "origin": "http://127.0.0.1:7860"}
    )
    assert answer.status_code == 204
    assert f'{COOKIE}=""' in answer.headers["set-cookie"]
    assert "Max-Age=0" in answer.headers["set-cookie"]


async def test_health_tells_strangers_no_names(client, stranger) -> None:
    assert (await client.get("/health")).json()["model"] == {"state": "ready"}


async def test_who_asks_too_much_is_told_when_to_come_back(client, app, runtime) -> None:
    app.state.traffic = Traffic(0.1, clock=lambda: 0.0)  # one request in ten seconds
    runtime.accounts.identity = signed_in()
    assert (await client.get("/api/jobs")).status_code == 200
    answer = await client.get("/api/jobs")
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "10"
    assert answer.json()["error"]["code"] == "too_many_requests"
    for path in ("/health", "/ui/app.js"):
        assert (await client.get(path)).status_code == 200


async def test_strangers_are_counted_by_address_and_not_with_people(client, app, runtime) -> None:
    app.state.traffic = Traffic(0.1, clock=lambda: 0.0)
    runtime.accounts.identity = signed_in()
    assert (await client.get("/api/jobs")).status_code == 200
    runtime.accounts.identity = None
    runtime.accounts.is_claimed = True
    assert (await client.get("/api/jobs")).status_code == 401
    assert (await client.get("/api/jobs")).status_code == 429
    assert (await asked(app, "GET", "/api/jobs", client=("192.0.2.7", 1))).status == 401


async def test_look_for_a_token_is_counted_before_it_is_done(client, app, runtime) -> None:
    app.state.traffic = Traffic(1, clock=lambda: 0.0)
    runtime.accounts.identity = None
    runtime.accounts.is_claimed = True
    runtime.accounts.sessions.knows_all = False
    headers = {"cookie": f"{COOKIE}={TOKEN}"}
    statuses = [(await client.get("/ui/app.js", headers=headers)).status_code for _ in range(30)]
    assert statuses == [200] * 10 + [429] * 20
    assert len(runtime.accounts.shown) == 10
    runtime.accounts.sessions.knows_all = True
    assert (await client.get("/ui/app.js", headers=headers)).status_code == 200


async def test_who_sits_at_the_machine_is_not_counted(client, app, runtime) -> None:
    app.state.traffic = Traffic(0.1, clock=lambda: 0.0)
    for _ in range(3):
        assert (await client.get("/api/jobs")).status_code == 200


async def test_event_stream_ends_with_the_sign_in(app: FastAPI, runtime) -> None:
    runtime.accounts.identity = identity = signed_in()
    begun = asyncio.Event()
    stream = asyncio.create_task(asked(app, "GET", "/api/events", begun=begun))
    await begun.wait()
    assert not stream.done()
    identity.ended.set()
    answer = await asyncio.wait_for(stream, 5)
    assert answer.status == 200
    assert answer.is_complete


@pytest.mark.parametrize("stream", [False, True])
async def test_completion_ends_with_the_sign_in(app: FastAPI, runtime, stream: bool) -> None:
    runtime.accounts.identity = identity = signed_in()
    runtime.generations.script.insert(1 if stream else 0, asyncio.Event())
    body = {"messages": [{"role": "user", "content": "x"}], "stream": stream}
    raw = json.dumps(body).encode()
    asking = asyncio.create_task(asked(app, "POST", "/v1/chat/completions", body=raw))
    await runtime.generations.is_begun.wait()
    await asyncio.sleep(0)
    identity.ended.set()
    answer = await asyncio.wait_for(asking, 5)
    assert runtime.generations.is_closed.is_set()
    assert answer.is_complete
    assert answer.status == (200 if stream else 401)


class Answer:
    """What an app sent."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.is_complete = False


async def asked(
    app: FastAPI,
    method: str,
    path: str,
    *,
    headers: list[tuple[bytes, bytes]] | None = None,
    body: bytes = b"",
    begun: asyncio.Event | None = None,
    **more: object,
) -> Answer:
    """Ask an app and stay connected until it ends the answer; `more` stands in the scope."""
    answer, is_sent = Answer(), False
    sent = [(b"host", b"127.0.0.1:7860"), *(headers or [])]
    if body:
        sent += [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ]
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": sent,
        "client": ("127.0.0.1", 1),
        "scheme": "http",
        "http_version": "1.1",
        "asgi": {"version": "3.0"},
        **more,
    }

    async def receive() -> dict[str, Any]:
        nonlocal is_sent
        if is_sent:
            await asyncio.Event().wait()
        is_sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            answer.status, answer.headers = message["status"], message["headers"]
            if begun is not None:
                begun.set()
        else:
            answer.body += message.get("body", b"")
            answer.is_complete = not message.get("more_body", False)

    await app(scope, receive, send)
    return answer
