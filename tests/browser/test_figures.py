"""The figures under an answer: one line that unfolds, by mouse, by finger and by key."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.chat_page import ChatPage
from tests.browser.conftest import LOOKS, PHONE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Locator, Page

    from tests.serving import Server

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


def line_of(answer: Locator) -> Locator:
    return answer.get_by_role("button", name=re.compile(r"\d+ tokens? · .* · first token"))


def rows_of(answer: Locator) -> dict[str, str]:
    names = answer.locator("dl.figures dt").all_inner_texts()
    return dict(zip(names, answer.locator("dl.figures dd").all_inner_texts(), strict=True))


def overflows(page: Page) -> bool:
    return page.evaluate(
        """[...document.querySelectorAll('.message, dl.figures, dl.figures *')]
            .some((node) => node.scrollWidth > node.clientWidth + 1 && node.clientWidth)
            || document.documentElement.scrollWidth > innerWidth"""
    )


@pytest.mark.parametrize(("size", "dark", "name"), LOOKS)
def test_line_unfolds_to_all_figures_and_folds_again(
    fake_server: Server,
    open_page: Callable[..., Page],
    pictures: Path,
    size: tuple[int, int],
    *,
    dark: bool,
    name: str,
) -> None:
    fake_server.ask("PUT", "/api/parameters", {"temperature": 0.9, "stop": ["never"]})
    page = open_page(fake_server.url, size=size, dark=dark)
    chat = ChatPage(page)
    chat.send("Say something short.")
    chat.wait_until_done()
    fake_server.ask("DELETE", "/api/parameters")
    line, details = line_of(chat.answer), chat.answer.locator("dl.figures")
    expect(line).to_have_attribute("aria-expanded", "false")
    expect(details).to_be_hidden()
    if size == PHONE:
        box = line.bounding_box()
        assert box is not None
        assert box["height"] >= 44, "a finger must hit it"
        line.tap()
    else:
        line.click()
    expect(line).to_have_attribute("aria-expanded", "true")
    expect(details).to_be_visible()
    assert line.get_attribute("aria-controls") == details.get_attribute("id")
    rows = rows_of(chat.answer)
    text = line.inner_text()
    assert text.startswith(f"{rows['Tokens written']} token")
    assert rows["Rate"] in text
    assert text.endswith(f"first token {rows['First token after']}")
    assert re.fullmatch(r"\d+ of \d+", rows["Prompt tokens reused"])
    assert rows["Prompt tokens reused"].endswith(f"of {rows['Prompt tokens']}")
    assert rows["Ended because"] == "it was complete"
    assert rows["Model"]
    assert re.fullmatch(r"\d+", rows["Seed"])
    assert rows["Parameters"] == 'temperature 0.9 · stop ["never"]'
    details.scroll_into_view_if_needed()
    page.wait_for_timeout(300)
    page.screenshot(path=pictures / f"{name}-figures.png")
    assert not overflows(page)
    line.focus()
    page.keyboard.press("Enter")
    expect(details).to_be_hidden()
    expect(line).to_have_attribute("aria-expanded", "false")
    page.screenshot(path=pictures / f"{name}-folded.png")


def test_unfolded_figures_are_those_of_the_answer_that_goes_on(
    fake_server: Server, open_page: Callable[..., Page]
) -> None:
    chat = ChatPage(open_page(fake_server.url, size=PHONE))
    chat.send("long 200 words")
    chat.wait_until_writing()
    expect(line_of(chat.answer)).to_have_count(0)
    chat.stop.click()
    chat.wait_until_done()
    line_of(chat.answer).tap()
    assert rows_of(chat.answer)["Ended because"] == "it was stopped"
    before = int(rows_of(chat.answer)["Tokens written"].replace(",", ""))
    chat.act(chat.answer, "Continue")
    expect(chat.stop).to_be_visible()
    expect(chat.answer.locator("dl.figures")).to_be_hidden()
    chat.wait_until_done()
    line_of(chat.answer).tap()
    assert int(rows_of(chat.answer)["Tokens written"].replace(",", "")) > before


def test_question_has_no_figures(fake_server: Server, open_page: Callable[..., Page]) -> None:
    chat = ChatPage(open_page(fake_server.url))
    chat.send("Say something short.")
    chat.wait_until_done()
    expect(chat.questions.last.locator("dl.figures, .stats")).to_have_count(0)
