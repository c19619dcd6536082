"""The newcomer's story with a real model: get the starter, ask, stop, restart, find it all."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.chat_page import ChatPage
from tests.browser.conftest import PHONE
from tests.serving import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.timeout(420)]

DOWNLOAD_TIMEOUT_MS = 180_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a server that got the starter unasked."""
    folder = tmp_path_factory.mktemp("first-light")
    real = Server(folder / "data", "--models-dir", str(folder / "models"), "--starter")
    real.start()
    real.wait_for_model(timeout_s=DOWNLOAD_TIMEOUT_MS / 1000)
    real.wait_for_ui()
    yield real
    real.close()


@pytest.fixture
def bare_server(tmp_path: Path) -> Iterator[Server]:
    """Return a server without any model."""
    real = Server(tmp_path / "data", "--models-dir", str(tmp_path / "models"))
    real.start()
    real.wait_for_ui()
    yield real
    real.close()


def test_newcomer_gets_the_starter_by_the_button_and_an_answer(
    bare_server: Server, open_page: Callable[..., Page]
) -> None:
    page = open_page(bare_server.url)
    ChatPage(page)
    page.get_by_role("button", name="Download the starter").first.click()
    downloading = page.locator("p:visible", has_text="Downloading the starter")
    expect(downloading.first).to_be_visible()
    chat = ChatPage(page)
    expect(chat.composer).to_have_attribute(
        "placeholder", re.compile("SmolLM2"), timeout=DOWNLOAD_TIMEOUT_MS
    )
    models_dir = Path(bare_server.flags[1])
    assert [path.suffix for path in models_dir.glob("*.gguf")] == [".gguf"]
    assert list(models_dir.glob("*LICENSE*"))

    bare_server.ask("PUT", "/api/parameters", {"temperature": 0, "max_tokens": 120})
    chat.send("Name three colours of the rainbow.")
    chat.wait_until_writing()
    chat.wait_until_done()
    expect(chat.answer).to_contain_text(re.compile(r"tok/s"))
    first = chat.text_of_answer()
    chat.act(chat.answer, "Retry")
    expect(chat.answer).to_contain_text("2 / 2")
    chat.wait_until_done()
    assert chat.text_of_answer() == first, "temperature 0 gives the same text twice"


def test_reading_a_long_prompt_shows_progress_and_can_be_stopped(
    server: Server, open_page: Callable[..., Page]
) -> None:
    chat = ChatPage(open_page(server.url))
    chat.send("Summarise: " + "the quick brown fox jumps over the lazy dog. " * 500)
    expect(chat.answer).to_contain_text(re.compile(r"Reading the prompt, \d+"), timeout=20_000)
    chat.stop.click()
    expect(chat.answer).to_contain_text("Stopped", timeout=2_000)


def test_message_longer_than_the_context_names_both_numbers(
    server: Server, open_page: Callable[..., Page]
) -> None:
    chat = ChatPage(open_page(server.url))
    chat.send("the quick brown fox jumps over the lazy dog " * 1200)
    expect(chat.answer).to_contain_text(re.compile(r"8192|8,192"), timeout=20_000)
    assert len(set(re.findall(r"\d[\d,]{3,}", chat.text_of_answer()))) >= 2


def test_everything_is_there_after_a_restart(
    server: Server, open_page: Callable[..., Page]
) -> None:
    server.wait_for_model()
    chat = ChatPage(open_page(server.url, size=PHONE))
    server.ask("PUT", "/api/parameters", {"temperature": 0, "max_tokens": 40})
    chat.send("What is a cat?")
    chat.wait_until_done()
    before = chat.text_of_answer()
    address = chat.page.url
    chat.page.goto("about:blank")
    assert server.stop() == 0
    server.start()
    server.wait_for_ui()
    chat = ChatPage(open_page(address, size=PHONE))
    assert chat.text_of_answer() == before
    server.wait_for_model()
    chat.send("And a dog?")
    chat.wait_until_done()
    assert chat.answers.count() == 2
