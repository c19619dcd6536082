"""The Parameters tab in a real browser: no edit is lost, whichever way it is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import PHONE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Locator, Page, Route

    from tests.serving import Server

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]


class ParametersPage:
    """The tab as a person uses it."""

    def __init__(self, page: Page, server: Server) -> None:
        self.page = page
        self._server = server
        self.state = page.locator("#params-state")
        tab = page.locator("#tabs .tab-container:not(.visually-hidden) button[role=tab]")
        tab.get_by_text("Parameters").click()
        expect(self.number("temperature")).to_be_visible()
        self.form = page.locator(".form-page", has=self.state)

    def wait_until_filled(self) -> ParametersPage:
        """Wait as a person does: before that the form takes no edit."""
        expect(self.form).not_to_have_attribute("inert", "")
        return self

    def number(self, name: str) -> Locator:
        return self.page.locator(f"#params-{name} input[type=number]")

    def text(self, name: str) -> Locator:
        return self.page.locator(f"#params-{name} textarea")

    def saved(self) -> dict[str, Any]:
        parameters: dict[str, Any] = self._server.ask("GET", "/api/parameters")["parameters"]
        return parameters

    def wait_until_saved(self, name: str, value: object) -> None:
        self._server.wait_for(lambda: self.saved()[name] == value, 10)


@pytest.fixture
def parameters(
    fake_server: Server, open_page: Callable[..., Page]
) -> Iterator[Callable[..., ParametersPage]]:
    fake_server.ask("DELETE", "/api/parameters")

    def open_form(**how: Any) -> ParametersPage:
        return ParametersPage(open_page(fake_server.url, **how), fake_server).wait_until_filled()

    yield open_form
    fake_server.ask("DELETE", "/api/parameters")


def test_slider_saves_by_mouse_by_key_and_by_typing(
    parameters: Callable[..., ParametersPage],
) -> None:
    form = parameters()
    slider = form.page.locator("#params-min_p input[type=range]")
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    assert box is not None
    form.page.mouse.move(box["x"] + 30, box["y"] + box["height"] / 2)
    form.page.mouse.down()
    form.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=20)
    form.page.mouse.up()
    form.wait_until_saved("min_p", float(form.number("min_p").input_value()))
    assert 0.4 < form.saved()["min_p"] < 0.6
    slider.press("Home")
    form.wait_until_saved("min_p", 0)
    form.number("temperature").fill("0.3")
    form.wait_until_saved("temperature", 0.3)
    expect(form.state).to_have_text("Saved")


def test_text_saves_what_is_typed_pasted_deleted_and_cut(
    parameters: Callable[..., ParametersPage],
) -> None:
    form = parameters()
    prompt = form.text("system_prompt")
    prompt.press_sequentially("Be terse.")
    form.wait_until_saved("system_prompt", "Be terse.")
    prompt.press("Backspace")
    form.wait_until_saved("system_prompt", "Be terse")
    prompt.press("Enter")
    form.page.keyboard.insert_text("Always.")  # as a paste does: no key is pressed
    form.wait_until_saved("system_prompt", "Be terse\nAlways.")
    prompt.press("ControlOrMeta+a")
    prompt.press("ControlOrMeta+x")
    form.wait_until_saved("system_prompt", "")


def test_saved_values_that_come_late_overwrite_no_edit(
    fake_server: Server, open_page: Callable[..., Page]
) -> None:
    fake_server.ask("PUT", "/api/parameters", {"system_prompt": "Be terse."})
    page = open_page(fake_server.url).context.new_page()
    held: list[Route] | None = []

    def hold(route: Route) -> None:
        if held is None:
            route.continue_()
        else:
            held.append(route)

    page.route("**/gradio_api/run/predict*", hold)
    page.goto(fake_server.url)
    form = ParametersPage(page, fake_server)
    expect(form.form).to_have_attribute("inert", "")
    box = form.text("system_prompt").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 20, box["y"] + 10)
    page.keyboard.type("Lost")
    expect(form.text("system_prompt")).to_have_value("")
    late, held = held, None
    for route in late:
        route.continue_()
    page.unroute("**/gradio_api/run/predict*")  # it runs only while Playwright is asked something
    form.wait_until_filled()
    expect(form.text("system_prompt")).to_have_value("Be terse.")
    form.text("system_prompt").press("End")
    form.text("system_prompt").press_sequentially(" Always.")
    form.wait_until_saved("system_prompt", "Be terse. Always.")
    fake_server.ask("DELETE", "/api/parameters")


def test_number_beyond_the_slider_stays_and_beyond_the_bound_is_refused(
    parameters: Callable[..., ParametersPage],
) -> None:
    form = parameters()
    form.number("top_k").fill("900")
    form.number("top_k").blur()
    form.wait_until_saved("top_k", 900)
    expect(form.number("top_k")).to_have_value("900")
    form.number("temperature").fill("5")
    form.number("temperature").blur()
    expect(form.state).to_have_text("Not saved. Temperature must be at most 2.")
    field = form.page.locator("#params-temperature")
    expect(field).to_have_attribute("data-error", "Not saved. Temperature must be at most 2.")
    expect(form.page.locator(".toast")).to_have_count(0)
    expect(form.number("temperature")).to_have_value("5")
    assert form.saved()["temperature"] == 0.7
    form.number("seed").fill("9")  # another field is saved: the wrong one stays marked
    form.wait_until_saved("seed", 9)
    expect(form.state).to_have_text("Not saved. Temperature must be at most 2.")
    expect(form.number("temperature")).to_have_attribute("aria-invalid", "true")
    form.number("temperature").fill("1")
    form.wait_until_saved("temperature", 1)
    expect(form.number("temperature")).to_have_attribute("aria-invalid", "false")
    expect(field).to_have_attribute("data-error", "")
    expect(form.state).to_have_text("Saved")


def test_reset_goes_to_the_default_and_the_page_shows_what_was_saved(
    parameters: Callable[..., ParametersPage], fake_server: Server
) -> None:
    fake_server.ask(
        "PUT", "/api/parameters", {"temperature": 1.5, "stop": ["###", "\n"], "seed": 4}
    )
    form = parameters()
    expect(form.number("temperature")).to_have_value("1.5")
    expect(form.text("stop")).to_have_value("###\n\\n")
    form.page.locator("#params-temperature .reset-button").click()
    form.wait_until_saved("temperature", 0.7)
    expect(form.number("temperature")).to_have_value("0.7")
    form.page.get_by_role("button", name="Reset Seed").click()
    form.wait_until_saved("seed", -1)
    assert form.saved()["stop"] == ["###", "\n"]
    form.page.get_by_role("button", name="Reset to defaults").click()
    form.wait_until_saved("stop", [])
    expect(form.text("stop")).to_have_value("")


def test_two_pages_do_not_undo_each_other(parameters: Callable[..., ParametersPage]) -> None:
    one, other = parameters(), parameters()
    one.number("temperature").fill("0.1")
    one.wait_until_saved("temperature", 0.1)
    other.number("top_p").fill("0.2")
    other.wait_until_saved("top_p", 0.2)
    assert other.saved()["temperature"] == 0.1


def test_phone_shows_one_column_that_does_not_scroll_sideways(
    parameters: Callable[..., ParametersPage],
) -> None:
    form = parameters(size=PHONE, dark=True)
    assert form.page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
    boxes = [form.number(name).bounding_box() for name in ("temperature", "top_p")]
    assert all(box is not None and box["x"] + box["width"] <= PHONE[0] for box in boxes)
