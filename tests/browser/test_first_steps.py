"""A message before there is any model: the way to one stands where the message failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.chat_page import ChatPage
from tests.browser.conftest import LOOKS
from tests.serving import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def bare_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a server without any model, which nobody but the test gives one."""
    folder = tmp_path_factory.mktemp("bare")
    server = Server(folder / "data", "--models-dir", str(folder / "models"))
    server.start()
    server.wait_for_ui()
    yield server
    server.close()


@pytest.mark.parametrize(("size", "dark", "name"), LOOKS)
def test_message_without_any_model_offers_the_starter(
    bare_server: Server,
    open_page: Callable[..., Page],
    pictures: Path,
    size: tuple[int, int],
    *,
    dark: bool,
    name: str,
) -> None:
    page = open_page(bare_server.url, size=size, dark=dark)
    chat = ChatPage(page)
    chat.send("Is anybody there?")
    error = chat.answer.locator(".ending.error")
    expect(error).to_contain_text("No model is loaded")
    expect(error).to_contain_text("Get the starter model, or put GGUF files")
    offer = error.get_by_role("button", name="Download the starter")
    expect(offer).to_be_visible()
    expect(error.get_by_role("button", name="Choose a model")).to_have_count(0)
    expect(error.get_by_role("button", name="Retry")).to_be_visible()
    offer.scroll_into_view_if_needed()
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    page.screenshot(path=pictures / f"{name}-no-model.png")
    asked = []
    page.route("**/api/models/starter", lambda route: asked.append(route.request))
    offer.dblclick()
    expect(offer).to_be_visible()
    assert len(asked) == 1, "the second click asks for nothing more"
