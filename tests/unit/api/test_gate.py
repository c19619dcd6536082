from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.unit.api.fakes import fake_lan
from webui.api.gate import CONTENT_SECURITY_POLICY, Gate
from webui.api.http_app import create_http_app
from webui.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

OWN = "http://127.0.0.1:7860"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:7860", 200),
        ("127.0.0.1", 200),
        ("localhost:1", 200),
        ("LOCALHOST:7860", 200),
        ("[::1]:7860", 200),
        ("[::1]", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.nip.io:7860", 421),
        ("192.168.1.5:7860", 421),
        ("localhost@evil.example", 421),
        ("localhost:7860/x", 421),
        ("localhost:port", 421),
        ("localhost:7860, evil.example", 421),
        ("x/public?", 421),
        ("::1", 421),
        ("", 421),
    ],
)
@pytest.mark.parametrize(
    "path", ["/", "/health", "/api/me", "/v1/models", "/ui/app.js", "/theme.css"]
)
async def test_host_not_on_the_list_is_421(client, host, status, path) -> None:
    answer = await client.get(path, headers={"host": host})
    if status == 421:
        assert answer.status_code == 421
        assert "evil" not in answer.text
    else:
        assert answer.status_code in {200, 503}


async def test_host_header_missing_or_doubled_is_421(app) -> None:
    for headers in ([], [(b"host", b"localhost"), (b"host", b"localhost")]):
        assert (await _raw(app, headers=headers))[0] == 421


async def test_forwarded_host_is_neither_believed_nor_passed_on(runtime, page) -> None:
    seen: list[dict[bytes, bytes]] = []

    async def drawn(scope: Any, receive: Any, send: Any) -> None:
        seen.append(dict(scope["headers"]))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    page.adopt(drawn)
    headers = {"x-forwarded-host": "evil.example", "x-forwarded-proto": "https", "forwarded": "a"}
    async with _client(create_http_app(runtime, page)) as client:
        await client.get("/theme.css", headers=headers)
        refused = await client.get("/theme.css", headers={**headers, "host": "evil.example"})
    assert refused.status_code == 421
    assert not {b"x-forwarded-host", b"x-forwarded-proto", b"forwarded"} & seen[0].keys()


async def test_bound_address_is_a_good_host(runtime, page) -> None:
    runtime.lan = fake_lan(Settings(host="fd00::7"))
    async with _client(create_http_app(runtime, page)) as client:
        assert (await client.get("/health", headers={"host": "[fd00::7]:7860"})).status_code == 200
        assert (await client.get("/health", headers={"host": "[fd00::8]:7860"})).status_code == 421


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("192.168.1.5:7860", 200),
        ("[fd00::5]:7860", 200),
        ("[FD00:0:0::5]:7860", 200),
        ("desk:7860", 200),
        ("Desk.local", 200),
        ("chat.example.org", 200),
        ("192.168.1.6:7860", 421),
        ("fd00::5", 421),
        ("other.local", 421),
        ("evil.example", 421),
        ("192.168.1.5.nip.io", 421),
        ("org", 421),
        ("0.0.0.0", 421),
    ],
)
async def test_listening_server_answers_under_its_addresses_and_names_alone(
    runtime, page, host, status
) -> None:
    settings = Settings(listen=True, allowed_hosts=["Chat.Example.org"])
    runtime.lan = fake_lan(settings, "192.168.1.5", "fd00::5")
    async with _client(create_http_app(runtime, page)) as client:
        assert (await client.get("/health", headers={"host": host})).status_code == status


@pytest.mark.parametrize(
    "path", ["/api/conversations", "/v1/chat/completions", "/api/models/unload"]
)
@pytest.mark.parametrize(
    ("headers", "is_allowed"),
    [
        ({}, True),
        ({"origin": OWN}, True),
        ({"origin": OWN, "sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "none"}, True),
        ({"origin": OWN, "cookie": "a=b"}, True),
        ({"cookie": "a=b"}, False),
        ({"origin": "null"}, False),
        ({"origin": "null", "sec-fetch-site": "same-origin"}, False),
        ({"origin": "https://evil.example"}, False),
        ({"origin": "http://localhost:7860"}, False),
        ({"origin": "http://127.0.0.1:7861"}, False),
        ({"origin": "http://127.0.0.1"}, False),
        ({"origin": "ftp://127.0.0.1:7860"}, False),
        ({"origin": ""}, False),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "same-site"}, False),
        ({"sec-fetch-site": "cross-site", "origin": OWN}, False),
        ({"sec-fetch-site": "nonsense"}, False),
        ({"authorization": "Bearer sk-x", "origin": "https://evil.example"}, False),
    ],
)
async def test_unsafe_request_of_another_origin_is_403(client, path, headers, is_allowed) -> None:
    body = {"messages": [{"role": "user", "content": "hi"}]} if "v1" in path else {}
    answer = await client.post(path, json=body, headers=headers)
    if is_allowed:
        assert answer.status_code < 300
    else:
        assert answer.status_code == 403
        assert answer.json()["error"]["code"] == "cross_site"


async def test_doubled_origin_is_403(app) -> None:
    own = (b"origin", OWN.encode())
    headers = [(b"host", b"127.0.0.1:7860"), own, (b"origin", b"https://evil.example")]
    assert (await _raw(app, "POST", "/api/models/unload", headers))[0] == 403


@pytest.mark.parametrize(
    ("path", "site", "status"),
    [
        ("/", "cross-site", 200),
        ("/c/abc", "cross-site", 200),
        ("/api/me", "cross-site", 403),
        ("/api/me", "same-site", 403),
        ("/v1/models", "cross-site", 403),
        ("/api/me", "same-origin", 200),
        ("/v1/models", "none", 200),
    ],
)
async def test_reading_from_another_site_reaches_pages_only(client, path, site, status) -> None:
    assert (await client.get(path, headers={"sec-fetch-site": site})).status_code == status


