"""The stories of the Chat tab, told in Chromium against the fake engine."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.chat_page import ChatPage
from tests.browser.conftest import PHONE

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page, Route

    from tests.serving import Server

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

OpenPage = "Callable[..., Page]"
SIZES = pytest.mark.parametrize("size", [(1280, 800), PHONE], ids=["desktop", "phone"])


@SIZES
def test_answer_streams_with_code_math_and_table(
    fake_server: Server, open_page: Callable[..., Page], size: tuple[int, int]
) -> None:
    chat = ChatPage(open_page(fake_server.url, size=size))
    chat.send("Explain attention in a transformer, with code.")
    chat.wait_until_writing()
    chat.wait_until_done()
    expect(chat.answer.locator("pre code .hljs-keyword").first).to_be_visible()
    expect(chat.answer.locator(".katex").first).to_be_visible()
    expect(chat.answer.locator("table td").first).to_be_visible()
    expect(chat.answer).to_contain_text(re.compile(r"\d+ tokens · [\d.]+ tok/s · first token"))
    expect(chat.page).to_have_url(re.compile(r"/c/[\w-]+$"))
    width = chat.page.evaluate("document.documentElement.scrollWidth")
    assert width <= size[0], "the page must not scroll sideways"


def test_stop_keeps_the_text_and_continue_goes_on_behind_it(
    fake_server: Server, open_page: Callable[..., Page]
) -> None:
    chat = ChatPage(open_page(fake_server.url))
    chat.send("long 400 words")
    chat.wait_until_writing()
    chat.stop.click()
    chat.wait_until_done()
    expect(chat.answer).to_contain_text("Stopped")
    kept = chat.answer.locator(".message-body p").first.inner_text()[:40]
    chat.act(chat.answer, "Continue")
    expect(chat.stop).to_be_visible()
    chat.page.keyboard.press("Escape")
    chat.wait_until_done()
    assert chat.text_of_answer().startswith(kept)
    assert chat.answers.count() == 1


def test_reload_in_the_middle_loses_and_doubles_nothing(
    fake_server: Server, open_page: Callable[..., Page]
) -> None:
    chat = ChatPage(open_page(fake_server.url))
    words = " ".join(f"word{i}" for i in range(300))
    chat.send(f"echo {words}")
    chat.wait_until_writing()
    for _ in range(3):
        chat.page.reload()
        chat = ChatPage(chat.page)
    chat.wait_until_done()
    assert chat.text_of_answer().split() == words.split()


def test_second_tab_shows_the_same_answer_while_it_is_written(
    fake_server: Server, open_page: Callable[..., Page]
) -> None:
    first = ChatPage(open_page(fake_server.url))
    words = " ".join(f"word{i}" for i in range(240))
    first.send(f"echo {words}")
    first.wait_until_writing()
    second = ChatPage(open_page(first.page.url))
    expect(second.stop).to_be_visible()
    first.wait_until_done()
    second.wait_until_done()
    assert first.text_of_answer().split() == second.text_of_answer().split() == words.split()
    second.send("echo from the second tab")
    expect(first.answers).to_have_count(2)
    expect(first.answer).to_contain_text("from the second tab")


def test_retry_and_edit_make_versions_that_can_be_paged(
    fake_server: Server, open_page: Callable[..., Page]
) -> None:
    chat = ChatPage(open_page(fake_server.url))
    chat.send("echo first words")
    chat.wait_until_done()
    chat.act(chat.answer, "Retry")
    expect(chat.answer).to_contain_text("2 / 2")
    chat.wait_until_done()
    chat.act(chat.answer, "Previous version")
    expect(chat.answer).to_contain_text("1 / 2")

    chat.act(chat.questions.last, "Edit")
    chat.questions.last.get_by_role("textbox").fill("echo other words")
    chat.questions.last.get_by_role("button", name="Send").click()
    expect(chat.answer).to_contain_text("other words")
    chat.wait_until_done()
    expect(chat.questions.last).to_contain_text("2 / 2")
    chat.act(chat.questions.last, "Previous version")
    expect(chat.questions.last).to_contain_text("first words")
    expect(chat.answer).to_contain_text("first words")
    chat.page.reload()
    chat = ChatPage(chat.page)
    expect(chat.answer).to_contain_text("first words")


def test_conversation_is_renamed_deleted_and_brought_back(
    fake_server: Server, open_page: Callable[..., Page]
) -> None:
    chat = ChatPage(open_page(fake_server.url))
    chat.send("echo a title of its own")
    chat.wait_until_done()
    row = chat.rows.first
    expect(row).to_contain_text("echo a title of its own")
    row.hover()
    row.get_by_role("button").click()
    chat.page.get_by_role("menuitem", name="Rename").click()
    chat.page.get_by_role("textbox", name="Title").fill("Weekend plans")
    chat.page.keyboard.press("Enter")
    expect(chat.rows.first).to_contain_text("Weekend plans")

    chat.rows.first.hover()
    chat.rows.first.get_by_role("button").click()
    chat.page.get_by_role("menuitem", name="Delete").click()
    expect(chat.page.get_by_text("Weekend plans")).to_have_count(0)
    chat.page.get_by_role("button", name="Undo").click()
    expect(chat.rows.first).to_contain_text("Weekend plans")
    expect(chat.answer).to_contain_text("a title of its own")


def test_deep_link_back_and_forward(fake_server: Server, open_page: Callable[..., Page]) -> None:
    chat = ChatPage(open_page(fake_server.url))
    chat.send("echo the first chat")
    chat.wait_until_done()
    first_url = chat.page.url
    chat.page.keyboard.press("Control+Shift+O")
    expect(chat.answers).to_have_count(0)
    chat.send("echo the second chat")
    chat.wait_until_done()
    chat.page.go_back()
    chat.page.go_back()
    expect(chat.answer).to_contain_text("the first chat")
    chat.page.go_forward()
    chat.page.go_forward()
    expect(chat.answer).to_contain_text("the second chat")
    other = ChatPage(open_page(first_url))
    expect(other.answer).to_contain_text("the first chat")


def test_thinking_is_folded_away_above_the_answer(
    fake_server: Server, open_page: Callable[..., Page]
) -> None:
    chat = ChatPage(open_page(fake_server.url))
    chat.send("think about the sea")
    chat.wait_until_done()
    expect(chat.answer.locator("details summary")).to_contain_text("Thought for")
    assert "<think>" not in chat.text_of_answer()
    again = ChatPage(open_page(chat.page.url))  # a tab that did not watch
    expect(again.answer.locator("details summary")).to_contain_text("Thought for")


@pytest.mark.parametrize(
    "attack",
    [
        "<script>window.hacked = 1</script>",
        "<img src=x onerror='window.hacked=1'>",
        "[x](javascript:window.hacked=1)",
        "![leak](http://192.0.2.1/leak.png)",
        "<iframe srcdoc='<script>parent.hacked=1</script>'></iframe>",
        "$\\href{javascript:window.hacked=1}{x}$",
        "<svg onload=window.hacked=1>",
        "\n```html\n<script>window.hacked=1</script>\n```",
    ],
)
def test_what_a_model_writes_runs_nothing_and_fetches_nothing(
    fake_server: Server, open_page: Callable[..., Page], attack: str
) -> None:
    chat = ChatPage(open_page(fake_server.url))
    chat.send(f"echo {attack}")
    chat.wait_until_done()
    for link in chat.answer.locator("a").all():
        assert not (link.get_attribute("href") or "").startswith("javascript:")
    assert chat.page.evaluate("window.hacked") is None


def test_image_address_that_is_none_hides_nothing(
    fake_server: Server, open_page: Callable[..., Page]
) -> None:
    chat = ChatPage(open_page(fake_server.url))
    chat.send("echo ![a](https://) and ![b](http://[) and ![c](http://a:99999/) the end")
    chat.wait_until_done()
    expect(chat.answer).to_contain_text("the end")
    chat.page.reload()
    expect(ChatPage(chat.page).answer).to_contain_text("the end")


def test_message_that_the_server_refuses_stays_in_the_composer(
    fake_server: Server, open_page: Callable[..., Page]
) -> None:
    chat = ChatPage(open_page(fake_server.url, may_be_refused=True))
    chat.send("echo first")
    chat.wait_until_done()
    full = {"error": {"code": "storage_full", "message": "the disk is full", "hint": ""}}
    chat.page.route("**/messages", lambda route: route.fulfill(status=409, json=full))
    chat.composer.fill("echo not lost")
    chat.composer.press("Enter")
    expect(chat.page.get_by_text("the disk is full").first).to_be_visible()
    expect(chat.composer).to_have_value("echo not lost")
    chat.page.unroute("**/messages")
    chat.page.reload()
    chat = ChatPage(chat.page)
    expect(chat.composer).to_have_value("echo not lost")
    chat.composer.press("Enter")
    expect(chat.answers).to_have_count(2)
    chat.wait_until_done()
    chat.page.reload()
    expect(ChatPage(chat.page).composer).to_have_value("")


def test_enter_in_an_open_code_block_is_a_new_line(
    fake_server: Server, open_page: Callable[..., Page]
) -> None:
    chat = ChatPage(open_page(fake_server.url))
    chat.composer.fill("Look:\n```python\nx = 1")
    chat.composer.press("Enter")
    expect(chat.composer).to_have_value("Look:\n```python\nx = 1\n")
    chat.composer.press_sequentially("```")
    chat.composer.press("Enter")
    expect(chat.questions).to_have_count(1)
    chat.wait_until_done()


def test_draft_survives_a_reload(fake_server: Server, open_page: Callable[..., Page]) -> None:
    chat = ChatPage(open_page(fake_server.url))
    chat.composer.fill("not sent yet")
    chat.page.wait_for_timeout(400)
    chat.page.reload()
    expect(ChatPage(chat.page).composer).to_have_value("not sent yet")
    chat.page.get_by_role("textbox", name="Message").fill("")
    chat.page.wait_for_timeout(400)


def test_phone_drawer_opens_picks_a_chat_and_closes(
    fake_server: Server, open_page: Callable[..., Page]
) -> None:
    chat = ChatPage(open_page(fake_server.url, size=PHONE))
    chat.send("echo on the phone")
    chat.wait_until_done()
    chat.page.locator('button[aria-label="Show or hide the sidebar"]:visible').first.click()
    expect(chat.rows.first).to_be_in_viewport()
    chat.rows.first.click()
    expect(chat.rows.first).not_to_be_in_viewport()
    expect(chat.answer).to_contain_text("on the phone")


CALLS = """async () => {
  const [{ Transcript }, { Emitter }, { MessageView }] = await Promise.all(
    ["transcript", "emitter", "message"].map((name) => import(`/ui/${name}.js`)));
  const stream = new Emitter();
  stream.cover = () => false;
  const transcript = new Transcript(stream);
  const ids = { conversation_id: "c", message_id: "m", generation_id: "g" };
  transcript.id = "c";
  transcript.messages.set("m", { id: "m", role: "assistant", text: "", reasoning: "", n: 0, toolCalls: [] });
  const view = new MessageView(transcript.messages.get("m"));
  view.node.id = "called";
  transcript.on("message", (id) => view.update(transcript.messages.get(id)));
  const call = { ...ids, type: "tool_call", call_id: "1", name: "<b>get_time", arguments: '{"zone": "UTC"}' };
  stream.emit("event", { n: 1, event: call });
  stream.emit("event", { n: 1, event: call });
  const message = { id: "m", role: "assistant", status: "complete", text: "", reasoning: "", created_at: "2026-01-01T00:00:00Z" };
  stream.emit("event", { n: 2, event: { ...ids, type: "done", message } });
  document.querySelector(".thread").append(view.node);
}"""


def test_tool_call_is_a_line_that_opens_to_its_arguments(
    fake_server: Server, open_page: Callable[..., Page]
) -> None:
    chat = ChatPage(open_page(fake_server.url))
    chat.send("Hello")
    chat.wait_until_done()
    chat.page.evaluate(CALLS)
    body = chat.page.locator("#called .message-body")
    call = body.locator("details.tool-call")
    expect(call).to_have_count(1)  # an event that comes twice is one call
    expect(call.locator("summary")).to_have_text("Tool call: <b>get_time")
    expect(body.locator(".ending")).to_be_hidden()  # a call is not "nothing"
    expect(call.locator("pre")).to_be_hidden()
    call.locator("summary").click()
    expect(call.locator("pre")).to_have_text('{"zone": "UTC"}')
    expect(call.locator("pre")).to_be_visible()


def test_page_that_is_opened_late_says_what_the_reply_waits_for(
    fake_server: Server, open_page: Callable[..., Page]
) -> None:
    conversation_id = fake_server.new_conversation()
    fake_server.send(conversation_id, "Hello")
    reply = fake_server.wait_for_reply(conversation_id)
    queued = {"type": "queued", "place": 2, "eta_s": 41.3, "message_id": reply["id"]}

    def as_waiting(route: Route) -> None:
        snapshot = route.fetch().json()
        snapshot["messages"][-1] |= {"status": "pending", "text": "", "usage": None}
        snapshot["generation"] = {"id": "g", "message_id": reply["id"], "phase": queued}
        route.fulfill(json=snapshot)

    page = open_page(fake_server.url)
    page.route(f"**/api/conversations/{conversation_id}", as_waiting)
    page.goto(f"{fake_server.url}/c/{conversation_id}")
    expect(page.locator("article .state")).to_have_text("Waiting, place 2, about 40 s")


def test_toast_has_one_full_stop_between_message_and_hint(
    fake_server: Server, open_page: Callable[..., Page]
) -> None:
    page = open_page(fake_server.url)
    page.wait_for_selector("body.with-gradio", state="attached")
    page.evaluate(
        """async () => {
          const { toastError } = await import("/ui/toast.js");
          toastError({ message: "The engine stopped: killed.", hint: "Try again." });
        }"""
    )
    expect(page.locator(".toast-text")).to_have_text("The engine stopped: killed. Try again.")
