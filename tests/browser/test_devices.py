"""The sheet "Open on another device": shut, over plain http, over https."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.chat_page import ChatPage
from tests.browser.conftest import LOOKS, PHONE
from webui.network import qr

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Locator, Page

    from tests.serving import Server

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

PLAIN = ("http://192.168.1.5:7860", "http://desk.local:7860", "http://[fd00::5]:7860")
FINGERPRINT = ":".join(["A7"] * 32)


def open_sheet(page: Page, size: tuple[int, int] = (1280, 800)) -> Locator:
    ChatPage(page)
    if size == PHONE:
        page.get_by_role("button", name="Show or hide the sidebar").first.click()
    page.get_by_role("button", name="Open on another device").click()
    sheet = page.get_by_role("dialog", name="Open on another device")
    expect(sheet).to_be_visible()
    return sheet


def answer(page: Page, *urls: str, fingerprint: str | None = None) -> None:
    """Have the page told other addresses than a server on the loopback has."""
    told = {
        "is_open": True,
        "addresses": [{"url": url, "qr": qr.svg(f"{url}/")} for url in urls],
        "fingerprint": fingerprint,
    }
    page.route("**/api/lan", lambda route: route.fulfill(json=told))


def test_server_of_this_machine_alone_says_how_to_open_it(
    fake_server: Server, open_page: Callable[..., Page]
) -> None:
    page = open_page(fake_server.url)
    sheet = open_sheet(page)
    expect(sheet).to_contain_text("its own machine only")
    expect(sheet.locator("code")).to_have_text("--listen")
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_have_count(0)


@pytest.mark.parametrize(("size", "dark", "name"), LOOKS)
def test_addresses_are_chosen_and_their_code_is_shown(
    fake_server: Server,
    open_page: Callable[..., Page],
    pictures: Path,
    size: tuple[int, int],
    *,
    dark: bool,
    name: str,
) -> None:
    page = open_page(fake_server.url, size=size, dark=dark)
    answer(page, *PLAIN)
    sheet = open_sheet(page, size)
    code = sheet.get_by_role("img")
    expect(code).to_have_attribute("aria-label", f"QR code of {PLAIN[0]}")
    box = code.locator("svg").bounding_box()
    assert box is not None
    assert box["width"] > 150
    assert abs(box["width"] - box["height"]) < 2
    expect(sheet).to_contain_text("no microphone")
    page.screenshot(path=pictures / f"devices-{name}.png")
    before = code.inner_html()
    sheet.get_by_role("button", name=PLAIN[2], exact=True).click()
    expect(code).to_have_attribute("aria-label", f"QR code of {PLAIN[2]}")
    assert code.inner_html() != before
    assert page.evaluate(
        "[...document.querySelectorAll('dialog, dialog *')].every("
        "(node) => node.scrollWidth <= node.clientWidth + 1 || !node.clientWidth)"
    )
    for button in sheet.get_by_role("button").all():
        size_of = button.bounding_box()
        assert size_of is not None
        if size == PHONE and "device-url" in (button.get_attribute("class") or ""):
            assert size_of["height"] >= 44


def test_https_shows_the_fingerprint_and_the_file(
    fake_server: Server, open_page: Callable[..., Page]
) -> None:
    page = open_page(fake_server.url)
    answer(page, "https://192.168.1.5:7860", fingerprint=FINGERPRINT)
    sheet = open_sheet(page)
    expect(sheet.locator("code")).to_have_text(FINGERPRINT)
    expect(sheet.get_by_role("link", name="ca.crt")).to_have_attribute("href", "/ca.crt")
    expect(sheet).not_to_contain_text("microphone")


def test_answer_of_the_server_has_what_the_sheet_reads(fake_server: Server) -> None:
    status, body = fake_server.request("GET", "/api/lan")
    assert status == 200
    assert json.loads(body).keys() == {"is_open", "addresses", "fingerprint"}
