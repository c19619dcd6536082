"""API keys in a real browser: made, shown once, used, revoked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.chat_page import ChatPage
from tests.browser.conftest import LOOKS, PHONE
from tests.serving import Server
from tests.tiny_gguf import write_tiny_gguf

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Locator, Page

pytestmark = pytest.mark.browser
ANN, BOB = "four words in a row", "another row of words"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One with an administrator, somebody else, and files of two models."""
    folder = tmp_path_factory.mktemp("keys")
    (folder / "models").mkdir()
    for name in ("hearth-1b", "hearth-7b"):
        write_tiny_gguf(folder / "models" / f"{name}.gguf")
    flags = ("--models-dir", str(folder / "models"), "--fake-engine", "60")
    server = Server(folder / "data", *flags).start()
    server.token = server.claim("Ann", ANN)
    server.ask("POST", "/api/users", {"name": "Bob", "password": BOB})
    server.wait_for_ui()
    yield server
    server.close()


def open_sheet(page: Page, name: str, password: str, item: str) -> Locator:
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Sign in").click()
    ChatPage(page)
    if page.viewport_size and page.viewport_size["width"] == PHONE[0]:
        page.get_by_role("button", name="Show or hide the sidebar").first.click()
    page.locator(".side-user").click()
    page.get_by_role("menuitem", name=item).click()
    return page.locator(".sheet.account")


def make(sheet: Locator, name: str) -> str:
    sheet.get_by_role("button", name="Make a key…").click()
    sheet.get_by_label("What it is for").fill(name)
    sheet.get_by_role("button", name="Make the key").click()
    return sheet.locator(".given-password code").inner_text()


def status_of(server: Server, key: str, path: str) -> int:
    headers = {"authorization": f"Bearer {key}", "cookie": ""}
    return server.request("GET", path, headers=headers)[0]


def test_key_is_made_shown_once_used_and_revoked(house: Server, open_page) -> None:
    page = open_page(house.url, may_be_refused=True)
    page.on("dialog", lambda dialog: dialog.accept())
    sheet = open_sheet(page, "Bob", BOB, "Your account")
    expect(sheet.get_by_text("No keys")).to_be_visible()
    sheet.get_by_role("button", name="Make a key…").click()
    expect(sheet.get_by_label("What it is for")).to_be_focused()
    sheet.get_by_role("button", name="Make the key").click()
    expect(sheet.get_by_text("Fill this in.")).to_be_visible()
    sheet.get_by_label("What it is for").fill("Editor")
    for label in ("Chat and texts", "Embeddings", "List of models"):
        sheet.get_by_label(label, exact=True).uncheck()
    sheet.get_by_role("button", name="Make the key").click()
    expect(sheet.get_by_text("endpoints is empty")).to_be_visible()
    sheet.get_by_label("Chat and texts").check()
    sheet.get_by_label("List of models").check()
    sheet.get_by_label("Runs out").select_option("In 7 days")
    sheet.get_by_role("button", name="Make the key").click()
    key = sheet.locator(".given-password code").inner_text()
    examples = sheet.locator(".example pre")
    expect(examples).to_have_count(2)
    expect(examples.first).to_contain_text(f"curl {house.url}/v1/chat/completions")
    expect(examples.last).to_contain_text(f'base_url="{house.url}/v1"')
    expect(examples.last).to_contain_text(f'api_key="{key}"')
    row = sheet.locator(".rows li", has_text="Editor")
    expect(row).to_contain_text(f"{key[:11]}… · never used · until")
    expect(row).to_contain_text("Chat and texts, List of models, any model")
    assert status_of(house, key, "/v1/models") == 200
    assert status_of(house, key, "/metrics") == 403
    sheet.get_by_role("button", name="Close").click()
    page.locator(".side-user").click()
    page.get_by_role("menuitem", name="Your account").click()
    row = page.locator(".sheet.account .rows li", has_text="Editor")
    expect(row).to_contain_text("last used")
    assert key not in page.content()
    row.get_by_role("button", name="Revoke").click()
    expect(row).to_have_count(0)
    assert status_of(house, key, "/v1/models") == 401


def test_example_runs_as_it_is_shown(house: Server, open_page) -> None:
    page = open_page(house.url, may_be_refused=True)
    sheet = open_sheet(page, "Bob", BOB, "Your account")
    key = make(sheet, "Script")
    shown = sheet.locator(".example pre").first.inner_text()
    body = json.loads(shown.partition("-d '")[2].removesuffix("'"))
    headers = {"authorization": f"Bearer {key}", "cookie": ""}
    status, answer = house.request("POST", "/v1/chat/completions", body, headers)
    assert status == 200
    assert json.loads(answer)["choices"][0]["message"]["content"]


def test_key_is_kept_to_the_models_that_were_chosen(house: Server, open_page) -> None:
    page = open_page(house.url, may_be_refused=True)
    sheet = open_sheet(page, "Bob", BOB, "Your account")
    sheet.get_by_role("button", name="Make a key…").click()
    sheet.get_by_label("hearth-7b").check()
    sheet.get_by_label("What it is for").fill("One model")
    sheet.get_by_role("button", name="Make the key").click()
    row = sheet.locator(".rows li", has_text="One model")
    expect(row).to_contain_text("List of models, hearth-7b.gguf")
    key = sheet.locator(".given-password code").inner_text()
    headers = {"authorization": f"Bearer {key}", "cookie": ""}
    body = {"messages": [{"role": "user", "content": "x"}]}
    status, answer = house.request("POST", "/v1/chat/completions", body, headers)
    assert status == 403
    assert b"hearth-7b.gguf" in answer


def test_administrator_revokes_a_key_of_somebody(house: Server, open_page) -> None:
    mine, house.token = house.token, house.sign_in("Bob", BOB)
    made = house.ask("POST", "/api/keys", {"name": "Old laptop"})
    house.token = mine
    page = open_page(house.url, may_be_refused=True)
    page.on("dialog", lambda dialog: dialog.accept())
    sheet = open_sheet(page, "Ann", ANN, "People")
    person = sheet.locator(".rows details", has_text="Bob")
    person.locator("summary").click()
    person.get_by_role("button", name="API keys").click()
    row = person.locator("li", has_text="Old laptop")
    expect(row).to_contain_text(made["view"]["prefix"])
    row.get_by_role("button", name="Revoke").click()
    expect(row).to_have_count(0)
    assert status_of(house, made["key"], "/v1/models") == 401


@pytest.mark.parametrize(("size", "dark", "name"), LOOKS)
def test_keys_look_right(house: Server, open_page, pictures: Path, size, dark, name) -> None:
    page = open_page(house.url, size=size, dark=dark, may_be_refused=True)
    sheet = open_sheet(page, "Ann", ANN, "Your account")
    sheet.get_by_role("button", name="Make a key…").click()
    field = sheet.get_by_label("What it is for")
    expect(field).to_be_focused()
    for what, act in (
        ("form", lambda: field.fill("Code editor on the laptop")),
        ("key", lambda: None),
    ):
        act()
        if what == "key":
            sheet.get_by_role("button", name="Make the key").click()
            expect(sheet.locator(".example pre").last).to_be_visible()
        page.screenshot(path=pictures / f"keys-{what}-{name}.png")
        assert sheet.evaluate("e => e.scrollWidth - e.clientWidth") <= 0
    sheet.get_by_role("button", name="Make a key…").scroll_into_view_if_needed()
    page.screenshot(path=pictures / f"keys-list-{name}.png")
