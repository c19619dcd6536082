"""Sharing in a real browser: Bob lets others read, they read and copy, he ends it."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.chat_page import ChatPage
from tests.browser.conftest import LOOKS, PHONE
from tests.serving import Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Locator, Page

pytestmark = pytest.mark.browser
PASSWORDS = {
    "Ann": "four words in a row",
    "Bob": "another row of words",
    "Cid": "a third row of words",
    "Gus": "a guest among the words",
}
RECEIVED = "Shared with me"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One with an administrator, two users of whom one group has both, and a guest."""
    server = Server(tmp_path_factory.mktemp("sharing") / "data", "--fake-engine", "400").start()
    server.token = server.claim("Ann", PASSWORDS["Ann"])
    ids = []
    for name in ("Bob", "Cid", "Gus"):
        role = "guest" if name == "Gus" else "user"
        body = {"name": name, "password": PASSWORDS[name], "role": role}
        ids.append(server.ask("POST", "/api/users", body)["user"]["id"])
    server.ask("POST", "/api/groups", {"name": "Readers", "member_ids": ids})
    server.wait_for_ui()
    yield server
    server.close()


def enter(page: Page, name: str) -> ChatPage:
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Password", exact=True).fill(PASSWORDS[name])
    page.get_by_role("button", name="Sign in").click()
    return ChatPage(page)


def show_list(page: Page) -> None:
    if page.viewport_size and page.viewport_size["width"] == PHONE[0]:
        page.get_by_role("button", name="Show or hide the sidebar").first.click()


def open_sharing(page: Page, title: str) -> Locator:
    row = page.locator("a.row", has_text=title)
    row.hover()
    row.locator(".row-more").click()
    page.get_by_role("menuitem", name="Share…").click()
    return page.locator(".sheet.sharing")


def choose_cid(sheet: Locator) -> None:
    """See that nobody is chosen at first, and what the button says of those who are."""
    go = sheet.locator(".field-go")
    expect(go).to_be_disabled()
    expect(go).to_have_text("Nobody is chosen yet")
    assert sheet.locator("input:checked").count() == 0
    expect(sheet.get_by_label("What they see")).to_have_value("")
    assert sheet.get_by_label("Gus").count() == 0
    sheet.get_by_label("Readers (1 person)").check()
    expect(go).to_have_text("Let up to 1 person read 2 messages")
    sheet.get_by_label("Readers (1 person)").uncheck()
    expect(go).to_be_disabled()
    sheet.get_by_label("Cid").check()
    expect(go).to_have_text("Let 1 person read 2 messages")
    sheet.get_by_label("Ends").select_option("In 7 days")


def read_first(page: Page) -> Locator:
    """Open the first of what is shared with somebody."""
    page.get_by_role("button", name=RECEIVED).click()
    listed = page.locator(".sheet li").first
    expect(listed).to_contain_text("What burns in a hearth?Bob")
    listed.get_by_role("button", name="Read").click()
    read = page.locator(".sheet.shared")
    expect(read.locator(".shared-message")).to_have_count(2)
    return read


def test_people_read_what_is_shared_copy_it_and_lose_it(house: Server, open_page) -> None:
    bob = open_page(house.url, may_be_refused=True)
    chat = enter(bob, "Bob")
    chat.send("What burns in a hearth?")
    chat.wait_until_done()
    sheet = open_sharing(bob, "What burns in a hearth?")
    choose_cid(sheet)

    cid = open_page(house.url, may_be_refused=True)
    other = enter(cid, "Cid")
    expect(cid.locator(".side-received")).to_be_hidden()
    sheet.locator(".field-go").click()
    row = sheet.locator(".rows li", has_text="Cid")
    expect(row).to_contain_text("2 messages, as of")
    expect(row).to_contain_text("until")
    expect(bob.get_by_role("img", name="Others can read it")).to_be_visible()

    read = read_first(cid)  # it came by itself
    expect(read).to_contain_text("Shared by Bob")
    expect(read.locator(".shared-message").first).to_contain_text("What burns in a hearth?")
    expect(read.locator("h2").first).to_have_text("What burns in a hearth?")
    expect(read.locator(".rendered strong").first).to_be_visible()
    assert read.locator("textarea, input:not([type=checkbox])").count() == 0
    read.get_by_role("button", name="Copy to my conversations").click()
    expect(other.messages).to_have_count(2)
    other.send("And then?")
    other.wait_until_done()
    expect(other.rows).to_have_count(1)

    read = read_first(cid)
    row.get_by_role("button", name="Revoke").click()
    expect(read).to_have_count(0)
    expect(cid.get_by_text("It is no longer shared with you.")).to_be_visible()
    expect(cid.locator(".side-received")).to_be_hidden()
    expect(other.messages).to_have_count(4)  # the copy stays
    expect(bob.get_by_role("img", name="Others can read it")).to_have_count(0)


