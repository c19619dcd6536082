"""Ways in by another site's word, in a real browser: a provider, and a named proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.chat_page import PHONE_WIDTH, ChatPage
from tests.browser.conftest import LOOKS
from tests.browser.houses import ANN, BOB, house_of_two
from tests.browser.test_accounts import sign_in
from tests.oidc_provider import CLIENT, SECRET

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Page

    from tests.oidc_provider import OidcProvider
    from tests.serving import Server

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, provider: OidcProvider) -> Iterator[Server]:
    """One with an administrator, somebody else, a provider and a proxy on the machine."""
    folder = tmp_path_factory.mktemp("ways")
    secret = folder / "secret"
    secret.write_text(SECRET)
    flags = ["--oidc-issuer", provider.issuer, "--oidc-client-id", CLIENT]
    flags += ["--oidc-client-secret-file", str(secret), "--oidc-name", "Example"]
    flags += ["--trusted-proxy", "127.0.0.1", "--trusted-user-header", "Remote-User"]
    with house_of_two(folder / "data", "--fake-engine", "60", *flags) as server:
        yield server


@pytest.fixture
def at_home(house: Server, provider: OidcProvider, open_page):
    """Open the page under a name that makes the provider another site: localhost is not 127.0.0.1."""
    provider.lie = provider.error = ""

    def open_at(path: str = "", **more: object) -> Page:
        url = f"http://localhost:{house.port}{path}"
        return open_page(url, may_be_refused=True, further=(provider.issuer,), **more)

    return open_at


def leave(page: Page) -> None:
    page.locator(".side-user").click()
    page.get_by_role("menuitem", name="Sign out").click()
    expect(page.get_by_role("button", name="Sign in with Example")).to_be_visible()


def open_account(page: Page) -> None:
    page.locator(".side-user").click()
    page.get_by_role("menuitem", name="Your account").click()


def test_linked_account_comes_in_by_the_provider_to_where_it_wanted(
    house: Server, provider: OidcProvider, at_home
) -> None:
    provider.subject = "bob-there"
    house.token = house.sign_in("Bob", BOB)
    chat_id = house.new_conversation()
    page = at_home(f"/c/{chat_id}")
    other = page.get_by_role("button", name="Sign in with Example")
    other.click()
    expect(page.get_by_role("alert").first).to_contain_text("you have no account here")
    expect(page).to_have_url(f"http://localhost:{house.port}/sign-in")
    sign_in(page, "Bob", BOB)
    open_account(page)
    page.get_by_role("button", name="Link the account…").click()
    section = page.locator("section", has_text="Sign-in with Example")
    section.get_by_label("Password", exact=True).fill(BOB)
    with page.expect_navigation(url=f"http://localhost:{house.port}/"):  # by way of the provider
        section.get_by_role("button", name="Go there and link it").click()
    expect(page.locator(".side-user")).to_have_text("Bob")
    open_account(page)
    expect(page.get_by_text("Your account is linked to Example since")).to_be_visible()
    page.keyboard.press("Escape")
    leave(page)
    page.goto(f"http://localhost:{house.port}/c/{chat_id}")
    other.click()
    expect(page.locator(".side-user")).to_have_text("Bob")
    expect(page).to_have_url(f"http://localhost:{house.port}/c/{chat_id}")
    open_account(page)
    page.get_by_role("button", name="Unlink").click()
    expect(page.get_by_role("button", name="Link the account…")).to_be_visible()


@pytest.mark.parametrize(("size", "dark", "name"), LOOKS)
def test_what_the_provider_did_wrong_is_told_beside_the_password(
    provider: OidcProvider, at_home, pictures: Path, size, dark, name
) -> None:
    page = at_home("/sign-in", size=size, dark=dark)
    provider.error = "access_denied"
    page.get_by_role("button", name="Sign in with Example").click()
    expect(page.get_by_role("alert").first).to_contain_text("did not let you in (access_denied)")
    expect(page.get_by_label("Password", exact=True)).to_be_visible()
    page.screenshot(path=pictures / f"way-in-{name}.png")
    page.reload()
    expect(page.get_by_role("button", name="Sign in with Example")).to_be_visible()
    expect(page.get_by_text("access_denied")).to_have_count(0)


def test_answer_that_was_begun_in_another_browser_signs_nobody_in(
    house: Server, provider: OidcProvider, at_home
) -> None:
    attacker = at_home("/sign-in")
    begun = attacker.evaluate(
        "fetch('api/oidc', {method: 'POST', headers: {'content-type': 'application/json'}, "
        "body: '{}'}).then((answer) => answer.json())"
    )
    victim = at_home("/sign-in")
    victim.goto(provider.come_back(begun["url"]))
    expect(victim.get_by_role("alert").first).to_contain_text("begun in another browser")
    victim.goto(f"http://localhost:{house.port}/")
    expect(victim.get_by_role("button", name="Sign in", exact=True)).to_be_visible()


def test_proxy_names_somebody_who_is_in_at_once(house: Server, open_page) -> None:
    headers = {"Remote-User": "bob", "X-Forwarded-For": "203.0.113.9"}
    page = open_page(f"{house.url}/", may_be_refused=True, headers=headers)
    ChatPage(page)  # is whole: what it asks for after the end is refused
    expect(page.locator(".side-user")).to_have_text("Bob")
    page.locator(".side-user").click()
    page.get_by_role("menuitem", name="Sign out").click()
    page.get_by_role("button", name="Go on as bob").click()
    expect(page.locator(".side-user")).to_have_text("Bob")


@pytest.mark.parametrize(("size", "dark", "name"), LOOKS)
def test_who_has_no_password_is_asked_for_none(
    house: Server, open_page, pictures: Path, size, dark: bool, name: str
) -> None:
    house.token = house.sign_in("Ann", ANN)
    if "Dora" not in [one["name"] for one in house.ask("GET", "/api/users")["users"]]:
        house.ask("POST", "/api/users", {"name": "Dora"})  # what is made up is void with the proxy
    headers = {"Remote-User": "dora", "X-Forwarded-For": "203.0.113.9"}
    url = f"http://localhost:{house.port}/"
    page = open_page(url, size=size, dark=dark, may_be_refused=True, headers=headers)
    ChatPage(page)  # is whole
    if size[0] < PHONE_WIDTH:
        page.get_by_role("button", name="Show or hide the sidebar").first.click()
    open_account(page)
    sheet = page.locator(".sheet.account")
    expect(sheet).to_contain_text("You have none: a sign-in provider or a proxy lets you in.")
    expect(sheet).to_contain_text("Adding one is confirmed by your password, and you have none.")
    expect(sheet.locator("input[type=password]")).to_have_count(0)
    expect(sheet.get_by_role("button", name="Take the password")).to_have_count(0)
    expect(sheet.get_by_role("button", name="Add a passkey…")).to_have_count(0)
    here = sheet.locator(".rows li", has_text="this browser")
    expect(here).to_contain_text("by the proxy · 203.0.113.9 · since")
    page.screenshot(path=pictures / f"no-password-{name}.png")
    sheet.get_by_role("heading", name="Delete the account").scroll_into_view_if_needed()
    page.screenshot(path=pictures / f"no-password-end-{name}.png")


def test_who_has_only_the_word_of_a_proxy_deletes_the_account_by_name(
    house: Server, open_page
) -> None:
    house.token = house.sign_in("Ann", ANN)
    house.ask("POST", "/api/users", {"name": "Elsa"})
    headers = {"Remote-User": "elsa", "X-Forwarded-For": "203.0.113.9"}
    page = open_page(f"http://localhost:{house.port}/", may_be_refused=True, headers=headers)
    ChatPage(page)
    open_account(page)
    sheet = page.locator(".sheet.account")
    sheet.get_by_role("button", name="Delete the account…").click()
    name = sheet.get_by_label("Write your name, Elsa, to confirm it")
    expect(name).to_be_focused()
    name.fill("Ann")
    sheet.get_by_role("button", name="Delete everything").click()
    expect(sheet.get_by_text("this is not your name")).to_be_visible()
    name.fill("Elsa")
    sheet.get_by_role("button", name="Delete everything").click()
    page.get_by_role("button", name="Go on as elsa").click()
    expect(page.get_by_text("elsa has no account here")).to_be_visible()
    assert "Elsa" not in [one["name"] for one in house.ask("GET", "/api/users")["users"]]


def test_proxy_names_somebody_unknown_who_is_told_so(house: Server, open_page) -> None:
    headers = {"Remote-User": "zed", "X-Forwarded-For": "203.0.113.9"}
    page = open_page(f"{house.url}/", may_be_refused=True, headers=headers)
    expect(page.get_by_role("alert")).to_contain_text("zed has no account here")
    expect(page.get_by_role("button", name="Go on as zed")).to_be_focused()
    expect(page.get_by_label("Password", exact=True)).to_have_count(0)
