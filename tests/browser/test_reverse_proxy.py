"""The page behind nginx, under a path: nothing is asked for outside of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests import nginx
from tests.browser.chat_page import ChatPage
from tests.nginx import Nginx
from tests.serving import Server, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    program = nginx.require_nginx()
    folder = tmp_path_factory.mktemp("proxied")
    flags = ["--trusted-proxy", "127.0.0.1", "--root-path", nginx.ROOT_PATH]
    server = Server(folder / "data", *flags, "--fake-engine", "60")
    server.start()
    server.wait_for_ui()
    (folder / "nginx").mkdir()
    with Nginx(program, folder / "nginx", port=free_port(), target=server.port) as made:
        yield made
    server.close()


def test_chat_deep_link_and_forms_work_under_the_path(
    proxy: Nginx, open_page: Callable[..., Page]
) -> None:
    page = open_page(f"{proxy.url}/")
    chat = ChatPage(page)
    chat.send("Say something short.")
    chat.wait_until_done()
    said = chat.text_of_answer()
    assert said
    expect(page).to_have_url(re.compile(re.escape(f"{proxy.url}/c/") + r"[\w-]+"))
    page.reload()
    again = ChatPage(page)
    again.wait_until_done()
    assert again.text_of_answer() == said
    chat.open_tab("Parameters")
    field = page.get_by_label("Temperature").first
    expect(field).to_be_visible()
    with page.expect_response(lambda answer: "/gradio_api/" in answer.url) as answered:
        field.fill("0.3")
        field.press("Tab")
    assert answered.value.ok
    assert answered.value.url.startswith(f"{proxy.url}/")
