"""Usage, limits and refusals in a real browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.chat_page import ChatPage
from tests.browser.conftest import LOOKS, PHONE
from tests.browser.houses import ANN, BOB
from tests.browser.test_accounts import sign_in
from tests.serving import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

# The plot is taller than its block by its label; nothing cuts it off, and it has room below.
IS_SHOWN = """legend => {
  const block = legend.closest(".block"), style = getComputedStyle(block);
  const room = block.getBoundingClientRect().bottom + parseFloat(style.marginBottom);
  return style.overflow === "visible" && legend.getBoundingClientRect().bottom <= room;
}"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One in which Ann, the administrator, and Bob have used something."""
    server = Server(tmp_path_factory.mktemp("usage") / "data", "--fake-engine", "400").start()
    ann = server.claim("Ann", ANN)
    server.token = ann
    server.ask("POST", "/api/users", {"name": "Bob", "password": BOB})
    limits = {"tokens_per_day": 100_000, "messages_per_minute": 60}
    server.ask("PUT", "/api/limits", {"limits": limits})
    for name, password in (("Ann", ANN), ("Bob", BOB)):
        server.token = server.sign_in(name, password)
        chat_id = server.new_conversation()
        server.send(chat_id, "Hello there")
        server.wait_for_reply(chat_id)
    server.token = ann
    server.wait_for_ui()
    yield server
    server.close()


def open_tab(page: Page) -> None:
    ChatPage(page)
    tab = page.locator("#tabs .tab-container:not(.visually-hidden) button[role=tab]")
    tab.get_by_text("Usage").click()
    expect(page.locator("#usage-own svg.marks, #usage-own canvas")).to_be_visible(timeout=20_000)


def watch_policy(page: Page) -> list[str]:
    """Return where violations of the content policy are put down."""
    said: list[str] = []
    page.on("console", lambda m: said.append(m.text) if "Content Security" in m.text else None)
    return said


@pytest.mark.parametrize(("size", "dark", "name"), LOOKS)
def test_administrator_sees_charts_of_everybody(
    house: Server, open_page: Callable[..., Page], pictures: Path, size, dark: bool, name: str
) -> None:
    page = open_page(house.url, size=size, dark=dark, may_be_refused=True)
    said = watch_policy(page)
    sign_in(page, "Ann", ANN) if size != PHONE else _sign_in_on_phone(page, "Ann", ANN)
    open_tab(page)
    everybody = page.locator("#usage-everybody")
    legend = everybody.locator(".role-legend-label")
    expect(legend).to_have_text(["Ann", "Bob"], timeout=20_000)
    assert legend.last.evaluate(IS_SHOWN)
    expect(page.locator("#usage-limits")).to_contain_text("left of 100,000")
    page.screenshot(path=pictures / f"usage-{name}.png")
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert said == []


def _sign_in_on_phone(page: Page, name: str, password: str) -> None:
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Sign in").click()


def test_others_see_their_own_alone(house: Server, open_page: Callable[..., Page]) -> None:
    page = open_page(house.url, may_be_refused=True)
    sign_in(page, "Bob", BOB)
    answers: list[str] = []
    page.on("response", lambda r: answers.append(r.text()) if "/run/" in r.url else None)
    open_tab(page)
    expect(page.locator("#usage-everybody")).to_be_hidden()
    assert answers
    assert not [text for text in answers if "Ann" in text]


def test_administrator_limits_somebody_whose_message_is_refused_and_kept(
    house: Server, open_page: Callable[..., Page], pictures: Path
) -> None:
    page = open_page(house.url, may_be_refused=True)
    sign_in(page, "Ann", ANN)
    page.locator(".side-user").click()
    page.get_by_role("menuitem", name="People").click()
    row = page.locator(".rows details", has_text="Bob")
    row.locator("summary").click()
    row.get_by_role("button", name="Limits", exact=True).click()
    tokens = row.get_by_label("Tokens a day")
    expect(tokens).to_have_attribute("placeholder", "as for others: 100,000")
    tokens.fill("a few")
    row.get_by_role("button", name="Save the limits").click()
    expect(row.get_by_text("Tokens a day must be a whole number")).to_be_visible()
    page.screenshot(path=pictures / "limits.png")
    tokens.fill("1")
    row.get_by_role("button", name="Save the limits").click()
    expect(page.locator(".toast").last).to_contain_text("The limits of Bob are saved")

    other = open_page(house.url, may_be_refused=True)
    sign_in(other, "Bob", BOB)
    chat = ChatPage(other)
    chat.composer.fill("Not to be lost")
    chat.composer.press("Enter")
    expect(other.locator(".toast").last).to_contain_text("tokens today and may use 1 a day")
    expect(chat.composer).to_have_value("Not to be lost")
    expect(chat.questions).to_have_count(0)
    other.screenshot(path=pictures / "refused.png")
    tokens.fill("none")
    with page.expect_response(lambda r: r.request.method == "PUT" and r.ok):
        row.get_by_role("button", name="Save the limits").click()
    chat.composer.press("Enter")
    expect(chat.questions).to_have_count(1)


def test_administrator_sets_the_limits_of_everybody(
    house: Server, open_page: Callable[..., Page]
) -> None:
    page = open_page(house.url, size=PHONE, may_be_refused=True)
    _sign_in_on_phone(page, "Ann", ANN)
    ChatPage(page)
    page.get_by_role("button", name="Show or hide the sidebar").first.click()
    page.locator(".side-user").click()
    page.get_by_role("menuitem", name="People").click()
    fold = page.locator(".limits", has_text="Limits for everybody")
    fold.get_by_role("button", name="Limits for everybody").click()
    expect(fold.get_by_label("Tokens a day")).to_have_value("100000")
    fold.get_by_label("Requests at the same time").fill("12")
    fold.get_by_label("Messages a minute").fill("")
    fold.get_by_role("button", name="Save the limits").click()
    expect(page.locator(".toast").last).to_contain_text("The limits for everybody are saved")
    house.token = house.sign_in("Ann", ANN)
    saved = {"tokens_per_day": 100_000, "requests_at_once": 12}
    assert house.ask("GET", "/api/limits") == {"limits": saved}
    assert page.locator(".sheet.account").evaluate("e => e.scrollWidth - e.clientWidth") <= 0
