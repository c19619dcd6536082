"""Behind Debian's nginx, under a path: the page, streams, bodies, and whom the server believes."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.nginx import LOCATION, ROOT_PATH

if TYPE_CHECKING:
    from tests.nginx import Nginx
    from tests.serving import Server

pytestmark = [pytest.mark.integration, pytest.mark.timeout(150)]

DOCS = Path(__file__).parents[3] / "webui" / "docs" / "lan.md"
BEHIND = "http://127.0.0.1:7860"


def ask(
    port: int,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
    *,
    source: str = "127.0.0.1",
) -> tuple[int, str]:
    """Send one request from a loopback address."""
    connection = http.client.HTTPConnection("127.0.0.1", port, 30, source_address=(source, 0))
    with contextlib.closing(connection):
        json_body = {"content-type": "application/json"} if body is not None else {}
        connection.request(method, path, body, {**json_body, **(headers or {})})
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")


def test_snippet_of_the_docs_is_the_one_that_is_tested() -> None:
    assert LOCATION.format(root=ROOT_PATH, behind=BEHIND).strip() in DOCS.read_text("utf-8")


@pytest.mark.parametrize("path", ["/", "/c/abc", "/s/abc"])
def test_page_asks_for_everything_under_the_path(proxy: Nginx, path: str) -> None:
    status, page = ask(proxy.port, "GET", ROOT_PATH + path)
    assert status == 200
    assert '<base href="/hearthside/" />' in page
    addresses = re.findall(r'\b(?:href|src)="([^"]+)"', page)
    assert len(addresses) > 20
    for address in addresses:
        assert address.startswith((f"{ROOT_PATH}/", "./", "#", "data:")), address
    assert f'"root":"http://127.0.0.1:{proxy.port}{ROOT_PATH}"' in page.replace(" ", "")
    for address in addresses:
        if address.startswith(f"{ROOT_PATH}/ui/"):
            assert ask(proxy.port, "GET", address)[0] == 200, address


def test_words_of_a_reply_come_while_it_is_written(proxy: Nginx) -> None:
    status, made = ask(proxy.port, "POST", f"{ROOT_PATH}/api/conversations", b"{}")
    assert status == 201
    conversation = f"{ROOT_PATH}/api/conversations/{json.loads(made)['conversation']['id']}"
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=30)
    with contextlib.closing(connection):
        connection.request("GET", f"{ROOT_PATH}/api/events")
        stream = connection.getresponse()
        turn = json.dumps({"mode": "send", "parent_id": None, "text": "long 300 words"}).encode()
        status, sent = ask(proxy.port, "POST", f"{conversation}/messages", turn)
        assert status == 202
        while b'"text"' not in (line := stream.readline()):
            assert line
        _, transcript = ask(proxy.port, "GET", conversation)
        assert json.loads(transcript)["messages"][-1]["status"] in {"pending", "streaming"}
        generation = json.loads(sent)["generation"]["id"]
        ask(proxy.port, "POST", f"{ROOT_PATH}/api/generations/{generation}/stop", b"{}")


@pytest.mark.parametrize(("size", "status"), [(3_500_000, 422), (4_300_000, 413), (6_000_000, 413)])
def test_large_body_is_passed_on_up_to_the_limit(proxy: Nginx, size: int, status: int) -> None:
    body = b'{"x": "' + b"a" * size + b'"}'
    with contextlib.suppress(ConnectionError):  # refused before it was sent to its end
        assert ask(proxy.port, "POST", f"{ROOT_PATH}/api/conversations", body)[0] == status


def post(proxy: Nginx, host: str, **headers: str) -> int:
    """Create a conversation through the proxy, as a page at `host` does."""
    sent = {"host": host, **{key.replace("_", "-"): value for key, value in headers.items()}}
    return ask(proxy.port, "POST", f"{ROOT_PATH}/api/conversations", b"{}", sent)[0]


def test_page_of_the_public_name_may_write_and_a_foreign_one_may_not(proxy: Nginx) -> None:
    name = "chat.example.org"
    assert post(proxy, name, origin=f"http://{name}") == 201
    assert post(proxy, name, origin="https://evil.example") == 403
    assert post(proxy, "evil.example", origin="http://evil.example") == 421
    # nginx replaces what a visitor writes of itself.
    assert post(proxy, name, origin=f"http://{name}", x_forwarded_host="evil.example") == 201


CLAIMS = {
    "x-forwarded-host": "chat.example.org",
    "x-forwarded-proto": "https",
    "x-forwarded-for": "127.0.0.1",
}


@pytest.mark.parametrize(("source", "is_believed"), [("127.0.0.1", True), ("127.0.0.2", False)])
def test_claims_count_from_the_trusted_address_alone(
    server: Server, source: str, *, is_believed: bool
) -> None:
    def lan(headers: dict[str, str]) -> Any:
        status, text = ask(server.port, "GET", "/api/lan", headers=headers, source=source)
        return json.loads(text) if status == 200 else status

    told = lan(CLAIMS)
    if is_believed:
        assert [one["url"] for one in told["addresses"]] == [f"https://chat.example.org{ROOT_PATH}"]
    else:
        assert told == 401  # nobody knows who stands behind it, so it is nobody
    foreign = {**CLAIMS, "x-forwarded-host": "evil.example"}
    assert lan(foreign) == (421 if is_believed else 401)
    assert lan({**CLAIMS, "host": "evil.example", "x-forwarded-host": ""}) == 421


def test_kept_page_cannot_be_told_another_server(server: Server) -> None:
    claim = {"x-gradio-server": "https://evil.example", "host": f"localhost:{server.port}"}
    claim["x-forwarded-for"] = "127.0.0.1"
    for source, wanted in (("127.0.0.2", 303), ("127.0.0.1", 200)):
        status, page = ask(server.port, "GET", "/", headers=claim, source=source)
        assert status == wanted
        assert "evil.example" not in page