def test_link_leads_those_it_is_for_there_and_nobody_else(house: Server, open_page) -> None:
    bob = open_page(house.url, may_be_refused=True)
    bob.context.grant_permissions(["clipboard-read", "clipboard-write"])
    chat = enter(bob, "Bob")
    chat.send("Where do links lead?")
    chat.wait_until_done()
    sheet = open_sharing(bob, "Where do links lead?")
    sheet.get_by_label("Cid").check()
    sheet.locator(".field-go").click()
    sheet.get_by_role("button", name="Copy the link").click()
    expect(bob.get_by_text("The link is copied")).to_be_visible()
    link = bob.evaluate("navigator.clipboard.readText()")
    assert link.startswith(f"{house.url}/s/")
    cid = open_page(link, may_be_refused=True)
    other = enter(cid, "Cid")
    read = cid.locator(".sheet.shared")
    expect(read.locator(".shared-message")).to_have_count(2)
    read.locator("header button").click()
    expect(cid).to_have_url(f"{house.url}/")
    cid.goto(link)
    read.get_by_role("button", name="Copy to my conversations").click()
    expect(other.messages).to_have_count(2)
    expect(cid).to_have_url(re.compile(r"/c/[\w-]+$"))
    ann = open_page(link, may_be_refused=True)
    enter(ann, "Ann")
    expect(ann).to_have_url(f"{house.url}/")
    assert ann.locator(".sheet.shared").count() == 0


def test_live_share_grows_while_it_is_read(house: Server, open_page) -> None:
    bob = open_page(house.url, may_be_refused=True)
    chat = enter(bob, "Bob")
    chat.send("Tell me of rivers")
    chat.wait_until_done()
    sheet = open_sharing(bob, "Tell me of rivers")
    sheet.get_by_label("Cid").check()
    sheet.get_by_label("What they see").select_option("live")
    go = sheet.locator(".field-go")
    expect(go).to_have_text("Let 1 person read all of it, and what is said later")
    go.click()
    expect(sheet.locator(".rows li", has_text="live")).to_be_visible()
    sheet.locator("header button").click()
    cid = open_page(house.url, may_be_refused=True)
    enter(cid, "Cid")
    cid.get_by_role("button", name=RECEIVED).click()
    cid.locator(".sheet li", has_text="rivers").get_by_role("button", name="Read").click()
    messages = cid.locator(".sheet.shared .shared-message")
    expect(messages).to_have_count(2)
    chat.send("And of lakes?")
    expect(messages).to_have_count(4, timeout=15_000)
    expect(messages.nth(2)).to_contain_text("And of lakes?")


def test_sharing_in_a_loop_has_readers_ask_now_and_then(house: Server, open_page) -> None:
    cid = open_page(house.url, may_be_refused=True)
    expect(enter(cid, "Cid").composer).to_be_visible()
    asked: list[str] = []
    cid.on("request", lambda one: asked.append(one.url) if "/received" in one.url else None)
    mine, house.token = house.token, house.sign_in("Bob", PASSWORDS["Bob"])
    made = house.ask("POST", "/api/conversations", {"title": "Loops"})["conversation"]["id"]
    house.ask("POST", f"/api/conversations/{made}/messages", {"mode": "send", "text": "Round?"})
    body = {"conversation_id": made, "everybody": True, "is_live": True}
    begun_s = time.monotonic()
    for _ in range(30):
        house.ask("POST", "/api/shares", body)
        cid.wait_for_timeout(50)
    house.token = mine
    row = cid.get_by_role("button", name=RECEIVED)
    expect(row).to_be_visible()
    row.click()
    expect(cid.locator(".sheet li", has_text="Loops")).to_be_visible()
    cid.wait_for_timeout(1_500)
    assert 1 <= len(asked) <= time.monotonic() - begun_s + 1


