"""Behind an nginx that signs people in by `auth_request`, as the page on accounts shows it."""

from __future__ import annotations

import contextlib
import http.client
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import nginx
from tests.nginx import Nginx
from tests.serving import Server, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.integration, pytest.mark.timeout(150)]

DOCS = Path(__file__).parents[3] / "webui" / "docs" / "accounts.md"
PASSWORDS = {"Ann": "four words in a row", "Bob": "another row of words"}


class Portal(BaseHTTPRequestHandler):
    """Who is signed in at the proxy, its cookie says: `portal=bob`."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        found = re.search(r"portal=(\w+)", self.headers.get("cookie", ""))
        self.send_response(200 if found else 401)
        if found and found[1] != "nobody":
            self.send_header("Remote-User", found[1])
        elif not found:
            self.send_header("Location", "https://login.example.org/")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class VouchingNginx(Nginx):
    """One with the snippet of the docs in the place of its location."""

    def __init__(self, program: str, folder: Path, *, target: int, portal: int) -> None:
        super().__init__(program, folder, port=free_port(), target=target)
        self.url = f"http://127.0.0.1:{self.port}"
        snippet = re.search(r"```nginx\n(location = /authelia.*?)```", DOCS.read_text(), re.DOTALL)
        assert snippet is not None
        text = snippet[1].replace("127.0.0.1:9091", f"127.0.0.1:{portal}")
        location = nginx.LOCATION.format(root="", behind=f"http://127.0.0.1:{target}")
        more = location.partition("{\n")[2].rpartition("}")[0]
        text, num = re.subn(r"    # and what stands .*\n", lambda _: more, text)
        assert num == 1
        config = folder / "nginx.conf"
        head, _, tail = config.read_text().partition(f"location {nginx.ROOT_PATH}/")
        config.write_text(f"{head}{text}{tail.partition('}')[2]}")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("vouched")
    flags = ["--trusted-proxy", "127.0.0.1", "--trusted-user-header", "Remote-User"]
    server = Server(folder / "data", "--fake-engine", "60", *flags).start()
    server.token = server.claim("Ann", PASSWORDS["Ann"])
    server.ask("POST", "/api/users", {"name": "Bob", "password": PASSWORDS["Bob"]})
    yield server
    server.close()


@pytest.fixture(scope="module")
def proxy(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    portal = ThreadingHTTPServer(("127.0.0.1", 0), Portal)
    thread = threading.Thread(target=portal.serve_forever, args=(0.02,))
    thread.start()
    folder = tmp_path_factory.mktemp("nginx")
    port = portal.server_address[1]
    with VouchingNginx(nginx.require_nginx(), folder, target=server.port, portal=port) as made:
        yield made
    portal.shutdown()
    thread.join()
    portal.server_close()


def ask(
    port: int, path: str, headers: dict[str, str], *, source: str = "127.0.0.1"
) -> tuple[int, http.client.HTTPMessage, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, 30, source_address=(source, 0))
    with contextlib.closing(connection):
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode(errors="replace")


def test_who_is_signed_in_at_the_proxy_is_in(proxy: Nginx) -> None:
    status, headers, _ = ask(proxy.port, "/", {"cookie": "portal=bob"})
    assert status == 200
    token = re.search(r"hearthside=([\w-]+)", headers["set-cookie"])
    assert token is not None
    cookie = f"portal=bob; hearthside={token[1]}"
    assert '"name":"Bob"' in ask(proxy.port, "/api/me", {"cookie": cookie})[2]
    # Whoever else signs in at the proxy has nothing of that cookie.
    cookie = f"portal=ann; hearthside={token[1]}"
    assert ask(proxy.port, "/api/me", {"cookie": cookie})[0] == 401


def test_who_is_not_is_sent_to_the_portal(proxy: Nginx) -> None:
    status, headers, _ = ask(proxy.port, "/", {"remote-user": "Ann"})
    assert (status, headers["location"]) == (302, "https://login.example.org/")


@pytest.mark.parametrize("name", ["Remote-User", "remote-user", "REMOTE-USER", "Remote_User"])
def test_header_that_the_browser_sends_is_overwritten(proxy: Nginx, name: str) -> None:
    _, _, text = ask(proxy.port, "/api/session", {"cookie": "portal=bob", name: "Ann"})
    assert '"proxy_user":"bob"' in text
    _, _, text = ask(proxy.port, "/api/session", {"cookie": "portal=nobody", name: "Ann"})
    assert '"proxy_user":null' in text


def test_header_from_beside_the_proxy_is_nothing(server: Server) -> None:
    headers = {"Remote-User": "Ann", "X-Forwarded-For": "127.0.0.1"}
    status, answer, _ = ask(server.port, "/", headers, source="127.0.0.2")
    assert (status, answer["location"]) == (303, "/sign-in")
    assert "set-cookie" not in answer
