"""Nobody can leave a file on the server: no route takes one, and nothing of one is kept."""

from __future__ import annotations

import base64
import http.client
import re
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.serving import house_with_page
from webui.api.http_app import ROUTE_GROUPS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.serving import Server

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

MARK = b"upload-canary-51c9"
BOUNDARY = "b0undary"
FORM = (
    f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="files"; filename="../../x.html"\r\n'
    "content-type: text/html\r\n\r\n<script>alert(1)</script>"
).encode()
FORM += MARK + f"\r\n--{BOUNDARY}--\r\n".encode()
# Gradio's ways to take a file, and to give it back.
OF_GRADIO = (
    "/gradio_api/upload",
    "/gradio_api/upload?upload_id=x",
    "/gradio_api/upload_progress?upload_id=x",
    "/upload",
    "/gradio_api/stream/x/y/z/playlist.m3u8",
    "/gradio_api/file=../../x.html",
    "/file=x.html",
    "/gradio_api/component_server",
    "/gradio_api/queue/join",
    "/gradio_api/call/x",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with house_with_page(tmp_path_factory.mktemp("uploads")) as server:
        yield server


def files(server: Server) -> set[Path]:
    return {path for path in server.data_dir.parent.rglob("*") if path.is_file()}


def holds_mark(server: Server) -> list[Path]:
    return [path for path in files(server) if MARK in path.read_bytes()]


def routes() -> list[tuple[str, str]]:
    found = {
        (method, re.sub(r"\{[^}]*\}", "x", route.path))
        for group in ROUTE_GROUPS
        for route in group.router.routes
        for method in route.methods
        if method in {"POST", "PUT", "PATCH", "DELETE"}
    }
    return sorted(found)


def test_no_route_takes_a_form_with_a_file(server: Server) -> None:
    before = files(server)
    assert len(routes()) > 40
    taken = []
    for method, path in routes():
        for kind in (f"multipart/form-data; boundary={BOUNDARY}", "application/octet-stream"):
            status, _ = send(server, method, path, FORM, kind)
            if status not in {404, 405, 415}:
                taken.append((method, path, kind, status))
    assert taken == []
    assert files(server) == before
    assert holds_mark(server) == []


@pytest.mark.parametrize("path", OF_GRADIO)
def test_way_of_gradio_to_take_or_give_a_file_is_shut(server: Server, path: str) -> None:
    before = files(server)
    for method in ("GET", "POST", "PUT"):
        kind = f"multipart/form-data; boundary={BOUNDARY}"
        status, answer = send(server, method, path, FORM, kind)
        assert status in {404, 405, 415}, (method, path, answer)
    assert files(server) == before
    assert holds_mark(server) == []


def test_file_inside_a_message_is_refused_by_name_and_not_kept(server: Server) -> None:
    conversation_id = server.new_conversation()
    file = {"name": "x.html", "data": base64.b64encode(MARK).decode()}
    body = {"mode": "send", "text": "look", "attachments": [file]}
    status, answer = server.request("POST", f"/api/conversations/{conversation_id}/messages", body)
    assert status == 422
    assert b"attachments" in answer
    assert server.transcript(conversation_id)["messages"] == []


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
        {"type": "file", "file": {"file_data": "JVBERi0=", "filename": "../x.pdf"}},
    ],
    ids=lambda part: str(part["type"]),
)
def test_file_in_a_request_of_a_program_is_refused_by_name(server: Server, part: object) -> None:
    before = files(server)
    message = {"role": "user", "content": [{"type": "text", "text": "look"}, part]}
    status, answer = server.request(
        "POST", "/v1/chat/completions", {"model": "x", "messages": [message], "max_tokens": 1}
    )
    assert status == 400, answer
    assert b"messages" in answer or b"content" in answer
    assert files(server) == before


def send(server: Server, method: str, path: str, body: bytes, kind: str) -> tuple[int, bytes]:
    """Send bytes of a kind, signed in and from the server's own page."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    with closing(connection):
        headers = {"cookie": f"hearthside={server.token}", "origin": server.url}
        connection.request(method, path, body, {**headers, "content-type": kind})
        response = connection.getresponse()
        return response.status, response.read()
