"""Groups, defaults and limits in the Admin tab, with nobody, with a few and with very many."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.chat_page import ChatPage
from tests.browser.conftest import LOOKS, PHONE
from tests.browser.houses import ANN, BOB, house_of_many, house_of_two
from webui.accounts import names
from webui.storage import groups, users
from webui.storage.tables import GroupRow, UserRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Locator, Page
    from sqlalchemy.orm import Session

    from tests.serving import Server

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

LONG = "Wolfeschlegelsteinhausenbergerdorff Elisa"[:40]
NUM_PEOPLE, NUM_GROUPS = 200, 50


def fill(session: Session) -> None:
    """Add many people who cannot sign in, and many groups."""
    named = [LONG, *(f"Person {n:03}" for n in range(1, NUM_PEOPLE))]
    people = [users.add(session, UserRow(name=name, name_key=names.key_of(name))) for name in named]
    for n in range(NUM_GROUPS):
        name = "Grandparentsandalltheirgrandchildren too" if n == 0 else f"Team {n:02}"
        limits = {"tokens_per_day": 1000 * (n + 1), "context_tokens": None} if n % 3 == 0 else {}
        row = GroupRow(name=name, name_key=names.key_of(name), limits=limits)
        row.permissions = ["download_models", "api_keys"] if n % 2 == 0 else None
        groups.add(session, row)
        groups.set_members(session, row.id, [one.id for one in people[n : n + 4 * n + 1 : 4]])


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One with 200 people and 50 groups."""
    with house_of_many(
        tmp_path_factory.mktemp("crowd") / "data", fill, "--fake-engine", "400"
    ) as server:
        server.ask("PUT", "/api/limits", {"limits": {"tokens_per_day": 100_000}})
        yield server


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One without a group."""
    with house_of_two(tmp_path_factory.mktemp("groups") / "data", "--fake-engine", "400") as server:
        yield server


def open_admin(page: Page) -> Locator:
    """Sign Ann in and show the Admin tab; returns it."""
    page.get_by_label("Name", exact=True).fill("Ann")
    page.get_by_label("Password", exact=True).fill(ANN)
    page.get_by_role("button", name="Sign in").click()
    ChatPage(page).open_tab("Admin")
    admin = page.locator(".admin")
    expect(admin.get_by_role("heading", name="Groups")).to_be_visible(timeout=20_000)
    return admin


def part(admin: Locator, title: str) -> Locator:
    return admin.locator("section").filter(has=admin.page.get_by_role("heading", name=title))


def is_within(page: Page) -> bool:
    wide = (
        "[...document.querySelectorAll('.admin *')].filter(e => e.scrollWidth > e.clientWidth + 1"
    )
    wide += " && getComputedStyle(e).overflowX === 'visible' && e.clientWidth).length"
    return page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0 and not (
        page.evaluate(wide)
    )


def shoot(admin: Locator, title: str, path: Path) -> None:
    """Take a picture of what a part begins with, as somebody sees it."""
    part(admin, title).evaluate("e => e.scrollIntoView({block: 'start'})")
    admin.page.screenshot(path=path)


@pytest.mark.parametrize(("size", "dark", "name"), LOOKS)
def test_fifty_groups_and_two_hundred_people_fit(
    crowd: Server, open_page: Callable[..., Page], pictures: Path, size, dark: bool, name: str
) -> None:
    page = open_page(crowd.url, size=size, dark=dark, may_be_refused=True)
    admin = open_admin(page)
    own, limits = part(admin, "Groups"), part(admin, "Defaults and limits")
    expect(own.locator(".rows > li > details")).to_have_count(20)
    expect(limits.locator(".rows > li > details")).to_have_count(20)
    own.get_by_label("Find a group").fill("grand")
    row = own.locator(".rows > li > details")
    expect(row).to_have_count(1)
    expect(row).to_contain_text("adds: Download models, Make API keys")
    own.get_by_label("Find a group").fill("team 48")
    row.locator("summary").click()
    members = row.locator(".long-list .rows li")
    expect(members).to_have_count(8)
    row.get_by_label("Search by name").fill("wolfe")
    expect(row.get_by_role("button", name=f"Add: {LONG}")).to_be_visible()
    shoot(admin, "Groups", pictures / f"groups-many-{name}.png")
    row.get_by_role("button", name="Show all").click()
    expect(members).to_have_count(38)
    row.get_by_label("Find a member").fill("person 05")
    expect(members).to_have_count(2)
    limits.get_by_label("Find somebody").fill("wolfe")
    found = limits.locator(".rows > li > details")
    expect(found).to_have_count(1)
    expect(found).to_contain_text("(group Grandparents")
    limits.get_by_label("Find somebody").fill("")
    shoot(admin, "Defaults and limits", pictures / f"limits-many-{name}.png")
    assert is_within(page)


@pytest.mark.parametrize(("size", "dark", "name"), LOOKS)
def test_empty_house_says_what_groups_are_for(
    house: Server, open_page: Callable[..., Page], pictures: Path, size, dark: bool, name: str
) -> None:
    page = open_page(house.url, size=size, dark=dark, may_be_refused=True)
    admin = open_admin(page)
    expect(part(admin, "Groups")).to_contain_text("There are no groups yet.")
    limits = part(admin, "Defaults and limits")
    expect(limits.locator(".rows > li > details")).to_have_count(2)
    expect(limits.locator(".rows > li > details").first).to_contain_text("no limits")
    page.screenshot(path=pictures / f"groups-none-{name}.png", full_page=True)
    shoot(admin, "Defaults and limits", pictures / f"limits-none-{name}.png")
    assert is_within(page)


def make_group(own: Locator, name: str) -> Locator:
    """Make a group in that part of the tab, at first with a wrong name; returns its row."""
    own.get_by_role("button", name="Make a group…").click()
    own.get_by_label("Name of the group").fill("<b>")
    own.get_by_role("button", name="Make the group").click()
    expect(own.get_by_text("characters that a name cannot have")).to_be_visible()
    own.get_by_label("Name of the group").fill(name)
    own.get_by_role("button", name="Make the group").click()
    row = own.locator(".rows > li > details")
    expect(row).to_have_attribute("open", "")
    return row


def set_tokens(row: Locator, tokens: str, seen: str) -> None:
    """Limit the tokens of a row that is open, and wait for what its line says then."""
    row.get_by_label("Tokens a day").fill(tokens)
    row.get_by_role("button", name="Save the limits").click()
    expect(row.locator("summary")).to_contain_text(seen)


@pytest.mark.parametrize("size", [(1280, 800), PHONE], ids=["desktop", "phone"])
def test_group_is_made_filled_and_deleted(
    house: Server, open_page: Callable[..., Page], pictures: Path, size
) -> None:
    page = open_page(house.url, size=size, may_be_refused=True)
    admin = open_admin(page)
    own, limits = part(admin, "Groups"), part(admin, "Defaults and limits")
    row = make_group(own, "Kids")
    row.get_by_role("button", name="Add: Bob").click()
    expect(row.locator("summary")).to_contain_text("1 member")
    row.get_by_label("Download models").check()
    expect(row.locator("summary")).to_contain_text("adds: Download models")
    row.get_by_role("button", name="Limits", exact=True).click()
    set_tokens(row, "7000", "1 limit")
    of_bob = limits.locator(".rows > li > details", has_text="Bob")
    expect(of_bob).to_contain_text("Tokens a day: 7,000 (group Kids)")
    shoot(admin, "Groups", pictures / f"group-{size[0]}.png")
    row.get_by_label("Name of the group").fill("Children")
    row.get_by_role("button", name="Rename").click()
    expect(row.locator("summary")).to_contain_text("Children")
    of_bob.locator("summary").click()
    set_tokens(of_bob, "9000", "Tokens a day: 9,000 (own)")
    set_tokens(of_bob, "", "7,000 (group Children)")

    house.token = house.sign_in("Bob", BOB)
    assert "download_models" in house.ask("GET", "/api/me")["user"]["permissions"]
    asked: list[str] = []
    page.once("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    row.get_by_role("button", name="Delete the group").click()
    expect(row).to_have_count(1)
    assert "1 member stays" in asked[0]
    assert "Download models; its limits" in asked[0]
    page.once("dialog", lambda dialog: dialog.accept())
    row.get_by_role("button", name="Delete the group").click()
    expect(row).to_have_count(0)
    expect(of_bob.locator("summary")).to_contain_text("no limits")
    assert "download_models" not in house.ask("GET", "/api/me")["user"]["permissions"]


def test_defaults_of_new_people_and_own_permissions(
    house: Server, open_page: Callable[..., Page], pictures: Path
) -> None:
    page = open_page(house.url, may_be_refused=True)
    admin = open_admin(page)
    limits = part(admin, "Defaults and limits")
    limits.get_by_label("New people are").select_option("guest")
    limits.get_by_label("Load models", exact=True).uncheck()
    expect(limits.get_by_role("button", name="As at first")).to_be_visible()
    house.token = house.sign_in("Bob", BOB)
    assert house.ask("GET", "/api/me")["user"]["permissions"] == ["api_keys", "chat", "sharing"]

    admin.get_by_role("button", name="Open people…").click()
    sheet = page.locator(".sheet.account")
    expect(sheet.locator("form").get_by_label("Role")).to_have_value("guest")
    row = sheet.locator(".rows details", has_text="Bob")
    row.locator("summary").click()
    expect(row).to_contain_text("As the role and the groups allow.")
    row.get_by_label("Download models").check()
    expect(row).to_contain_text("Set for this person alone")
    sheet.screenshot(path=pictures / "people-own.png")
    row.get_by_role("button", name="As the role and the groups allow").click()
    expect(row.get_by_label("Download models")).not_to_be_checked()
    page.keyboard.press("Escape")
    limits.get_by_role("button", name="As at first").click()
    limits.get_by_label("New people are").select_option("user")  # the other is not saved yet
    expect(limits.get_by_role("button", name="As at first")).to_be_hidden()
    expect(limits.get_by_label("Load models", exact=True)).to_be_checked()
    may = house.ask("GET", "/api/me")["user"]["permissions"]
    assert may == ["api_keys", "chat", "load_models", "sharing"]
    house.token = house.sign_in("Ann", ANN)
    assert house.ask("GET", "/api/defaults")["defaults"]["role"] == "user"


def test_who_may_make_no_keys_revokes_those_left(
    house: Server, open_page: Callable[..., Page]
) -> None:
    ann, bob = house.sign_in("Ann", ANN), house.sign_in("Bob", BOB)
    house.token = bob
    house.ask("POST", "/api/keys", {"name": "Editor"})
    own = house.ask("GET", "/api/me")["user"]["id"]
    house.token = ann
    house.ask("PATCH", f"/api/users/{own}", {"permissions": ["chat"]})
    page = open_page(house.url, may_be_refused=True)
    page.get_by_label("Name", exact=True).fill("Bob")
    page.get_by_label("Password", exact=True).fill(BOB)
    page.get_by_role("button", name="Sign in").click()
    page.locator(".side-user").click()
    page.get_by_role("menuitem", name="Your account").click()
    keys = page.locator(".sheet.account section", has_text="API keys")
    expect(keys).to_contain_text("You may make none any more")
    page.on("dialog", lambda dialog: dialog.accept())
    keys.get_by_role("button", name="Revoke").click()
    expect(page.get_by_role("heading", name="API keys")).to_have_count(0)
    house.ask("PATCH", f"/api/users/{own}", {"permissions": None})
