"""The server prompt: an administrator writes it, everybody else reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.chat_page import ChatPage
from tests.browser.conftest import LOOKS
from tests.browser.test_accounts import ANN, BOB, sign_in
from tests.browser.test_groups import is_within, open_admin, part
from tests.serving import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

TITLE = "What the model is told in every conversation"
TEXT = "Be brief.\n\nSay <b>please</b>."


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One with an administrator and somebody else."""
    server = Server(tmp_path_factory.mktemp("told") / "data", "--fake-engine", "400").start()
    server.token = server.claim("Ann", ANN)
    server.ask("POST", "/api/users", {"name": "Bob", "password": BOB})
    server.wait_for_ui()
    yield server
    server.close()


def saved(house: Server) -> str:
    return str(house.ask("GET", "/api/server-prompt")["server_prompt"])


@pytest.mark.parametrize(("size", "dark", "name"), LOOKS)
def test_administrator_writes_it_and_others_read_it_above_their_own(
    house: Server, open_page: Callable[..., Page], pictures: Path, size, dark: bool, name: str
) -> None:
    house.ask("PUT", "/api/server-prompt", {"server_prompt": ""})
    other = open_page(house.url, size=size, dark=dark, may_be_refused=True)
    sign_in(other, "Bob", BOB)
    chat = ChatPage(other)
    chat.open_tab("Parameters")
    own = other.locator("#params-system_prompt textarea")
    expect(own).to_be_visible()
    note = other.locator(".server-prompt")
    expect(note).to_be_hidden()

    page = open_page(house.url, size=size, dark=dark, may_be_refused=True)
    admin = open_admin(page)
    told = part(admin, TITLE)
    expect(told.locator("form")).not_to_have_attribute("inert", "")
    told.get_by_label("Server prompt").fill(f" {TEXT}\n")
    told.get_by_role("button", name="Save it").click()
    expect(page.locator(".toast").last).to_contain_text("from the next reply on")
    expect(told.get_by_label("Server prompt")).to_have_value(TEXT)
    assert saved(house) == TEXT
    told.evaluate("e => e.scrollIntoView({block: 'start'})")
    page.screenshot(path=pictures / f"server-prompt-{name}.png")
    assert is_within(page)

    chat.open_tab("Chat")
    chat.open_tab("Parameters")
    expect(note.locator("pre")).to_have_text(TEXT)
    expect(note).to_contain_text("Set by the administrator")
    assert note.locator("input, textarea, b, [contenteditable]").count() == 0
    above, below = note.bounding_box(), own.bounding_box()
    assert above is not None
    assert below is not None
    assert above["y"] + above["height"] <= below["y"]
    assert other.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    other.screenshot(path=pictures / f"server-prompt-read-{name}.png")


def test_draft_is_kept_and_an_empty_one_takes_it_away(
    house: Server, open_page: Callable[..., Page]
) -> None:
    house.ask("PUT", "/api/server-prompt", {"server_prompt": TEXT})
    page = open_page(house.url, may_be_refused=True)
    told = part(open_admin(page), TITLE)
    box = told.get_by_label("Server prompt")
    expect(box).to_have_value(TEXT)
    box.fill("x" * 200_001)
    told.get_by_role("button", name="Save it").click()
    expect(told).to_contain_text("The server prompt has 200,001 characters")
    assert saved(house) == TEXT
    box.fill("A draft")
    for tab in ("Chat", "Admin"):
        page.get_by_role("tab", name=tab).first.click()
    expect(box).to_have_value("A draft")
    assert saved(house) == TEXT
    box.fill("")
    told.get_by_role("button", name="Save it").click()
    expect(page.locator(".toast").last).to_contain_text("nothing more by the server")
    assert saved(house) == ""
