"""Pictures of every page in both sizes and both colours, and what must hold in each of them.

`WEBUI_TEST_PICTURES=FOLDER python3 -m tests tests/browser/test_pictures.py` keeps them; the one
in the README is `light-desktop-chat.png`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.chat_page import ChatPage
from tests.browser.conftest import LOOKS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Page

    from tests.serving import Server

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


@pytest.mark.parametrize(("size", "dark", "name"), LOOKS)
def test_every_page_fits_its_screen_and_wears_its_colour(
    fake_server: Server,
    open_page: Callable[..., Page],
    pictures: Path,
    size: tuple[int, int],
    *,
    dark: bool,
    name: str,
) -> None:
    page = open_page(fake_server.url, size=size, dark=dark)
    chat = ChatPage(page)
    expect(page.locator("#tabs")).to_be_visible()

    def look(what: str) -> None:
        page.wait_for_timeout(400)
        page.screenshot(path=pictures / f"{name}-{what}.png")
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0], what
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        brightness = sum(int(part) for part in colour.strip("rgba()").split(",")[:3]) / 3
        assert (brightness < 60) is dark, (what, colour)

    look("home")
    chat.send("Explain attention in a transformer, with code.")
    chat.wait_until_writing()
    look("writing")
    chat.wait_until_done()
    look("chat")
    chat.open_tab("Model")
    expect(page.get_by_text("Load options")).to_be_visible()
    look("model")
    chat.open_tab("Parameters")
    expect(page.get_by_role("heading", name="Parameters")).to_be_visible()
    look("parameters")
