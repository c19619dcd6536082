"""Deleted chats in a real browser: brought back, ended for good, one and all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.chat_page import ChatPage
from tests.browser.conftest import LOOKS

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Locator, Page

    from tests.serving import Server

pytestmark = pytest.mark.browser


def thrown_away(server: Server, *titles: str) -> None:
    for title in titles:
        made = server.ask("POST", "/api/conversations", {"title": title})["conversation"]
        body = {"mode": "send", "text": title}
        server.ask("POST", f"/api/conversations/{made['id']}/messages", body)
        server.ask("DELETE", f"/api/conversations/{made['id']}")


def show_trash(page: Page) -> Locator:
    menu = page.locator(".side-user")
    side = page.locator("aside.side").bounding_box()
    assert side is not None
    if side["x"] < 0:  # on a phone it lies beside the screen
        page.get_by_role("button", name="Show or hide the sidebar").first.click()
    menu.click()
    page.get_by_role("menuitem", name="Deleted chats…").click()
    return page.get_by_role("dialog", name="Deleted chats")


@pytest.mark.parametrize(("size", "dark", "name"), LOOKS)
def test_deleted_chats_come_back_or_end(
    fake_server: Server, open_page, pictures: Path, size, dark: bool, name: str
) -> None:
    fake_server.ask("DELETE", "/api/trash")
    thrown_away(fake_server, "Moss", "Fern", "Ivy", "Reed")
    page = open_page(fake_server.url, size=size, dark=dark)
    page.on("dialog", lambda dialog: dialog.accept())
    chat = ChatPage(page)
    sheet = show_trash(page)
    rows = sheet.locator("li")
    expect(rows).to_have_count(4)
    expect(rows.first).to_contain_text("Reed")  # the last one deleted
    page.screenshot(path=pictures / f"trash-{name}.png")

    rows.filter(has_text="Fern").get_by_role("button", name="Delete for good…").click()
    expect(rows).to_have_count(3)
    rows.filter(has_text="Moss").get_by_role("button", name="Bring back").click()
    expect(sheet).to_be_hidden()
    expect(chat.questions).to_contain_text(["Moss"])

    sheet = show_trash(page)
    sheet.get_by_role("button", name="Empty…").click()
    expect(sheet.locator("li")).to_have_count(0)
    expect(sheet).to_contain_text("Nothing is here")
    assert fake_server.ask("GET", "/api/trash")["total"] == 0


def test_a_no_ends_nothing(fake_server: Server, open_page) -> None:
    fake_server.ask("DELETE", "/api/trash")
    thrown_away(fake_server, "Moss")
    page = open_page(fake_server.url)
    page.on("dialog", lambda dialog: dialog.dismiss())
    ChatPage(page)
    sheet = show_trash(page)
    expect(sheet.locator("li")).to_have_count(1)
    sheet.get_by_role("button", name="Delete for good…").click()
    sheet.get_by_role("button", name="Empty…").click()
    assert fake_server.ask("GET", "/api/trash")["total"] == 1
