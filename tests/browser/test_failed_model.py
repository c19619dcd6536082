"""A model whose process ended too often, as the Model tab shows it; the server's words are made up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.chat_page import ChatPage

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page, Route

    from tests.serving import Server

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

STATUS = {
    "state": "failed",
    "model_id": "/elsewhere/frail.gguf",
    "name": "frail",
    "fraction": None,
    "error": {
        "message": "The engine stopped 3 times within 60 s and is not started again for now.",
        "hint": "The next message after 60 s has it started again.",
    },
    "info": None,
    "outcome": None,
    "stalled_s": None,
}


def test_model_that_has_given_up_can_be_loaded_again(
    fake_server: Server, open_page: Callable[..., Page]
) -> None:
    page = open_page(fake_server.url)

    def answer(route: Route) -> None:
        response = route.fetch()
        route.fulfill(response=response, json={**response.json(), "status": STATUS})

    page.route("**/api/models", answer)
    page.reload()
    ChatPage(page).open_tab("Model")
    status = page.get_by_role("region", name="Loaded model")
    expect(status).to_contain_text("is not started again for now")
    expect(status).to_contain_text("The next message after 60 s has it started again.")
    status.get_by_role("button", name="Load again: frail").click()
    # It asks for the file that had been loaded, which the server of this test has not.
    expect(page.get_by_text("There is no model '/elsewhere/frail.gguf'")).to_be_visible()
