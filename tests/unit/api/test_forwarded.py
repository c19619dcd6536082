"""What a proxy says is believed from trusted ones alone; the rest of the world is what it is."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.unit.api.fakes import fake_lan, fake_runtime
from webui.api.forwarded import Forwarded
from webui.api.http_app import create_http_app
from webui.errors import InvalidRequest
from webui.network.proxies import Proxies
from webui.settings import Settings

PROXY = "10.0.0.1"
SAID = {
    "x-forwarded-for": "6.6.6.6, 203.0.113.9",
    "x-forwarded-proto": "https",
    "x-forwarded-host": "chat.example.org",
    "forwarded": "for=1.1.1.1",
    "x-real-ip": "1.1.1.1",
    "x-gradio-server": "https://evil.example",
}


def scope_of(
    client: str | None, headers: dict[str, str] | None = None, path: str = "/"
) -> dict[str, Any]:
    raw = [(key.encode(), value.encode()) for key, value in (headers or {}).items()]
    return {
        "type": "http",
        "client": None if client is None else (client, 4711),
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "headers": [(b"host", b"127.0.0.1:7860"), *raw, (b"accept", b"*/*")],
    }


def original(client: str | None, headers: dict[str, str]) -> dict[str, Any]:
    return dict(Forwarded(Proxies(["10.0.0.0/8"])).original(scope_of(client, headers)))


def test_trusted_proxy_is_believed_and_its_words_are_taken_off() -> None:
    scope = original(PROXY, SAID)
    assert scope["client"] == ("203.0.113.9", 0)
    assert scope["scheme"] == "https"
    assert dict(scope["headers"]) == {b"host": b"chat.example.org", b"accept": b"*/*"}


@pytest.mark.parametrize("client", ["11.0.0.1", "fd00::1", None])
def test_anybody_else_is_not(client: str | None) -> None:
    before = scope_of(client)
    assert original(client, SAID) == before


@pytest.mark.parametrize("said", ["", "ftp", "javascript", "httpsx"])
def test_scheme_that_is_none_is_not_taken(said: str) -> None:
    assert original(PROXY, {"x-forwarded-proto": said})["scheme"] == "http"


@pytest.mark.parametrize("client", ["127.0.0.1", "::1", "127.0.0.7", "::ffff:127.0.0.1"])
def test_proxy_on_this_machine_that_nobody_named_makes_nobody_local(client: str) -> None:
    for name in ("x-forwarded-for", "forwarded", "x-real-ip"):
        assert original(client, {name: SAID[name]}) == {
            **scope_of(client),
            "client": None,
        }
    assert original(client, {}) == scope_of(client)


def test_trusted_proxy_that_does_not_say_for_whom_makes_nobody_local() -> None:
    assert original(PROXY, {}) == {**scope_of(PROXY), "client": None}


def user_of(client: str, *values: bytes, header: str | None = "Remote-User") -> Any:
    scope = scope_of(client)
    scope["headers"] += [(b"remote-user", value) for value in values]
    forwarded = Forwarded(Proxies(["10.0.0.0/8"]), user_header=header)
    found = forwarded.original(scope)
    assert (b"remote-user" in dict(found["headers"])) is (header is None and bool(values))
    return found.get("state", {}).get("proxy_user")


@pytest.mark.parametrize(
    ("values", "user"),
    [
        ((b"ann",), "ann"),
        (("Zoë".encode(),), "Zoë"),
        ((b"\xff",), "\ufffd"),
        ((b"ann", b"bob"), ""),
        ((b"ann", b"ann"), ""),
        ((b"",), None),
        ((), None),
    ],
)
def test_user_is_whom_the_trusted_proxy_names_once(values, user) -> None:
    assert user_of(PROXY, *values) == user


@pytest.mark.parametrize("client", ["11.0.0.1", "127.0.0.1", "fd00::1", ""])
def test_nobody_else_names_a_user(client: str) -> None:
    assert user_of(client, b"ann") is None


def test_header_is_any_other_where_none_was_named() -> None:
    assert user_of(PROXY, b"ann", header=None) is None


def test_forwarded_for_does_not_make_a_peer_a_proxy() -> None:
    scope = scope_of("11.0.0.1", {"x-forwarded-for": PROXY, "remote-user": "ann"})
    found = Forwarded(Proxies(["10.0.0.0/8"]), user_header="remote-user").original(scope)
    assert "state" not in found
    assert b"remote-user" not in dict(found["headers"])


def test_several_hosts_are_none_of_ours() -> None:
    for said in ("chat.example.org, evil.example", ""):
        assert dict(original(PROXY, {"x-forwarded-host": said})["headers"])[b"host"] == b""


@pytest.mark.parametrize(
    ("path", "below"),
    [
        ("/hearthside", "/"),
        ("/hearthside/", "/"),
        ("/hearthside/c/abc", "/c/abc"),
        ("/hearthsideX/c", "/hearthsideX/c"),
        ("/c/abc", "/c/abc"),
        ("/c/hearthside/", "/c/hearthside/"),
    ],
)
def test_path_below_the_root_is_the_same_with_and_without_it(path: str, below: str) -> None:
    scope = Forwarded(Proxies(), "/hearthside").original(scope_of(None, path=path))
    assert (scope["path"], scope["raw_path"]) == (below, below.encode())


@pytest.mark.parametrize("root", ["/api", "/v1/x", "/ui", "/c/x", "/health", "/static"])
def test_root_that_begins_as_our_own_paths_is_refused(runtime, page, root: str) -> None:
    runtime.settings = Settings(root_path=root)
    with pytest.raises(InvalidRequest, match=root):
        create_http_app(runtime, page)


async def test_app_behind_a_proxy_answers_under_its_names_and_refuses_others(page) -> None:
    settings = Settings(
        trusted_proxy=[PROXY], allowed_hosts=["chat.example.org"], root_path="/hearthside"
    )
    runtime = fake_runtime()
    runtime.settings, runtime.lan = settings, fake_lan(settings)
    app = create_http_app(runtime, page)

    async def ask(client: str, host: str, **headers: str) -> httpx.Response:
        transport = httpx.ASGITransport(app, client=(client, 4711))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as asking:
            said = {"x-forwarded-host": host, "x-forwarded-proto": "https", **headers}
            return await asking.post("/hearthside/api/conversations", json={}, headers=said)

    own = {"origin": "https://chat.example.org", "sec-fetch-site": "same-origin"}
    assert (await ask(PROXY, "chat.example.org", **own)).status_code == 201
    assert (await ask(PROXY, "evil.example", origin="https://evil.example")).status_code == 421
    foreign = await ask(PROXY, "chat.example.org", origin="https://evil.example")
    assert foreign.status_code == 403
    # From elsewhere the words count for nothing: the request is one to 127.0.0.1.
    assert (await ask("192.168.1.9", "evil.example")).status_code == 201
    assert (await ask("192.168.1.9", "chat.example.org", **own)).status_code == 403