def test_markup_of_who_shares_is_text_to_who_reads(house: Server, open_page) -> None:
    markup = '<img src=x onerror="window.pwned = 1"> in rivers'
    mine, house.token = house.token, house.sign_in("Bob", PASSWORDS["Bob"])
    made = house.ask("POST", "/api/conversations", {"title": markup})["conversation"]["id"]
    path = f"/api/conversations/{made}"
    first = house.ask("POST", f"{path}/messages", {"mode": "send", "text": markup})["messages"][0]
    edit = {"mode": "edit", "message_id": first["id"], "text": f"{markup} [x](javascript:pwned)"}
    house.ask("POST", f"{path}/messages", edit)
    body = {"conversation_id": made, "everybody": True, "is_live": True}
    share = house.ask("POST", "/api/shares", body)["shares"][0]["id"]
    house.token = mine
    page = open_page(f"{house.url}/s/{share}", may_be_refused=True)
    enter(page, "Cid")
    read = page.locator(".sheet.shared")
    expect(read.locator("h2").first).to_have_text(markup)
    expect(read.locator(".shared-message").first).to_contain_text(markup)
    assert read.locator("img, a[href^=javascript]").count() == 0
    read.locator("header button").click()
    page.get_by_role("button", name=RECEIVED).click()
    expect(page.locator(".sheet li", has_text=markup)).to_be_visible()
    assert page.evaluate("window.pwned") is None


def test_guest_is_offered_nothing(house: Server, open_page) -> None:
    page = open_page(house.url, may_be_refused=True)
    chat = enter(page, "Gus")
    chat.send("Hello")
    chat.wait_until_done()
    row = page.locator("a.row").first
    row.hover()
    row.locator(".row-more").click()
    expect(page.get_by_role("menuitem", name="Rename")).to_be_visible()
    assert page.get_by_role("menuitem", name="Share…").count() == 0


@pytest.mark.parametrize(("size", "dark", "name"), LOOKS)
def test_sharing_looks_right(house: Server, open_page, pictures: Path, size, dark, name) -> None:
    page = open_page(house.url, size=size, dark=dark, may_be_refused=True)
    chat = enter(page, "Bob")
    title = f"Why do rivers bend, {name}?"
    chat.send(title)
    chat.wait_until_done()
    show_list(page)
    sheet = open_sharing(page, title)
    sheet.get_by_label("Everybody with an account here").check()
    page.screenshot(path=pictures / f"sharing-form-{name}.png")
    assert sheet.evaluate("e => e.scrollWidth - e.clientWidth") <= 0
    sheet.locator(".field-go").click()
    expect(sheet.locator(".rows li")).to_have_count(1)
    page.screenshot(path=pictures / f"sharing-shared-{name}.png")
    sheet.locator("header button").click()
    expect(page.get_by_role("img", name="Others can read it").first).to_be_visible()
    page.screenshot(path=pictures / f"sharing-mark-{name}.png")

    reader = open_page(house.url, size=size, dark=dark, may_be_refused=True)
    enter(reader, "Ann")
    show_list(reader)
    reader.get_by_role("button", name=RECEIVED).click()
    listed = reader.locator(".sheet li", has_text=title)
    expect(listed).to_be_visible()
    reader.screenshot(path=pictures / f"sharing-list-{name}.png")
    listed.get_by_role("button", name="Read").click()
    read = reader.locator(".sheet.shared")
    expect(read.locator(".shared-message")).to_have_count(2)
    reader.screenshot(path=pictures / f"sharing-read-{name}.png")
    assert read.evaluate("e => e.scrollWidth - e.clientWidth") <= 0
