"""The Model tab in a real browser: options of a load, the rare ones and adapters among them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import DESKTOP, PHONE
from tests.serving import Server
from tests.tiny_gguf import write_tiny_gguf, write_tiny_lora

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Locator, Page

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

SAVED = re.compile(r"^\s*Saved\.")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server with a tiny model and an adapter for it."""
    models_dir = tmp_path / "models"
    models_dir.mkdir()
    write_tiny_gguf(models_dir / "tiny.gguf")
    write_tiny_lora(models_dir / "poet.gguf")
    real = Server(tmp_path / "data", "--models-dir", str(models_dir), "--model", "tiny")
    real.start()
    real.wait_for_ui()
    yield real
    real.close()


def open_options(page: Page) -> Locator:
    """Open the Model tab and its Advanced group; return the group's text box."""
    tab = page.locator("#tabs .tab-container:not(.visually-hidden) button[role=tab]")
    tab.get_by_text("Model", exact=True).click()
    expect(page.locator("#model-options")).not_to_have_attribute("inert", "")
    box = page.locator("#options-advanced textarea")
    expect(box).not_to_be_visible()
    page.locator("#options-rest button").first.click()
    expect(box).to_be_visible()
    return box


def test_rare_options_and_adapters_are_saved_checked_and_used(
    server: Server, open_page: Callable[..., Page], pictures: Path
) -> None:
    page = open_page(server.url)
    box = open_options(page)
    state = page.locator("#options-state")
    box.fill("mlok = true")
    expect(state).to_have_text(re.compile(r"Line 1 of More options: there is no option mlok"))
    box.fill("check_tensors = true")
    expect(state).to_have_text(SAVED)
    adapters = page.locator("#options-lora textarea")
    adapters.fill("poet.gguf: 500")
    expect(state).to_have_text(re.compile("Line 1 of LoRA adapters must be at most 100"))
    adapters.fill("poet.gguf: 0.5")
    expect(state).to_have_text(SAVED)
    adapters.blur()
    page.locator("#options-rest").scroll_into_view_if_needed()
    page.screenshot(path=pictures / "model-options-desktop-light.png")
    page.locator("#options-apply").click()
    expect(state).to_have_text(re.compile("tiny .*loaded", re.IGNORECASE), timeout=30_000)
    for size, dark, look in (
        (DESKTOP, True, "desktop-dark"),
        (PHONE, False, "phone-light"),
        (PHONE, True, "phone-dark"),
    ):
        again = open_page(server.url, size=size, dark=dark)
        expect(open_options(again)).to_have_value("check_tensors = true")
        expect(again.locator("#options-lora textarea")).to_have_value("poet.gguf: 0.5")
        again.locator("#options-rest").scroll_into_view_if_needed()
        assert again.evaluate("document.documentElement.scrollWidth") <= size[0]
        again.screenshot(path=pictures / f"model-options-{look}.png")


def test_scales_of_the_loaded_model_are_changed_while_it_runs(
    server: Server, open_page: Callable[..., Page], pictures: Path
) -> None:
    page = open_page(server.url)
    page.request.post(
        f"{server.url}/api/models/load",
        data={"model_id": "tiny.gguf", "options": {"lora": [{"path": "poet.gguf", "scale": 0.5}]}},
    )
    tab = page.locator("#tabs .tab-container:not(.visually-hidden) button[role=tab]")
    tab.get_by_text("Model", exact=True).click()
    scale = page.locator(".model-adapters").get_by_label("poet.gguf")
    expect(scale).to_have_value("0.5", timeout=30_000)
    other = open_page(server.url, size=PHONE, dark=True)
    other.locator("#tabs .tab-container:not(.visually-hidden) button[role=tab]").get_by_text(
        "Model", exact=True
    ).click()
    elsewhere = other.locator(".model-adapters").get_by_label("poet.gguf")
    expect(elsewhere).to_have_value("0.5")
    scale.fill("-1.25")
    scale.press("Tab")
    expect(elsewhere).to_have_value("-1.25")
    status = page.request.get(f"{server.url}/api/models").json()["status"]
    assert status["info"]["adapters"] == [{"name": "poet.gguf", "scale": -1.25}]
    scale.fill("500")  # the browser says what is wrong, and nothing is sent
    scale.press("Tab")
    expect(scale).to_have_js_property("validity.valid", value=False)
    expect(elsewhere).to_have_value("-1.25")
    assert other.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
    page.screenshot(path=pictures / "model-adapters-desktop-light.png")
    other.screenshot(path=pictures / "model-adapters-phone-dark.png")
