from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.unit.api.fakes import fake_runtime
from webui.api.http_app import create_http_app
from webui.api.page import Page
from webui.api.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fastapi import FastAPI

SHELL = """<!doctype html><html><head><!--head--><title>Shell</title><!--/head--></head>
<body><!--body--><div id="shell"></div><!--/body--></body></html>"""

ENTRY = """<!doctype html><html><head><base href="/" /><title>Entry</title><!--strings--></head>
<body><script src="/ui/entry.js"></script></body></html>"""


@pytest.fixture
def runtime() -> Any:
    return fake_runtime()


@pytest.fixture(scope="session")
def ui_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ui")
    static = folder / "static"
    (static / "vendor" / "marked-15.0.1").mkdir(parents=True)
    (folder / "shell.html").write_text(SHELL)
    (folder / "entry.html").write_text(ENTRY)
    (static / "strings.en.json").write_text('{"chat.send": "Send </script><!-- ü"}')
    (static / "app.js").write_text("export const a = 1;\n")
    (static / "font.woff2").write_bytes(b"wOF2")
    (static / "vendor" / "marked-15.0.1" / "marked.js").write_text("export {};\n")
    (static / "favicon.ico").write_bytes(b"\x00\x00\x01\x00")
    return folder


@pytest.fixture
def page(ui_folder: Path) -> Page:
    page = Page(ui_folder)
    page.read()
    return page


@pytest.fixture(scope="session")
def shared_app(ui_folder: Path) -> FastAPI:
    """Made once: FastAPI takes its time over a route; what lives behind is each test's own."""
    return create_http_app(fake_runtime(), Page(ui_folder))


@pytest.fixture
def app(shared_app: FastAPI, runtime: Any, page: Page) -> FastAPI:
    shared_app.state.runtime = runtime
    shared_app.state.traffic = Traffic(runtime.settings.requests_per_s)
    shared_app.state.page = shared_app.router.default = page
    return shared_app


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:7860") as client:
        yield client
