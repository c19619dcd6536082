"""The chat surface as a person sees it: what tests may touch, by role and name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

GENERATION_TIMEOUT_MS = 60_000
PHONE_WIDTH = 600


class ChatPage:
    """One open page.

    Args:
        page: Already at an address of the server.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.composer = page.get_by_role("textbox", name="Message")
        self.stop = page.get_by_role("button", name="Stop")
        self.send_button = page.get_by_role("button", name="Send")
        self.messages = page.locator("article.message:visible")
        self.answers = page.locator("article.message[data-role=assistant]:visible")
        self.questions = page.locator("article.message[data-role=user]:visible")
        self.rows = page.get_by_role("navigation", name="Conversations").locator("a.row")
        # The surface moves into Gradio's page once; a key pressed at that very moment is lost.
        page.wait_for_selector("body.with-gradio", state="attached")
        expect(self.composer).to_be_visible(timeout=30_000)

    @property
    def answer(self) -> Locator:
        """Return the newest answer."""
        return self.answers.last

    def text_of_answer(self) -> str:
        """Return what the newest answer says, without its footer."""
        return self.answer.locator(".message-body").inner_text()

    def send(self, text: str) -> None:
        """Write a message and send it: by Enter, on a phone (where Enter is a new line) by touch."""
        before = self.questions.count()
        self.composer.fill(text)
        if self.page.viewport_size and self.page.viewport_size["width"] < PHONE_WIDTH:
            self.send_button.click()
        else:
            self.composer.press("Enter")
        expect(self.questions).to_have_count(before + 1)

    def wait_until_writing(self) -> None:
        """Wait for the first words of an answer."""
        expect(self.stop).to_be_visible(timeout=10_000)
        expect(self.answer.locator(".message-body")).to_contain_text(
            re.compile(r"\w"), timeout=GENERATION_TIMEOUT_MS
        )

    def wait_until_done(self) -> None:
        """Wait until nothing is being written."""
        expect(self.send_button).to_be_visible(timeout=GENERATION_TIMEOUT_MS)
        expect(self.page.locator("article.message.running:visible")).to_have_count(0)

    def act(self, message: Locator, name: str) -> None:
        """Press one of the buttons under a message."""
        message.hover()
        message.get_by_role("button", name=name, exact=True).first.click()

    def open_tab(self, name: str) -> None:
        """Go to another tab of the page."""
        self.page.get_by_role("tab", name=name).first.click()
