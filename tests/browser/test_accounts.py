"""Accounts in a real browser: the first one, signing in, people, shutting out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.chat_page import ChatPage
from tests.browser.conftest import LOOKS, PHONE
from tests.browser.houses import ANN, BOB, house_of_two
from tests.serving import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Page

pytestmark = pytest.mark.browser


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """One without accounts."""
    server = Server(tmp_path / "data", "--fake-engine", "60").start()
    yield server
    server.close()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One with an administrator and somebody else."""
    with house_of_two(
        tmp_path_factory.mktemp("accounts") / "data", "--fake-engine", "60"
    ) as server:
        yield server


def fill(page: Page, **values: str) -> None:
    for label, value in values.items():
        page.get_by_label(label.replace("_", " "), exact=True).fill(value)


def sign_in(page: Page, name: str, password: str) -> None:
    fill(page, Name=name, Password=password)
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.locator(".side-user")).to_have_text(name)


def test_first_account_takes_the_chats_of_the_machine_along(server: Server, open_page) -> None:
    chat_id = server.new_conversation()
    server.send(chat_id, "Hello from before")
    server.wait_for_reply(chat_id)
    page = open_page(f"{server.url}/first-run#{server.first_run_code()}", may_be_refused=True)
    expect(page.get_by_label("Code", exact=True)).to_have_value(server.first_run_code())
    expect(page.get_by_label("Your name")).to_be_focused()
    fill(page, Your_name="Ann", Password="password")
    page.get_by_role("button", name="Make the account").click()
    expect(page.get_by_text("first that are guessed")).to_be_visible()
    expect(page.get_by_label("Password", exact=True)).to_be_focused()
    fill(page, Password=ANN)
    page.get_by_role("button", name="Make the account").click()
    expect(page.locator(".side-user")).to_have_text("Ann")
    expect(page.locator(".side-list .row")).to_have_text("Hello from before")


