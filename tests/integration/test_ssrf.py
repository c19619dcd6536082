"""No text of a person makes the server ask an address: a canary listens, and hears nothing."""

from __future__ import annotations

import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from typing_extensions import override

from tests.serving import house_with_page

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.serving import Server

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


class Canary:
    """A server that notes whoever asks."""

    def __init__(self) -> None:
        asked = self.asked = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append((self.command, self.path))
                self.send_response(200)
                self.end_headers()

            do_HEAD = do_POST = do_GET  # noqa: N815 - names that http.server looks for

            @override
            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    asked: list[tuple[str, str]]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def canary() -> Iterator[Canary]:
    canary = Canary()
    yield canary
    assert canary.asked == []
    with urllib.request.urlopen(f"{canary.url}/control") as answer:  # noqa: S310 - our own
        assert answer.status == 200
    assert canary.asked == [("GET", "/control")], "it hears who asks"
    canary.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with house_with_page(tmp_path_factory.mktemp("ssrf")) as server:
        yield server


def test_way_of_gradio_to_fetch_for_others_is_shut(server: Server, canary: Canary) -> None:
    for place in ("file", "proxy", "file/", "proxy/"):
        for url in (canary.url, f"{canary.url}/x", canary.url.removeprefix("http:")):
            for before in ("/gradio_api/", "/"):
                for method in ("GET", "HEAD", "POST"):
                    status, _ = server.request(method, f"{before}{place}={url}")
                    assert status in {404, 405, 415}


@pytest.mark.parametrize(
    "name", ["x-gradio-server", "x-forwarded-host", "x-forwarded-for", "forwarded", "referer"]
)
def test_header_that_names_an_address_is_not_followed(
    server: Server, canary: Canary, name: str
) -> None:
    for path in ("/", "/c/abc", "/sign-in", "/theme.css", "/api/me", "/v1/models"):
        server.request("GET", path, headers={name: canary.url})
    body = {"data": [], "fn_index": 0, "session_hash": "x", "trigger_id": 1}
    server.request("POST", "/gradio_api/run/predict", body, {name: canary.url})


def test_name_of_a_model_is_never_an_address(server: Server, canary: Canary) -> None:
    url = f"{canary.url}/model.gguf"
    for model in (url, url.removeprefix("http://"), f"hf://{url}", f"file://{url}", f"//{url}"):
        for options in ({}, {"draft_model": url}, {"lora": [{"path": url}]}):
            body = {"model_id": model, "options": options}
            status, _ = server.request("POST", "/api/models/load", body)
            assert 400 <= status < 500
        for path, asked in (
            ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}]}),
            ("/v1/embeddings", {"input": url}),
            ("/v1/rerank", {"query": url, "documents": [url]}),
        ):
            status, _ = server.request("POST", path, {"model": model, **asked})
            assert 400 <= status < 500


def test_address_in_what_is_said_is_text(server: Server, canary: Canary) -> None:
    url = f"{canary.url}/x.png"
    text = f"echo ![x]({url}) [y]({url}) <img src={url}> {url} <script src={url}></script>"
    server.ask("PATCH", "/api/parameters", {"system_prompt": text})
    server.ask("PUT", "/api/admin/banner", {"banner": f"see {url}"})
    conversation_id = server.new_conversation()
    server.send(conversation_id, text)
    server.wait_for_reply(conversation_id)
    server.ask("PATCH", f"/api/conversations/{conversation_id}", {"title": f"![x]({url})"})
    server.request("GET", "/api/me/export")
    server.request("GET", f"/c/{conversation_id}")


@pytest.mark.parametrize("kind", ["image_url", "input_audio", "file", "video_url"])
def test_address_in_a_part_of_a_message_is_refused(
    server: Server, canary: Canary, kind: str
) -> None:
    part = {"type": kind, kind: {"url": canary.url, "data": canary.url, "file_id": canary.url}}
    message = {"role": "user", "content": [part]}
    body = {"model": "x", "messages": [message], "max_tokens": 1}
    status, _ = server.request("POST", "/v1/chat/completions", body)
    assert status == 400


def test_program_cannot_have_the_server_answer_elsewhere(server: Server, canary: Canary) -> None:
    body = {
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 4,
        **dict.fromkeys(("callback_url", "webhook", "base_url", "url", "proxy"), canary.url),
    }
    status, answer = server.request("POST", "/v1/chat/completions", body)
    assert status in {200, 400}, answer
    time.sleep(0.3)
