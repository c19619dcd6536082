"""Who is signed in, in the Admin tab, with very many, with a few, and without a password."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import LOOKS, PHONE
from tests.browser.houses import ANN, BOB, house_of_many, house_of_two
from tests.browser.test_groups import LONG, is_within, open_admin, part, shoot
from webui.accounts import names
from webui.storage import api_keys, sessions, users
from webui.storage.tables import ApiKeyRow, SessionRow, SignInWay, UserRow, utc_now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Locator, Page
    from sqlalchemy.orm import Session

    from tests.serving import Server

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

NUM_PEOPLE, NUM_SIGN_INS, NUM_OF_BUSY = 200, 3, 30
DEVICES = ("Firefox, Linux", "Safari, iPhone", "Chrome, Android", "")
WAYS = (*SignInWay, None)


def fill(session: Session) -> None:
    """Add people, each signed in on some devices; the second on very many."""
    now = utc_now()
    for number in range(NUM_PEOPLE):
        name = LONG if number == 0 else f"Person {number:03}"
        user = users.add(session, UserRow(name=name, name_key=names.key_of(name)))
        for turn in range(NUM_OF_BUSY if number == 1 else NUM_SIGN_INS):
            used_at = now - timedelta(hours=number, minutes=turn)
            row = SessionRow(
                token_hash=f"{number} {turn}",
                owner_id=user.id,
                device=DEVICES[turn % len(DEVICES)],
                address="2001:db8:1234:5678:9abc:def0:1234:5678"
                if number == 0
                else f"10.0.{number}.{turn}",
                created_at=used_at - timedelta(days=1),
                last_used_at=used_at,
                expires_at=now + timedelta(days=20),
                way=WAYS[turn % len(WAYS)],
            )
            sessions.add(session, row)
        if number % 4 == 0:
            key = ApiKeyRow(
                key_hash=f"key {number}",
                owner_id=user.id,
                name=f"Editor {number}",
                prefix="hs-abcd2345",
            )
            api_keys.add(session, key)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One with 200 people who are signed in on several devices."""
    with house_of_many(
        tmp_path_factory.mktemp("signed-in") / "data", fill, "--fake-engine", "400"
    ) as server:
        yield server


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Server]:
    """One in which Bob is signed in twice and has a key and a chat."""
    with house_of_two(tmp_path / "data", "--fake-engine", "400") as server:
        ann = server.token
        for _ in range(2):
            server.token = server.sign_in("Bob", BOB)
        server.ask("POST", "/api/keys", {"name": "Editor"})
        chat_id = server.new_conversation()
        server.send(chat_id, "Hello")
        server.wait_for_reply(chat_id)
        server.token = ann
        yield server


def row_of(own: Locator, name: str) -> Locator:
    return own.locator(".rows > li > details", has_text=name)


@pytest.mark.parametrize(("size", "dark", "name"), LOOKS)
def test_two_hundred_people_on_several_devices_fit(
    crowd: Server, open_page: Callable[..., Page], pictures: Path, size, dark: bool, name: str
) -> None:
    page = open_page(crowd.url, size=size, dark=dark, may_be_refused=True)
    own = part(open_admin(page), "Signed in")
    people = own.locator(".rows > li > details")
    expect(people).to_have_count(20)
    expect(people.first).to_contain_text("Ann")  # who was here last
    expect(own.get_by_role("button", name="Show all 201")).to_be_visible()
    find = own.get_by_label("Find a person, device or address")
    find.fill("10.0.42.")
    expect(people).to_have_count(1)
    expect(people).to_contain_text("Person 042")
    find.fill("hs-abcd2345")
    expect(own.get_by_role("button", name="Show all 50")).to_be_visible()
    find.fill("person 001")
    row = row_of(own, "Person 001")
    expect(row).to_contain_text("30 sign-ins")
    row.locator("summary").click()
    ends = row.get_by_role("button", name="End: ")
    expect(ends).to_have_count(8)
    expect(row).to_contain_text("by passkey")
    shoot(own.page.locator(".admin"), "Signed in", pictures / f"signed-in-busy-{name}.png")
    row.get_by_role("button", name="Show all 30").click()
    expect(ends).to_have_count(30)
    row.get_by_label("Find a device or address").fill("10.0.1.29")
    expect(ends).to_have_count(1)
    find.fill("wolfe")
    row_of(own, LONG).locator("summary").click()
    expect(row_of(own, LONG)).to_contain_text("1 API key")
    shoot(own.page.locator(".admin"), "Signed in", pictures / f"signed-in-{name}.png")
    assert is_within(page)
    find.fill("nobody is called so")
    expect(own).to_contain_text("Nothing found.")


@pytest.mark.parametrize("size", [(1280, 800), PHONE], ids=["desktop", "phone"])
def test_one_is_ended_then_all_and_the_key_is_revoked(
    house: Server, open_page: Callable[..., Page], pictures: Path, size
) -> None:
    theirs = house.sign_in("Bob", BOB)
    page = open_page(house.url, size=size, may_be_refused=True)
    admin = open_admin(page)
    own = part(admin, "Signed in")
    row = row_of(own, "Bob")
    expect(row).to_contain_text("3 sign-ins · 1 API key")
    row.locator("summary").click()
    row.get_by_role("button", name="End: Some program, 127.0.0.1").first.click()
    expect(row).to_contain_text("2 sign-ins")
    expect(row.locator("summary")).to_be_focused()
    shoot(admin, "Signed in", pictures / f"signed-in-ended-{size[0]}.png")
    asked: list[str] = []
    page.once("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    row.get_by_role("button", name="End all sign-ins").click()
    expect(row).to_contain_text("2 sign-ins")
    assert "of Bob?" in asked[0]
    page.on("dialog", lambda dialog: dialog.accept())
    row.get_by_role("button", name="End all sign-ins").click()
    expect(row).to_contain_text("0 sign-ins · 1 API key")
    expect(row).to_contain_text("Signed in nowhere.")
    expect(row.get_by_role("button", name="End all sign-ins")).to_be_hidden()
    house.token = theirs
    with pytest.raises(AssertionError, match="401"):
        house.ask("GET", "/api/me")
    row.get_by_role("button", name="Revoke").click()
    expect(row).to_have_count(0)
    house.token = house.sign_in("Ann", ANN)
    said = [(one["action"], one["about"]) for one in house.ask("GET", "/api/audit")["entries"]]
    assert ("end_all_sessions", "Bob") in said
    own.get_by_role("button", name="Look again").click()
    mine = row_of(own, "Ann")
    mine.locator("summary").click()
    expect(mine).to_contain_text("this browser")
    mine.get_by_role("button", name="End all sign-ins").click()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()


def test_texts_are_counted_by_person_when_asked_for(
    house: Server, open_page: Callable[..., Page], pictures: Path
) -> None:
    admin = open_admin(open_page(house.url, may_be_refused=True))
    disk = part(admin, "Disk")
    disk.get_by_role("button", name="Show texts by person").click()
    expect(disk.locator(".rows li")).to_have_count(1)
    expect(disk.locator(".rows li")).to_contain_text("Bob")
    shoot(admin, "Disk", pictures / "texts-by-person.png")
    disk.get_by_role("button", name="Count again").click()
    expect(disk.locator(".rows li")).to_contain_text("byte")
