"""A page in which what runs is counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from playwright.sync_api import Browser, Locator, Page

    from tests.serving import Server

LATE_MS = 200  # for what runs a moment after it is drawn


def watched(browser: Browser, server: Server, token: str = "", **how: Any) -> Page:
    """Return a page in which `hit` tells that something ran; whoever opens it closes its context.

    Args:
        browser: A real one.
        server: Whose page it will be.
        token: Of who is signed in; none is a stranger, or the machine's own user.
        how: More of its context.
    """
    context = browser.new_context(viewport={"width": 1280, "height": 800}, **how)
    if token:
        context.add_cookies([{"name": "hearthside", "value": token, "url": server.url}])
    page = context.new_page()
    page.ran = []
    context.expose_function("hit", lambda *_: page.ran.append(page.url))
    page.on("dialog", lambda dialog: (page.ran.append(dialog.message), dialog.dismiss()))
    return page


def what_ran(page: Page) -> list[str]:
    """Return where something ran, once all has had time to."""
    page.wait_for_timeout(LATE_MS)
    return page.ran


def check_shown(place: Locator, texts: Iterable[str]) -> None:
    """See that a place says each of these as it was written: where nothing is, nothing can run."""
    said = " ".join((place.text_content() or "").split())
    assert [text for text in texts if " ".join(text.split()) not in said] == []