@pytest.mark.parametrize("path", ["/", "/api/me", "/v1/models", "/theme.css", "/ui/app.js"])
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:3000", OWN])
@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860", "192.168.1.5:7860"])
async def test_no_answer_has_a_cors_header(client, page, path, origin, host) -> None:
    async def reflecting(scope: Any, receive: Any, send: Any) -> None:
        headers = [
            (b"Access-Control-Allow-Origin", origin.encode()),
            (b"access-control-allow-credentials", b"true"),
            (b"content-type", b"text/html"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"<html><head></head><body></body>"})

    page.adopt(reflecting)
    for method in ("GET", "OPTIONS"):
        answer = await client.request(
            method,
            path,
            headers={"origin": origin, "host": host, "access-control-request-method": "POST"},
        )
        assert not [name for name in answer.headers if name.startswith("access-control-")]


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "",
        "*/*",
    ],
)
@pytest.mark.parametrize(
    "path", ["/api/conversations", "/v1/chat/completions", "/gradio_api/queue/join"]
)
async def test_body_that_is_not_json_is_415(client, page, kind, path) -> None:
    page.adopt(_never)
    answer = await client.post(path, content=b"{}", headers={"content-type": kind})
    assert answer.status_code == 415


async def test_json_with_a_charset_is_taken_and_compressed_json_is_not(client) -> None:
    kind = {"content-type": "Application/JSON; charset=utf-8"}
    assert (await client.post("/api/conversations", content=b"{}", headers=kind)).status_code == 201
    kind["content-encoding"] = "gzip"
    assert (await client.post("/api/conversations", content=b"{}", headers=kind)).status_code == 415


@pytest.mark.parametrize("path", ["/api/conversations", "/v1/chat/completions"])
async def test_body_over_the_limit_is_413_whether_announced_or_not(client, path) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b" " * 1_000_000

    kind = {"content-type": "application/json"}
    announced = await client.post(path, content=b" " * 5_000_000, headers=kind)
    streamed = await client.post(path, content=chunks(), headers=kind)
    assert announced.status_code == streamed.status_code == 413


async def test_body_over_the_limit_is_413_also_when_the_app_behind_answers_otherwise() -> None:
    async def swallowing(scope: Any, receive: Any, send: Any) -> None:
        with contextlib.suppress(Exception):
            while (await receive()).get("more_body"):
                pass
        await send({"type": "http.response.start", "status": 400, "headers": []})
        await send({"type": "http.response.body", "body": b"no"})

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"12345678"

    async with _client(Gate(swallowing, max_body_bytes=20)) as client:
        kind = {"content-type": "application/json"}
        answer = await client.post("/gradio_api/queue/join", content=chunks(), headers=kind)
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "body_too_large"


async def test_body_that_does_not_arrive_is_408(runtime, page) -> None:
    async def receive() -> Any:
        await asyncio.Event().wait()

    app = create_http_app(runtime, page)
    gate = Gate(app.router, body_timeout_s=0.01)
    headers = [
        (b"host", b"localhost"),
        (b"content-type", b"application/json"),
        (b"content-length", b"9"),
    ]
    status, _ = await _raw(gate, "POST", "/gradio_api/queue/join", headers, receive)
    assert status in {404, 408, 503}

    async def reading(scope: Any, receive: Any, send: Any) -> None:
        await receive()

    gate = Gate(reading, body_timeout_s=0.01)
    assert (await _raw(gate, "POST", "/api/jobs", headers, receive))[0] == 408


async def test_body_that_drips_is_408_though_each_piece_is_in_time() -> None:
    async def reading(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass

    async def receive() -> Any:
        await asyncio.sleep(0.001)
        return {"type": "http.request", "body": b" ", "more_body": True}

    gate = Gate(reading, body_timeout_s=5, whole_body_timeout_s=0.02)
    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    headers.append((b"transfer-encoding", b"chunked"))
    assert (await _raw(gate, "POST", "/api/jobs", headers, receive))[0] == 408


@pytest.mark.parametrize(
    "path", ["/", "/c/abc", "/health", "/api/me", "/api/nothing", "/ui/app.js", "/v1/models"]
)
async def test_every_answer_has_the_security_headers(client, path) -> None:
    headers = (await client.get(path)).headers
    assert headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert len(headers["x-request-id"]) == 16
    assert "server" not in headers


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("/api/me", "no-store"),
        ("/v1/models", "no-store"),
        ("/api/nothing", "no-store"),
        ("/", "no-cache"),
        ("/ui/app.js", "no-cache"),
        ("/ui/vendor/marked-15.0.1/marked.js", "public, max-age=31536000, immutable"),
    ],
)
async def test_answers_say_how_long_they_may_be_kept(client, path, kept) -> None:
    assert (await client.get(path)).headers["cache-control"] == kept


async def test_websocket_is_closed(app) -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await app({"type": "websocket", "path": "/api/events", "headers": []}, receive, send)
    assert sent == [{"type": "websocket.close", "code": 1008}]


def _client(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=OWN)


async def _never(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("the gate let it through")


async def _raw(
    app: Any,
    method: str = "GET",
    path: str = "/health",
    headers: list[tuple[bytes, bytes]] | None = None,
    receive: Any = None,
) -> tuple[int, bytes]:
    """Speak ASGI directly, with headers that no client would send."""
    sent: list[Any] = []

    async def empty() -> Any:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "scheme": "http",
        "query_string": b"",
        "headers": headers or [],
    }
    await app(scope, receive or empty, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)
