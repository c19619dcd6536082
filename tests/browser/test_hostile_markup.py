"""What people and models write is text: nothing of it runs, and nothing of it calls outside."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.canary import watched, what_ran
from tests.browser.chat_page import ChatPage
from tests.browser.payloads import LEAKS, SCRIPTS
from tests.serving import Server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]
ANN = "four words in a row"


class Outside:
    """A server that nobody shall ask for anything; it counts who does."""

    def __init__(self) -> None:
        asked = self.asked = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def outside() -> Iterator[Outside]:
    outside = Outside()
    yield outside
    outside.server.shutdown()
    outside.server.server_close()


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(
        tmp_path_factory.mktemp("hostile") / "data",
        "--fake-engine",
        "100000",
        "--requests-per-s",
        "0",
    ).start()
    server.token = server.claim("Ann", ANN)
    server.wait_for_ui()
    yield server
    server.close()


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    """A page of Ann's in which `hit` tells that something ran."""
    page = watched(browser, server, server.token)
    yield page
    page.context.close()


def told(server: Server, texts: list[str]) -> str:
    """Have each text said by a person and by the model; returns the conversation."""
    conversation_id, parent = server.new_conversation(), None
    for text in texts:
        server.send(conversation_id, f"echo {text}", parent)
        parent = server.wait_for_reply(conversation_id)["id"]
    said = server.transcript(conversation_id)["messages"]
    assert len(said) == 2 * len(texts)
    return conversation_id


def look_everywhere(page: Page) -> None:
    """Let what is drawn late be drawn, and touch what waits for the pointer."""
    page.wait_for_load_state("networkidle")
    for message in page.locator("article.message").all():
        message.scroll_into_view_if_needed()
        message.hover(force=True)


@pytest.mark.parametrize(
    "script",
    [
        "document.body.insertAdjacentHTML('beforeend', `<img src=x onerror=hit()>`)",
        "document.body.insertAdjacentHTML('beforeend', `<details open ontoggle=hit()>x</details>`)",
        "void Function('return `${hit()}`')()",
        "void setTimeout(() => alert(1))",
    ],
)
def test_what_does_run_is_counted(server: Server, page: Page, script: str) -> None:
    """The policy of the page lets scripts of its own run: that none does is for the page to see to."""
    page.goto(server.url)
    ChatPage(page)
    assert what_ran(page) == []
    page.evaluate(script)
    assert len(what_ran(page)) == 1


def test_nothing_that_was_said_runs(server: Server, page: Page) -> None:
    assert len(SCRIPTS) >= 60
    conversation_id = told(server, list(SCRIPTS))
    page.goto(f"{server.url}/c/{conversation_id}")
    ChatPage(page)
    expect(page.locator("article.message")).to_have_count(2 * len(SCRIPTS))
    look_everywhere(page)
    hrefs = page.locator(".thread a").evaluate_all("links => links.map(link => link.protocol)")
    assert set(hrefs) <= {"http:", "https:", "mailto:"}
    assert (
        page.locator(".thread :is(script, iframe, object, embed, form, base, style)").count() == 0
    )
    handlers = "e => [...e.attributes].some(a => a.name.startsWith('on'))"
    assert not any(page.locator(".thread *").evaluate_all(f"all => all.map({handlers})"))
    assert what_ran(page) == []


def test_nothing_runs_while_it_is_being_written(server: Server, page: Page) -> None:
    page.goto(server.url)
    chat = ChatPage(page)
    for payload in SCRIPTS[:20]:
        chat.send(f"echo {payload}")
        chat.wait_until_done()
    assert what_ran(page) == []


def test_nothing_runs_in_any_other_field(server: Server, page: Page) -> None:
    for payload in SCRIPTS:
        title = " ".join(payload.split())[:200]
        conversation_id = server.new_conversation()
        server.send(conversation_id, "echo x")
        server.wait_for_reply(conversation_id)
        server.ask("PATCH", f"/api/conversations/{conversation_id}", {"title": title})
    server.ask("PATCH", "/api/parameters", {"system_prompt": "\n".join(SCRIPTS)})
    server.ask("PUT", "/api/server-prompt", {"server_prompt": "\n".join(SCRIPTS)})
    server.ask("PATCH", "/api/parameters", {"stop": [one[:60] for one in SCRIPTS[:8]]})
    server.ask("PUT", "/api/admin/banner", {"banner": " ".join(SCRIPTS)[:500]})
    for payload in SCRIPTS:  # a name with markup in it is none
        status, _ = server.request("POST", "/api/users", {"name": payload[:40]})
        assert status in {201, 409, 422}
    page.goto(f"{server.url}/sign-in?next={SCRIPTS[0]}#{SCRIPTS[1]}")
    expect(page).to_have_url(f"{server.url}/")
    chat = ChatPage(page)
    expect(page.locator(".side-list .row").nth(40)).to_be_attached()
    page.locator(".side-list .row").first.click()
    for tab in ("Parameters", "Model", "Usage", "Admin"):
        chat.open_tab(tab)
        page.wait_for_timeout(300)
    page.locator(".side-user").click()
    page.get_by_role("menuitem", name="People").click()
    expect(page.locator(".sheet.account .rows details").first).to_be_visible()
    page.get_by_text("What was done", exact=True).click()
    expect(page.locator(".sheet.account .log li").first).to_be_visible()
    assert what_ran(page) == []


def test_nothing_that_was_said_asks_outside(server: Server, page: Page, outside: Outside) -> None:
    texts = [one.replace("OUT", outside.url) for one in LEAKS]
    conversation_id = told(server, texts)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{server.url}/c/{conversation_id}")
    ChatPage(page)
    expect(page.locator("article.message")).to_have_count(2 * len(texts))
    look_everywhere(page)
    page.wait_for_timeout(500)
    assert outside.asked == []
    assert [url for url in asked if not url.startswith((server.url, "data:", "blob:"))] == []
    assert page.url == f"{server.url}/c/{conversation_id}"
