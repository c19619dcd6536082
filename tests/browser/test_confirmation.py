"""Confirming without a password in a real browser: at the provider, and by a passkey."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.chat_page import PHONE_WIDTH, ChatPage
from tests.browser.conftest import LOOKS
from tests.browser.houses import house_of_two
from tests.browser.test_passkeys import Device
from tests.oidc_provider import CLIENT, SECRET

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Locator, Page

    from tests.oidc_provider import OidcProvider
    from tests.serving import Server

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, provider: OidcProvider) -> Iterator[Server]:
    """One in which whoever comes from the provider gets an account."""
    folder = tmp_path_factory.mktemp("confirmation")
    secret = folder / "secret"
    secret.write_text(SECRET)
    flags = ["--oidc-issuer", provider.issuer, "--oidc-client-id", CLIENT, "--oidc-auto-create"]
    flags += ["--oidc-client-secret-file", str(secret), "--oidc-name", "Example"]
    with house_of_two(folder / "data", "--fake-engine", "60", *flags) as server:
        yield server


@pytest.fixture
def enter(house: Server, provider: OidcProvider, open_page) -> Callable[..., Page]:
    """Sign somebody in who has no password; returns the page."""
    provider.lie = provider.error = ""

    def enter(name: str, **more: object) -> Page:
        provider.subject, provider.claims = f"{name} there", {"preferred_username": name}
        url = f"http://localhost:{house.port}/"
        page = open_page(url, may_be_refused=True, further=(provider.issuer,), **more)
        page.get_by_role("button", name="Sign in with Example").click()
        ChatPage(page)
        return page

    return enter


def open_account(page: Page) -> None:
    page.locator(".side-user").click()
    page.get_by_role("menuitem", name="Your account").click()


def section(page: Page, title: str) -> Locator:
    heading = page.get_by_role("heading", name=title, exact=True)
    return page.locator(".sheet.account section").filter(has=heading)


def names(house: Server) -> list[str]:
    return [one["name"] for one in house.ask("GET", "/api/users")["users"]]


def test_account_is_deleted_after_a_sign_in_at_the_provider(
    house: Server, provider: OidcProvider, enter: Callable[..., Page]
) -> None:
    page = enter("Dora")
    open_account(page)
    end = section(page, "Delete the account")
    expect(end).to_contain_text("First confirm that it is you")
    expect(end.get_by_role("button", name="Delete")).to_have_count(0)
    provider.lie = "old auth_time"
    end.get_by_role("button", name="Sign in at Example again").click()
    expect(page.get_by_role("alert").first).to_contain_text("did not ask you to sign in anew")
    expect(page.get_by_role("alert").first).to_contain_text("Sign out there")
    page.get_by_role("button", name="Go on").click()
    again = end.get_by_role("button", name="Sign in at Example again")
    expect(again).to_be_focused()  # the sheet is where it was, and nothing is confirmed
    provider.lie = ""
    again.click()
    begin = end.get_by_role("button", name="Delete the account…")
    expect(begin).to_be_focused()
    expect(page).to_have_url(f"http://localhost:{house.port}/")
    assert "Dora" in names(house)
    begin.click()
    end.get_by_role("button", name="Delete everything").click()
    expect(page.get_by_role("button", name="Sign in with Example")).to_be_visible()
    assert "Dora" not in names(house)


def test_passkey_is_added_and_confirms_then(house: Server, enter: Callable[..., Page]) -> None:
    page = enter("Eve")
    device = Device(page)
    open_account(page)
    passkeys = section(page, "Passkeys")
    passkeys.get_by_role("button", name="Sign in at Example again").click()
    passkeys.get_by_role("button", name="Add a passkey…").click()
    expect(passkeys.get_by_label("Password", exact=True)).to_have_count(0)
    passkeys.get_by_label("Name", exact=True).fill("Laptop")
    passkeys.get_by_role("button", name="Make the passkey").click()
    expect(passkeys.locator(".rows li", has_text="Laptop")).to_be_visible()
    assert len(device.credentials()) == 1
    expect(passkeys).to_contain_text("First confirm that it is you")  # it was good for one
    password = section(page, "Password")
    device.verify(is_verified=False)
    password.get_by_role("button", name="Use a passkey").click()
    expect(page.get_by_text("No passkey came")).to_be_visible()
    expect(password.get_by_label("New password", exact=True)).to_have_count(0)
    device.verify(is_verified=True)
    password.get_by_role("button", name="Use a passkey").click()
    new = password.get_by_label("New password", exact=True)
    expect(new).to_be_focused()
    signed_in = section(page, "Signed in on").locator(".rows li")
    expect(signed_in).to_have_count(1)
    expect(signed_in).to_contain_text("by passkey")
    new.fill("three words of mine")
    password.get_by_role("button", name="Take the password").click()
    ChatPage(page)
    open_account(page)
    expect(section(page, "Password").get_by_label("Password", exact=True)).to_be_visible()
    end = section(page, "Delete the account")
    end.get_by_role("button", name="Delete the account…").click()
    expect(end.get_by_label("Password", exact=True)).to_be_focused()
    assert house.sign_in("Eve", "three words of mine")


@pytest.mark.parametrize(("size", "dark", "name"), LOOKS)
def test_what_there_is_to_confirm_by_is_seen(
    enter: Callable[..., Page], pictures: Path, size, dark: bool, name: str
) -> None:
    page = enter("Fay", size=size, dark=dark)
    if size[0] < PHONE_WIDTH:
        page.get_by_role("button", name="Show or hide the sidebar").first.click()
    open_account(page)
    sheet = page.locator(".sheet.account")
    expect(sheet.locator("input[type=password]")).to_have_count(0)
    expect(sheet.get_by_role("button", name="Sign in at Example again")).to_have_count(3)
    section(page, "Password").scroll_into_view_if_needed()
    page.screenshot(path=pictures / f"confirm-{name}.png")
    end = section(page, "Delete the account")
    end.get_by_role("button", name="Sign in at Example again").click()
    expect(end.get_by_role("button", name="Delete the account…")).to_be_in_viewport()
    page.screenshot(path=pictures / f"confirmed-{name}.png")
    wide = "document.documentElement.scrollWidth - innerWidth"
    assert page.evaluate(wide) <= 0
