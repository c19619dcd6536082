"""A conversation longer than the context: the choices, and the line above what is still sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.chat_page import ChatPage
from tests.browser.conftest import DESKTOP, PHONE
from tests.serving import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

NUM_WORDS = (3400, 1500, 3400)  # more than the 8,192 words of the made-up model together


def say(page: Page, text: str) -> None:
    page.locator(".composer textarea").fill(text)
    page.keyboard.press("Enter")


def fill_context(page: Page) -> None:
    """Say so much that the third message does not fit; wait for each answer."""
    replies = page.locator("article[data-role=assistant] .stats:not([hidden])")
    for num, num_words in enumerate(NUM_WORDS, 1):
        say(page, f"Message {num}. " + "word " * num_words)
        if num < len(NUM_WORDS):
            expect(replies).to_have_count(num, timeout=60_000)


def test_refused_message_offers_choices_and_the_line_stays(
    fake_server: Server, open_page: Callable[..., Page], pictures: Path
) -> None:
    page = open_page(fake_server.url)
    fill_context(page)
    error = page.locator(".ending.error")
    expect(error).to_contain_text("The conversation has")
    expect(error.get_by_role("button")).to_have_text(
        ["Leave out the oldest", "Leave out the middle", "Longer context", "New conversation"]
    )
    page.screenshot(path=pictures / "overflow-choices-desktop-light.png")
    address = page.url
    for size, dark, look in ((DESKTOP, True, "desktop-dark"), (PHONE, False, "phone-light")):
        other = open_page(address, size=size, dark=dark)
        expect(other.locator(".ending.error")).to_be_visible()
        assert other.evaluate("document.documentElement.scrollWidth") <= size[0]
        other.screenshot(path=pictures / f"overflow-choices-{look}.png")
    error.get_by_role("button", name="Leave out the oldest").click()
    gap = page.locator(".thread .gap")
    expect(gap).to_contain_text("2 older messages are not sent", timeout=20_000)
    expect(page.locator("article[data-role=assistant]").last).to_contain_text(
        "tok/s", timeout=20_000
    )
    assert gap.evaluate("node => node.nextElementSibling.textContent").startswith("Message 2")
    for size, dark, look in (
        (DESKTOP, False, "desktop-light"),
        (DESKTOP, True, "desktop-dark"),
        (PHONE, False, "phone-light"),
        (PHONE, True, "phone-dark"),
    ):
        again = open_page(address, size=size, dark=dark)
        line = again.locator(".thread .gap")
        expect(line).to_contain_text("2 older messages are not sent")
        line.scroll_into_view_if_needed()
        assert again.evaluate("document.documentElement.scrollWidth") <= size[0]
        again.screenshot(path=pictures / f"overflow-line-{look}.png")
    say(page, "And one more")  # the conversation keeps its way
    expect(page.locator("article[data-role=assistant] .stats:not([hidden])")).to_have_count(
        4, timeout=20_000
    )
    gap.get_by_role("button").click()
    expect(page.locator(".toast")).to_contain_text("From the next message on")
    say(page, "Does it all fit?")
    expect(page.locator(".ending.error")).to_contain_text("The conversation has")
    expect(page.locator(".ending.error").get_by_role("button")).to_have_count(4)
    expect(gap).to_have_count(0)


def test_new_conversation_takes_the_message_along(
    fake_server: Server, open_page: Callable[..., Page]
) -> None:
    page = open_page(fake_server.url)
    too_much = "word " * 9000
    say(page, too_much)
    error = page.locator(".ending.error")
    expect(error).to_contain_text("The conversation has")
    expect(error).not_to_contain_text("older turns")
    expect(error.get_by_role("button")).to_have_text(["Longer context", "New conversation"])
    error.get_by_role("button", name="New conversation").click()
    expect(page.locator("article")).to_have_count(0)
    expect(page.locator(".composer textarea")).to_have_value(too_much.strip())
    assert "/c/" not in page.url


def fill_by_reply(page: Page, num_words: int) -> None:
    """Ask for so long a reply that it fills the context."""
    say(page, f"long {num_words} words")
    expect(page.locator(".ending.full")).to_be_visible(timeout=60_000)


@pytest.fixture(scope="module")
def small_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data_dir = tmp_path_factory.mktemp("small") / "data"
    server = Server(data_dir, "--fake-engine", "20000")
    server.start()
    server.wait_for_ui()
    server.ask("PUT", "/api/parameters", {"max_tokens": 100_000})
    yield server
    server.close()


def test_reply_that_fills_the_context_offers_ways_on(
    small_server: Server, open_page: Callable[..., Page], pictures: Path
) -> None:
    page = open_page(small_server.url)
    say(page, "Message 1. " + "word " * 3000)
    expect(page.locator("article[data-role=assistant] .stats:not([hidden])")).to_have_count(
        1, timeout=60_000
    )
    fill_by_reply(page, 9000)
    full = page.locator(".ending.full")
    expect(full).to_contain_text("context is full: 8,192 tokens")
    expect(full.get_by_role("button")).to_have_text(
        ["Leave out the oldest", "Leave out the middle", "Longer context", "New conversation"]
    )
    reply = page.locator("article[data-role=assistant]").last
    expect(reply.locator(".acts [data-act=continue]")).to_be_hidden()
    address = page.url
    for size, dark, look in (
        (DESKTOP, False, "desktop-light"),
        (DESKTOP, True, "desktop-dark"),
        (PHONE, False, "phone-light"),
        (PHONE, True, "phone-dark"),
    ):
        other = open_page(address, size=size, dark=dark)
        line = other.locator(".ending.full")
        expect(line.get_by_role("button")).to_have_count(4)
        line.scroll_into_view_if_needed()
        assert other.evaluate("document.documentElement.scrollWidth") <= size[0]
        other.screenshot(path=pictures / f"overflow-full-{look}.png")
    tokens = reply.locator(".stats")
    before = tokens.inner_text()
    full.get_by_role("button", name="Leave out the oldest").dblclick()
    expect(page.locator(".thread .gap")).to_contain_text("2 older messages are not sent")
    expect(tokens).not_to_have_text(before, timeout=60_000)
    ChatPage(page).wait_until_done()
    expect(page.locator(".toast")).to_have_count(0)
    transcript = small_server.transcript(address.rpartition("/")[2])
    assert transcript["messages"][-1]["usage"]["completion_tokens"] > 6000


def test_reply_that_fills_the_context_alone_goes_on_without_the_oldest_words(
    small_server: Server, open_page: Callable[..., Page]
) -> None:
    page = open_page(small_server.url)
    fill_by_reply(page, 9000)
    full = page.locator(".ending.full")
    expect(full.get_by_role("button")).to_have_text(
        ["Let go of the oldest words", "Longer context", "New conversation"]
    )
    full.get_by_role("button", name="New conversation").click()
    expect(page.locator(".composer textarea")).to_have_value("long 9000 words")


def test_choices_follow_the_way_that_the_parameters_name(
    fake_server: Server, open_page: Callable[..., Page]
) -> None:
    fake_server.ask("PUT", "/api/parameters", {"context_overflow": "cut_middle"})
    page = open_page(fake_server.url)
    say(page, "word " * 9000)
    expect(page.locator(".ending.error").get_by_role("button")).to_have_text(
        ["Longer context", "New conversation", "Retry"]
    )
    fake_server.ask("DELETE", "/api/parameters")


SHIFTED = """async () => {
  const { MessageView } = await import("/ui/message.js");
  const message = {
    id: "m", role: "assistant", status: "complete", text: "Long", reasoning: "", toolCalls: [],
    created_at: "2026-01-01T00:00:00Z", finish_reason: "stop", running: false,
    left_out: { messages: 0, before_id: null, tokens: 1024 },
  };
  const view = new MessageView(message);
  view.update(message);
  view.node.id = "shifted";
  document.querySelector(".thread").append(view.node);
}"""


def test_reply_that_went_on_beyond_the_context_says_so(
    fake_server: Server, open_page: Callable[..., Page]
) -> None:
    page = open_page(fake_server.url)
    say(page, "Hello")
    expect(page.locator(".stats:not([hidden])")).to_have_count(1, timeout=20_000)
    page.evaluate(SHIFTED)
    expect(page.locator("#shifted .ending")).to_have_text(
        "1,024 of the oldest tokens left the context while this was written"
    )
