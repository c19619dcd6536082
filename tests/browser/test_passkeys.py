"""Passkeys in a real browser with a device that Chromium makes up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from tests.browser.chat_page import ChatPage
from tests.browser.conftest import DESKTOP, LOOKS, PHONE
from tests.browser.houses import ANN, BOB, house_of_two

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import CDPSession, Locator, Page

    from tests.serving import Server

pytestmark = pytest.mark.browser
DEVICE = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


class Device:
    """A made-up device of one page."""

    def __init__(self, page: Page) -> None:
        self.cdp: CDPSession = page.context.new_cdp_session(page)
        self.cdp.send("WebAuthn.enable")
        made = self.cdp.send("WebAuthn.addVirtualAuthenticator", {"options": DEVICE})
        self.id: str = made["authenticatorId"]

    def credentials(self) -> list[dict[str, Any]]:
        found = self.cdp.send("WebAuthn.getCredentials", {"authenticatorId": self.id})
        return list(found["credentials"])

    def put_back(self, credential: dict[str, Any]) -> None:
        """Put a copy in place of what the device has, with the count of then."""
        one = {"authenticatorId": self.id, "credentialId": credential["credentialId"]}
        self.cdp.send("WebAuthn.removeCredential", one)
        added = {"authenticatorId": self.id, "credential": credential}
        self.cdp.send("WebAuthn.addCredential", added)

    def verify(self, *, is_verified: bool) -> None:
        """Let the device know its owner, or not."""
        wanted = {"authenticatorId": self.id, "isUserVerified": is_verified}
        self.cdp.send("WebAuthn.setUserVerified", wanted)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with house_of_two(
        tmp_path_factory.mktemp("passkeys") / "data", "--fake-engine", "60"
    ) as server:
        yield server


def named(house: Server) -> str:
    """Return the address of the page under the name for which browsers keep passkeys."""
    return f"http://localhost:{house.port}"


def sign_in(page: Page, name: str, password: str) -> None:
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Sign in").click()
    ChatPage(page)


def open_menu(page: Page, item: str) -> None:
    page.locator(".side-user").click()
    page.get_by_role("menuitem", name=item).click()


def section(page: Page) -> Locator:
    heading = page.get_by_role("heading", name="Passkeys")
    return page.locator(".sheet.account section").filter(has=heading)


def fill(part: Locator, password: str, name: str = "Laptop") -> None:
    part.get_by_role("button", name="Add a passkey…").click()
    expect(part.get_by_label("Name", exact=True)).to_be_focused()
    part.get_by_label("Name", exact=True).fill(name)
    part.get_by_label("Password", exact=True).fill(password)
    part.get_by_role("button", name="Make the passkey").click()


def add_passkey(page: Page, password: str, name: str = "Laptop") -> None:
    part = section(page)
    fill(part, password, name)
    expect(part.locator(".rows li", has_text=name)).to_be_visible()


def test_passkey_is_made_signs_in_and_is_removed(
    house: Server, open_page: Callable[..., Page]
) -> None:
    page = open_page(named(house), may_be_refused=True)
    device = Device(page)
    sign_in(page, "Bob", BOB)
    open_menu(page, "Your account")
    part = section(page)
    fill(part, "wrong wrong")
    expect(part.get_by_text("the password is wrong")).to_be_visible()
    assert device.credentials() == []
    part.get_by_label("Password", exact=True).fill(BOB)
    part.get_by_role("button", name="Make the passkey").click()
    expect(part.locator(".rows li")).to_contain_text("never used")
    (credential,) = device.credentials()
    assert credential["isResidentCredential"]
    assert credential["rpId"] == "localhost"
    fill(part, BOB)  # a second one on the same device
    expect(part.get_by_role("alert")).to_contain_text("has a passkey for your account already")
    page.keyboard.press("Escape")
    open_menu(page, "Sign out")
    page.get_by_role("button", name="Use a passkey").click()
    expect(page.locator(".side-user")).to_have_text("Bob")
    ChatPage(page)
    open_menu(page, "Your account")
    row = section(page).locator(".rows li")
    expect(row).to_contain_text("last used")
    row.get_by_role("button", name="Rename").click()
    row.get_by_label("Name", exact=True).fill("Old laptop")
    row.get_by_role("button", name="Save").click()
    expect(row).to_contain_text("Old laptop")
    page.once("dialog", lambda dialog: dialog.accept())
    row.get_by_role("button", name="Remove").click()
    expect(row).to_have_text("No passkeys")
    page.keyboard.press("Escape")
    open_menu(page, "Sign out")
    page.get_by_role("button", name="Use a passkey").click()
    expect(page.get_by_role("alert").last).to_contain_text("opens no account here")


def test_copy_and_device_that_does_not_know_its_owner_open_nothing(
    house: Server, open_page: Callable[..., Page]
) -> None:
    page = open_page(named(house), may_be_refused=True)
    device = Device(page)
    sign_in(page, "Bob", BOB)
    open_menu(page, "Your account")
    add_passkey(page, BOB)
    (old,) = device.credentials()
    page.keyboard.press("Escape")
    for _ in range(2):
        open_menu(page, "Sign out")
        page.get_by_role("button", name="Use a passkey").click()
        ChatPage(page)
    open_menu(page, "Sign out")
    button = page.get_by_role("button", name="Use a passkey")
    button.click(trial=True)
    device.verify(is_verified=False)
    button.click()
    expect(page.get_by_role("alert").last).to_contain_text("No passkey came")
    device.verify(is_verified=True)
    device.put_back(old)
    button.click()
    expect(page.get_by_role("alert").last).to_contain_text("opens no account here")
    house.token = house.sign_in("Ann", ANN)
    entries = house.ask("GET", "/api/audit")["entries"]
    refused = [one for one in entries if one["action"] == "refuse_passkey"]
    assert refused[0]["about"].startswith("Laptop counted ")


def test_bare_address_says_where_passkeys_are_to_be_had(
    house: Server, open_page: Callable[..., Page]
) -> None:
    page = open_page(house.url, may_be_refused=True)
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    expect(page.get_by_role("button", name="Use a passkey")).to_have_count(0)
    sign_in(page, "Bob", BOB)
    open_menu(page, "Your account")
    expect(section(page)).to_contain_text(f"Open {named(house)} instead.")
    expect(section(page).get_by_role("button", name="Add a passkey…")).to_have_count(0)


@pytest.mark.parametrize(("size", "dark", "name"), LOOKS)
def test_passkeys_look_right(
    house: Server, open_page, pictures: Path, size, dark: bool, name: str
) -> None:
    page = open_page(named(house), size=size, dark=dark, may_be_refused=True)
    Device(page)
    button = page.get_by_role("button", name="Use a passkey")
    expect(button).to_be_visible()
    page.screenshot(path=pictures / f"passkey-sign-in-{name}.png")
    button.click()
    expect(page.get_by_role("alert").last).to_contain_text("No passkey came")
    page.screenshot(path=pictures / f"passkey-none-{name}.png")
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    sign_in(page, "Ann", ANN)
    if size == PHONE:
        page.get_by_role("button", name="Show or hide the sidebar").first.click()
    open_menu(page, "Your account")
    add_passkey(page, ANN, f"{'Phone' if size != DESKTOP else 'Laptop'}, {name}")
    part = section(page)
    part.get_by_role("button", name="Add a passkey…").click()
    part.scroll_into_view_if_needed()
    part.locator("form").evaluate("e => e.scrollIntoView({block: 'end'})")
    page.screenshot(path=pictures / f"passkeys-{name}.png")
    assert page.locator(".sheet.account").evaluate("e => e.scrollWidth - e.clientWidth") <= 0
    part.get_by_role("button", name="Rename").last.click()
    part.locator(".rows form").evaluate("e => e.scrollIntoView({block: 'center'})")
    page.screenshot(path=pictures / f"passkeys-rename-{name}.png")
