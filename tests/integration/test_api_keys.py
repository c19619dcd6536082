"""API keys over real sockets: what a key has open is cut off when the key ends."""

from __future__ import annotations

import contextlib
import http.client
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.serving import Server

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

RATE = 20  # words a second: what was asked for takes minutes
PASSWORD = "four words in a row"  # noqa: S105 - of nobody
LONG = {"messages": [{"role": "user", "content": "long 4000"}], "stream": True}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One with an administrator, Ann, whose requests are sent, and Bob."""
    data_dir = tmp_path_factory.mktemp("keys") / "data"
    server = Server(data_dir, "--no-ui", "--fake-engine", str(RATE)).start()
    server.token = server.claim("Ann", PASSWORD)
    server.ask("POST", "/api/users", {"name": "Bob", "password": PASSWORD})
    yield server
    server.close()


def key_of(server: Server, token: str, **bounds: Any) -> dict[str, Any]:
    """Make a key as somebody."""
    mine, server.token = server.token, token
    made = server.ask("POST", "/api/keys", {"name": "Editor", **bounds})
    server.token = mine
    return made


@contextlib.contextmanager
def stream(
    server: Server, key: str, method: str, path: str, body: Any = None
) -> Iterator[http.client.HTTPResponse]:
    """Open a stream with a key, and wait for its first line."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    with contextlib.closing(connection):
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        assert response.status == 200
        yield response


def num_running(server: Server) -> int:
    num: int = server.ask("GET", "/api/models/stats")["stats"]["num_running"]
    return num


def end_by_owner(server: Server, made: dict[str, Any], token: str, bob: str) -> None:
    mine, server.token = server.token, token
    server.ask("DELETE", f"/api/keys/{made['view']['id']}")
    server.token = mine


def end_by_administrator(server: Server, made: dict[str, Any], token: str, bob: str) -> None:
    server.ask("DELETE", f"/api/users/{bob}/keys/{made['view']['id']}")


def end_by_shutting_out(server: Server, made: dict[str, Any], token: str, bob: str) -> None:
    server.ask("PATCH", f"/api/users/{bob}", {"is_disabled": True})
    server.ask("PATCH", f"/api/users/{bob}", {"is_disabled": False})


@pytest.mark.parametrize("end", [end_by_owner, end_by_administrator, end_by_shutting_out])
def test_streams_of_a_key_are_cut_when_it_is_revoked(server: Server, end: Any) -> None:
    token = server.sign_in("Bob", PASSWORD)
    bob = next(
        one["id"] for one in server.ask("GET", "/api/users")["users"] if one["name"] == "Bob"
    )
    made = key_of(server, token)
    chat = stream(server, made["key"], "POST", "/v1/chat/completions", LONG)
    events = stream(server, made["key"], "GET", "/api/events")
    with chat as written, events as told:
        for _ in range(6):
            assert written.readline()
        assert num_running(server) == 1
        end(server, made, token, bob)
        late = [line for line in written if line.startswith(b"data: ")]
        # So much is written in a second.
        assert len(late) <= RATE
        assert b"[DONE]" not in b"".join(late)
        told.read()
    server.wait_for(lambda: num_running(server) == 0, 5)
    if end is not end_by_shutting_out:
        status, answer = server.request(
            "GET", "/v1/models", headers={"x-api-key": made["key"], "cookie": ""}
        )
        assert (status, json.loads(answer)["error"]["code"]) == (401, "invalid_api_key")


def test_stream_of_a_key_is_cut_when_it_runs_out(server: Server) -> None:
    token = server.sign_in("Bob", PASSWORD)
    soon = datetime.now(UTC) + timedelta(seconds=3)
    made = key_of(server, token, expires_at=soon.isoformat())
    with stream(server, made["key"], "POST", "/v1/chat/completions", LONG) as written:
        lines = written.read().splitlines()
    assert datetime.now(UTC) >= soon
    assert len(lines) > 2
    assert b"[DONE]" not in lines
    server.wait_for(lambda: num_running(server) == 0, 5)


def test_another_key_of_the_same_person_goes_on(server: Server) -> None:
    token = server.sign_in("Bob", PASSWORD)
    made, other = key_of(server, token), key_of(server, token)
    with stream(server, other["key"], "POST", "/v1/chat/completions", LONG) as written:
        assert written.readline()
        mine, server.token = server.token, token
        server.ask("DELETE", f"/api/keys/{made['view']['id']}")
        server.token = mine
        for _ in range(3 * RATE):
            assert written.readline()
