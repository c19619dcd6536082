"""The real page behind the real gate: what is open, what is shut, what leaves the server."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.integration.api.conftest import Household
from webui.app import create_app, draw_with_gradio
from webui.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fastapi import FastAPI

    from webui.app import DrawPage

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

HOST = "localhost:7860"


@asynccontextmanager
async def served(
    tmp_path: Path, draw: DrawPage = draw_with_gradio
) -> AsyncIterator[tuple[httpx.AsyncClient, FastAPI]]:
    """Serve a page; Gradio is loaded once and stays in this process."""
    settings = Settings(
        data_dir=tmp_path / "data", models_dir=tmp_path, fake_engine=1000, requests_per_s=0
    )
    app: FastAPI = create_app(settings, draw=draw)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url=f"http://{HOST}") as client,
    ):
        async with asyncio.timeout(90):
            state = "starting"
            while state == "starting":
                state = (await client.get("/health")).json()["ui"]
                await asyncio.sleep(0.1)
        assert state == "ready"
        yield client, app


@pytest.mark.filterwarnings("default")  # Gradio's own
async def test_gradio_is_open_where_the_page_needs_it_and_shut_elsewhere(tmp_path: Path) -> None:
    async with served(tmp_path) as (client, app):
        await _check_inventory(client, app)
        await _check_page(client)
        await _check_assets(client)
        await _check_shut(client)
        await _check_cors(client)
        await _check_event(client)
        await _check_strangers(app)


async def _check_inventory(client: httpx.AsyncClient, app: FastAPI) -> None:
    """Of all routes that Gradio has, those on the list are open and no other."""
    page, reached = app.state.page, set()
    drawn = page._drawn

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        reached.add((scope["method"], scope["path"]))
        await drawn(scope, receive, send)

    page.adopt(watched)
    paths = {re.sub(r"\{[^}]*\}", "x", path) for path in _paths(drawn.routes)} - {"", "/"}
    assert len(paths) > 40
    for path in {*paths, "/gradio_api/run/predict"}:
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
            await client.request(method, path, json={} if method == "POST" else None)
    page.adopt(drawn)
    opened = {"/theme.css", "/static/x", "/assets/x"}
    reading = {(method, path) for method in ("GET", "HEAD") for path in opened}
    assert reached == {*reading, ("POST", "/gradio_api/run/predict")}
    # With it the page would ask for a heartbeat, which is shut.
    assert '"connect_heartbeat":false' in (await client.get("/")).text.replace(" ", "")


def _paths(routes: Any, before: str = "") -> set[str]:
    found = set()
    for route in routes:
        path = before + getattr(route, "path", "")
        inner = getattr(route, "routes", None)
        if inner is None:
            router = getattr(route, "original_router", None)
            inner = getattr(router, "routes", None)
        found |= {path} if inner is None else _paths(inner, path)
    return found


async def _check_page(client: httpx.AsyncClient) -> None:
    for path in ("/", "/c/abc-_1", "/s/abc-_1"):
        answer = await client.get(path, headers={"accept-encoding": "br, gzip"})
        text = answer.text
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/html")
        assert "content-encoding" not in answer.headers
        assert "window.gradio_config" in text
        assert 'id="gradio-entry"' in text  # our scripts start it, once the chat can be used
        assert not re.search(r'<script type="module"[^>]*/assets/', text)
        assert "iframeResizer.contentWindow" not in text
        assert text.count("<base ") == 1
        assert '<base href="/" />' in text
        assert 'id="strings"' in text
        assert 'id="shell"' in text
        assert 'property="og:' not in text
        assert 'name="twitter:' not in text
        assert '"/manifest.json"' not in text
        assert '"enable_monitoring":true' not in text


async def _check_assets(client: httpx.AsyncClient) -> None:
    text = (await client.get("/")).text
    for path in re.findall(r'(?:src|href)="\./(assets/[^"]+)"', text):
        answer = await client.get(f"/{path}")
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
    assert (await client.get("/theme.css")).status_code == 200


async def _check_shut(client: httpx.AsyncClient) -> None:
    shut = [
        "/gradio_api/info",
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=http://127.0.0.1:1/",
        "/gradio_api/proxy=http://127.0.0.1:1/",
        "/gradio_api/upload",
        "/gradio_api/component_server",
        "/gradio_api/cancel",
        "/gradio_api/reset",
        "/gradio_api/app_id",
        "/openapi.json",
        "/monitoring",
        "/token",
        "/login",
        "/logout",
        "/custom_component/x/y/z/w",
    ]
    for path in shut:
        for method in ("GET", "POST"):
            answer = await client.request(method, path)
            assert answer.status_code == 404, (method, path)
            assert answer.json()["error"]["code"] == "not_found"


async def _check_strangers(app: FastAPI) -> None:
    """Where there are accounts, nothing of it is for who is not signed in."""
    household = Household(app)
    await household.fill()
    stranger = household.clients[""]
    assert (await stranger.get("/theme.css")).status_code == 401
    assert (await stranger.post("/gradio_api/run/predict", json={})).status_code == 401
    assert (await stranger.get("/")).status_code == 303


async def _check_cors(client: httpx.AsyncClient) -> None:
    hosts = (HOST, "127.0.0.1:7860", "[::1]:7860", "192.168.1.5:7860", "evil.example")
    origins = ("https://evil.example", "null", "http://localhost:3000", "http://192.168.1.5:7860")
    for host in hosts:
        for origin in origins:
            for method, path in (("GET", "/"), ("GET", "/theme.css"), ("OPTIONS", "/theme.css")):
                headers = {"host": host, "origin": origin}
                headers["access-control-request-method"] = "POST"
                answer = await client.request(method, path, headers=headers)
                assert not [k for k in answer.headers if k.startswith("access-control-")]


async def _check_event(client: httpx.AsyncClient) -> None:
    """Gradio's events are reachable for its own page and for nobody else's."""
    body: dict[str, Any] = {"data": [], "fn_index": 0, "session_hash": "abc", "trigger_id": 1}
    foreign = {"origin": "https://evil.example"}
    path = "/gradio_api/run/predict"
    assert (await client.post(path, json=body, headers=foreign)).status_code == 403
    plain = {"content-type": "text/plain"}
    assert (await client.post(path, content=b"{}", headers=plain)).status_code == 415
    own = await client.post(path, json=body, headers={"origin": f"http://{HOST}"})
    assert own.status_code not in {403, 404, 415}