def test_stranger_is_sent_to_sign_in_and_back_to_where_they_wanted(
    house: Server, open_page
) -> None:
    house.token = house.sign_in("Bob", BOB)
    chat_id = house.new_conversation()
    house.send(chat_id, "For Bob alone")
    house.wait_for_reply(chat_id)
    page = open_page(f"{house.url}/c/{chat_id}", may_be_refused=True)
    expect(page).to_have_url(f"{house.url}/sign-in?next=%2Fc%2F{chat_id}")
    fill(page, Name="bob", Password="wrong wrong wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("do not belong together")
    sign_in(page, "Bob", BOB)
    expect(page).to_have_url(f"{house.url}/c/{chat_id}")
    expect(page.locator(".thread")).to_contain_text("For Bob alone")


def test_next_never_leads_to_another_site(house: Server, open_page) -> None:
    for evil in ("https://example.org", "//example.org", "/c/x/../../..//example.org"):
        page = open_page(f"{house.url}/sign-in?next={evil}", may_be_refused=True)
        sign_in(page, "Bob", BOB)
        assert page.url == f"{house.url}/"


def test_signing_out_elsewhere_sends_an_open_page_to_the_sign_in(house: Server, open_page) -> None:
    page = open_page(house.url, may_be_refused=True)
    sign_in(page, "Bob", BOB)
    ChatPage(page).send("Count to a hundred, please")
    house.token = house.sign_in("Bob", BOB)
    house.ask("DELETE", "/api/sessions")
    expect(page).to_have_url(f"{house.url}/sign-in?next=%2Fc%2F" + page.url[-22:], timeout=15_000)


def test_administrator_adds_somebody_who_takes_a_password_of_their_own(
    house: Server, open_page: Callable[..., Page]
) -> None:
    page = open_page(house.url, may_be_refused=True)
    sign_in(page, "Ann", ANN)
    page.locator(".side-user").click()
    page.get_by_role("menuitem", name="People").click()
    fill(page, Name="Cid")
    page.get_by_role("button", name="Add somebody").click()
    password = page.locator(".given code").inner_text()
    expect(page.locator(".rows details", has_text="Cid")).to_be_visible()
    other = open_page(house.url, may_be_refused=True)
    fill(other, Name="Cid", Password=password)
    other.get_by_role("button", name="Sign in").click()
    expect(other.get_by_role("heading", name="Choose a password")).to_be_visible()
    fill(other, The_password_you_were_given=password, New_password="a row of other words")
    other.get_by_role("button", name="Change the password").click()
    expect(other.locator(".side-user")).to_have_text("Cid")
    ChatPage(other)
    other.wait_for_load_state("networkidle")  # a page cut off while it loads says so in the console
    row = page.locator(".rows details", has_text="Cid")
    row.locator("summary").click()
    row.get_by_role("button", name="Shut out").click()
    expect(page.locator(".rows details", has_text="Cid")).to_contain_text("shut out")
    expect(other).to_have_url(f"{house.url}/sign-in?next=%2F", timeout=15_000)


def test_a_slip_to_guest_is_asked_about_and_taken_back(house: Server, open_page) -> None:
    house.token = house.sign_in("Ann", ANN)
    made = house.ask("POST", "/api/users", {"name": "Dora", "password": BOB})["user"]
    house.token = house.sign_in("Dora", BOB)
    house.new_conversation()
    page = open_page(house.url, may_be_refused=True)
    sign_in(page, "Ann", ANN)
    page.locator(".side-user").click()
    page.get_by_role("menuitem", name="People").click()
    row = page.locator(".rows details", has_text="Dora")
    row.locator("summary").click()
    asked = []
    page.once("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    row.get_by_label("Role").select_option("guest")
    expect(row.get_by_label("Role")).to_have_value("user")
    assert "go for good" in asked[0]
    page.once("dialog", lambda dialog: dialog.accept())
    row.get_by_label("Role").select_option("guest")
    expect(row.locator("small").first).to_have_text("Guest")
    house.token = house.sign_in("Ann", ANN)
    roles = {one["id"]: one["role"] for one in house.ask("GET", "/api/users")["users"]}
    assert roles[made["id"]] == "guest"


def test_own_account_lists_sign_ins_and_changes_the_password(house: Server, open_page) -> None:
    page = open_page(house.url, size=PHONE, may_be_refused=True)
    fill(page, Name="Bob", Password=BOB)
    page.get_by_role("button", name="Sign in").click()
    ChatPage(page)
    page.get_by_role("button", name="Show or hide the sidebar").first.click()
    page.locator(".side-user").click()
    page.get_by_role("menuitem", name="Your account").click()
    expect(page.locator(".sheet.account .rows li", has_text="this browser")).to_have_count(1)
    form = page.locator(".sheet.account form").first
    form.get_by_label("Password", exact=True).fill(BOB)
    form.get_by_label("New password", exact=True).fill("third row of words")
    form.get_by_role("button").last.click()
    expect(page.locator(".toast")).to_contain_text("The password is changed")
    house.sign_in("Bob", "third row of words")
    form.get_by_label("Password", exact=True).fill("third row of words")
    form.get_by_label("New password", exact=True).fill(BOB)
    form.get_by_role("button").last.click()
    expect(page.locator(".toast").last).to_be_visible()


@pytest.mark.parametrize(("size", "dark", "name"), LOOKS)
def test_pages_of_accounts_look_right(
    house: Server, server: Server, open_page, pictures: Path, size, dark: bool, name: str
) -> None:
    first = open_page(f"{server.url}/first-run", size=size, dark=dark, may_be_refused=True)
    first.get_by_role("button", name="Make the account").click()
    expect(first.get_by_text("Fill this in.")).to_be_visible()
    page = open_page(house.url, size=size, dark=dark, may_be_refused=True)
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    for one, what in ((first, "first-run"), (page, "sign-in")):
        one.screenshot(path=pictures / f"{what}-{name}.png")
        width = one.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert width <= 0
    fill(page, Name="Ann", Password=ANN)
    page.get_by_role("button", name="Sign in").click()
    ChatPage(page)
    if size == PHONE:
        page.get_by_role("button", name="Show or hide the sidebar").first.click()
    for item, ready in (("Your account", ".rows li"), ("People", ".rows details")):
        page.locator(".side-user").click()
        page.get_by_role("menuitem", name=item).click()
        expect(page.locator(f".sheet.account {ready}").first).to_be_visible()
        if item == "People":
            page.locator(".rows details", has_text="Bob").locator("summary").click()
        page.screenshot(path=pictures / f"{item.split()[-1].lower()}-{name}.png")
        assert page.locator(".sheet.account").evaluate("e => e.scrollWidth - e.clientWidth") <= 0
        page.locator(".sheet.account").get_by_role("button", name="Close").click()


@pytest.mark.parametrize(("size", "dark", "name"), LOOKS)
def test_admin_tab_is_for_administrators_and_looks_right(
    house: Server, open_page, pictures: Path, size, dark: bool, name: str
) -> None:
    other = open_page(house.url, may_be_refused=True)
    sign_in(other, "Bob", BOB)
    ChatPage(other).send("long 900 words, please")
    expect(other.get_by_role("tab", name="Admin")).to_be_hidden()
    page = open_page(house.url, size=size, dark=dark, may_be_refused=True)
    fill(page, Name="Ann", Password=ANN)
    page.get_by_role("button", name="Sign in").click()
    ChatPage(page).open_tab("Admin")
    expect(page.locator(".admin tbody tr", has_text="Bob").first).to_contain_text("is written")
    page.get_by_role("button", name="Back up now").click()
    expect(page.locator(".toast")).to_contain_text("made and checked")
    expect(page.locator(".admin .rows li").first).to_be_visible()
    page.get_by_label("Banner").fill(f"Updates tonight ({name})")
    page.get_by_role("button", name="Show it").click()
    expect(page.locator(".toast").last).to_contain_text("Everybody sees it")
    page.mouse.move(0, 0)
    expect(page.locator(".toast")).to_have_count(0, timeout=10_000)
    page.screenshot(path=pictures / f"admin-{name}.png")
    page.locator(".admin-log").scroll_into_view_if_needed()
    page.screenshot(path=pictures / f"admin-end-{name}.png")
    assert page.locator(".admin").evaluate("e => e.scrollWidth - e.clientWidth") <= 0
    expect(other.locator(".banner")).to_have_text(f"Updates tonight ({name})")
    other.wait_for_timeout(700)  # for the picture alone: what slides has slid
    other.screenshot(path=pictures / f"banner-{name}.png")


def test_reading_of_chats_is_told_to_everybody_and_switched_off_again(
    house: Server, open_page, pictures: Path
) -> None:
    other = open_page(house.url, may_be_refused=True)
    sign_in(other, "Bob", BOB)
    ChatPage(other).send("short canary")
    page = open_page(house.url, may_be_refused=True)
    sign_in(page, "Ann", ANN)
    ChatPage(page).open_tab("Admin")
    switch = page.get_by_label("Administrators may read chats")
    expect(other.locator(".banner")).not_to_contain_text("can read chats")
    with page.expect_response("**/api/admin/reading"):
        switch.check()
    expect(other.locator(".banner")).to_contain_text("can read chats")
    page.get_by_role("button", name="Open people…").click()
    page.locator(".sheet .rows details", has_text="Bob").locator("summary").click()
    page.get_by_role("button", name="Read chats…").click()
    chat = page.locator(".chats details", has_text="short canary").first
    chat.locator("summary").click()
    expect(chat.locator(".chat-text")).to_contain_text("short canary")
    page.screenshot(path=pictures / "reading.png")
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    with page.expect_response("**/api/admin/reading"):
        switch.uncheck()
    expect(other.locator(".banner")).not_to_contain_text("can read chats")


def test_open_page_follows_a_change_of_its_account(house: Server, open_page) -> None:
    house.token = house.sign_in("Ann", ANN)
    made = house.ask("POST", "/api/users", {"name": "Eve", "password": BOB})["user"]
    path = f"/api/users/{made['id']}"
    page = open_page(house.url, may_be_refused=True)
    sign_in(page, "Eve", BOB)
    chat = ChatPage(page)
    tab = page.get_by_role("tab", name="Admin")
    expect(tab).to_be_hidden()
    house.ask("PATCH", path, {"role": "administrator", "name": "Eva"})
    expect(page.locator(".side-user")).to_have_text("Eva")
    chat.open_tab("Admin")
    expect(page.locator(".admin dd").first).to_be_visible()
    house.ask("PATCH", path, {"role": "user"})
    expect(tab).to_be_hidden()
    expect(chat.composer).to_be_visible()
    expect(page.locator(".admin")).to_be_hidden()
    refused = []
    page.on("response", lambda answer: refused.append(answer.url) if answer.status == 403 else None)
    page.wait_for_timeout(3_500)  # the tab asked every three seconds
    assert refused == []
    house.ask("DELETE", path)
