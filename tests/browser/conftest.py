"""Real Chromium on a real server; every page fails its test on a console error or a request out."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import sync_playwright

from tests.oidc_provider import OidcProvider
from tests.serving import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page

CHROMIUM = os.environ.get("WEBUI_TEST_CHROMIUM") or shutil.which("chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
OFFLINE = "WEBUI_TEST_OFFLINE"  # set where these tests run without a network, by test_offline
if OFFLINE in os.environ:  # else Chromium looks for its maker's servers, whatever is open in it
    FLAGS.append("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1")
CUT_OFF = ("AbortError: signal is aborted", "Connection errored out")
DESKTOP = (1280, 800)
PHONE = (390, 844)
LOOKS = [
    pytest.param(size, dark, f"{'dark' if dark else 'light'}-{name}", id=f"{name}-{dark}")
    for size, name in ((DESKTOP, "desktop"), (PHONE, "phone"))
    for dark in (False, True)
]


@dataclass
class Watch:
    """What a page did that it must not do; some tests make the server refuse something."""

    may_be_refused: bool = False
    errors: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Keep an error, but for Gradio's words on its own stream that a reload cuts off."""
        is_refusal = self.may_be_refused and text.startswith("Failed to load resource")
        if not is_refusal and not any(words in text for words in CUT_OFF):
            self.errors.append(text)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("Chromium is missing: install Debian's package `chromium`")
        pytest.skip("Chromium is missing: install Debian's package `chromium`")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def fake_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("browser") / "data", "--fake-engine", "60")
    server.start()
    server.wait_for_ui()
    yield server
    server.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open pages that are checked at the end: no console error, no request to elsewhere."""
    opened: list[tuple[Page, Watch]] = []

    def open_at(
        url: str,
        *,
        size: tuple[int, int] = DESKTOP,
        dark: bool = False,
        may_be_refused: bool = False,
        further: tuple[str, ...] = (),
        headers: dict[str, str] | None = None,
    ) -> Page:
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme="dark" if dark else "light",
            has_touch=size[0] < 500,
            device_scale_factor=1,
            extra_http_headers=headers,
        )
        page = context.new_page()
        watch = Watch(may_be_refused=may_be_refused)
        origin = re.split(r"/(?:[cs]/|first-run|sign-in)", url)[0].rstrip("/")
        page.on("console", lambda m: watch.note(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: watch.errors.append(str(e)))
        page.on(
            "request",
            lambda r: (
                None
                if r.url.startswith((origin, "data:", "blob:", *further))
                else watch.outside.append(r.url)
            ),
        )
        page.goto(url)
        opened.append((page, watch))
        return page

    yield open_at
    for page, watch in opened:
        page.context.close()
        assert watch.outside == []
        assert watch.errors == []


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Folder for screenshots; kept where WEBUI_TEST_PICTURES says."""
    folder = os.environ.get("WEBUI_TEST_PICTURES")
    if not folder:
        return tmp_path
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    return path


@pytest.fixture(scope="module")
def provider() -> Iterator[OidcProvider]:
    made = OidcProvider()
    yield made
    made.close()
