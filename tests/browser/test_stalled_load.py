"""Loads that stand still and unloads that wait, in the Model tab; the server's words are made up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.chat_page import ChatPage
from tests.browser.conftest import LOOKS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Page, Route

    from tests.serving import Server

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

CARD = {
    "id": "share/slow.gguf",
    "name": "slow",
    "size_bytes": 4_000_000_000,
    "architecture": "llama",
    "parameters": 7_000_000_000,
    "quantization": "Q4_K_M",
    "context_length": 8192,
    "error": None,
}
STATUS = {
    "state": "loading",
    "model_id": CARD["id"],
    "name": CARD["name"],
    "fraction": 0.42,
    "error": None,
    "info": None,
    "outcome": None,
    "stalled_s": 75,
}


@pytest.mark.parametrize(("size", "dark", "name"), LOOKS)
def test_stalled_load_says_for_how_long_and_offers_cancel(
    fake_server: Server,
    open_page: Callable[..., Page],
    pictures: Path,
    size: tuple[int, int],
    *,
    dark: bool,
    name: str,
) -> None:
    page = open_page(fake_server.url, size=size, dark=dark)
    cancelled = []

    def answer(route: Route) -> None:
        response = route.fetch()
        body = response.json()
        card = {**(body["models"][0] if body["models"] else {}), **CARD}
        route.fulfill(response=response, json={**body, "models": [card], "status": STATUS})

    def cancel(route: Route) -> None:
        cancelled.append(route.request.url)
        status = {**STATUS, "state": "none", "stalled_s": None, "fraction": None}
        route.fulfill(json={"status": status})

    page.route("**/api/models", answer)
    page.route("**/api/models/cancel", cancel)
    page.reload()
    ChatPage(page).open_tab("Model")
    status = page.get_by_role("region", name="Loaded model")
    expect(status).to_contain_text("No progress for 1 min 15 s")
    expect(status).to_contain_text("The file may lie on a drive that does not answer.")
    page.wait_for_timeout(300)
    page.screenshot(path=pictures / f"{name}-stalled.png")
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    status.get_by_role("button", name="Cancel", exact=True).click()
    expect(status).not_to_contain_text("No progress")
    assert len(cancelled) == 1


def test_unload_that_waits_for_replies_says_so_and_can_be_hurried(
    fake_server: Server, open_page: Callable[..., Page], pictures: Path
) -> None:
    page = open_page(fake_server.url)
    asked = []

    def answer(route: Route) -> None:
        response = route.fetch()
        body = response.json()
        card = {**(body["models"][0] if body["models"] else {}), **CARD}
        status = {**STATUS, "state": "unloading", "fraction": None, "stalled_s": None}
        route.fulfill(response=response, json={**body, "models": [card], "status": status})

    def unload(route: Route) -> None:
        asked.append(route.request.url)
        status = {**STATUS, "state": "none", "model_id": None, "name": None, "stalled_s": None}
        route.fulfill(json={"status": status})

    page.route("**/api/models", answer)
    page.route("**/api/models/unload*", unload)
    page.reload()
    expect(page.locator(".pill:visible")).to_contain_text("Unloading slow")
    ChatPage(page).open_tab("Model")
    status = page.get_by_role("region", name="Loaded model")
    expect(status).to_contain_text("It leaves once its replies have ended")
    page.screenshot(path=pictures / "unloading.png")
    page.get_by_role("button", name="Unload now: slow").click()
    expect(status).not_to_contain_text("It leaves once its replies have ended")
    assert [url.partition("?")[2] for url in asked] == ["force=true"]
