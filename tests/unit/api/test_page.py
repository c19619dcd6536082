from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Mount

from webui.accounts.identity import Identity, Source
from webui.actor import Actor, Permission
from webui.api.http_app import create_http_app
from webui.api.page import Page, Shell, Static

if TYPE_CHECKING:
    from pathlib import Path

GRADIO_PAGE = """<!doctype html><html lang="en"><head><base href="./" />
<meta property="og:title" content="Gradio" />
<meta
    property="og:image"
    content="https://outside.example/x.jpg"
/>
<meta name="twitter:card" content="x" />
<link rel="manifest" href="/manifest.json" /><script src="./assets/index.js"></script>
</head><body
  style="margin: 0"><gradio-app></gradio-app></body></html>"""


class Drawn:
    """An ASGI app in Gradio's place that remembers what reached it."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.seen: list[tuple[str, str]] = []
        self.headers: dict[bytes, bytes] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.seen.append((scope["method"], scope["path"]))
        self.headers = dict(scope["headers"])
        kind = (b"content-type", b"text/html")
        await send({"type": "http.response.start", "status": self.status, "headers": [kind]})
        half = len(GRADIO_PAGE) // 2
        for part in (GRADIO_PAGE[:half], GRADIO_PAGE[half:]):
            await send({"type": "http.response.body", "body": part.encode(), "more_body": True})
        await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def drawn(page: Page) -> Drawn:
    drawn = Drawn()
    page.adopt(drawn)
    return drawn


@pytest.mark.parametrize("path", ["/", "/c/abc_-9", "/?__theme=dark"])
async def test_page_is_the_shell_alone_until_it_is_drawn(client, path) -> None:
    answer = await client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert '<div id="shell">' in answer.text
    assert (await client.get("/health")).json()["ui"] == "starting"


@pytest.mark.parametrize("path", ["/", "/c/abc_-9"])
async def test_page_is_the_drawn_one_with_the_shell_in_it(client, drawn, path) -> None:
    text = (await client.get(path, headers={"accept-encoding": "br"})).text
    assert drawn.seen == [("GET", "/")]
    assert b"accept-encoding" not in drawn.headers
    assert '<base href="/" />' in text
    assert './"' not in text
    assert text.index("<title>Shell</title>") < text.index("</head>")
    assert re.search(r'<body[^>]*><div id="shell"></div><gradio-app>', text)
    assert "og:" not in text
    assert "twitter" not in text
    assert "outside.example" not in text
    assert "manifest" not in text
    assert (await client.get("/health")).json()["ui"] == "ready"


async def test_strings_are_in_the_page_and_cannot_end_their_element(client, page) -> None:
    for _ in range(2):
        text = (await client.get("/")).text
        element = re.search(r'<script type="application/json" id="strings">(.*?)</script>', text)
        assert element
        assert json.loads(element[1]) == {"chat.send": "Send </script><!-- ü"}
        assert "<!--" not in element[1]
        page.adopt(Drawn())


async def test_page_that_could_not_be_drawn_stays_the_shell(client, page) -> None:
    page.adopt(Drawn(500))
    assert '<div id="shell">' in (await client.get("/")).text
    page.fail()
    assert '<div id="shell">' in (await client.get("/")).text
    assert (await client.get("/health")).json()["ui"] == "failed"


async def test_server_without_page_answers_404_and_the_api_works(runtime, ui_folder) -> None:
    app = create_http_app(runtime, Page(ui_folder, on=False))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answer = await client.get("/")
        assert answer.status_code == 404
        assert "without its page" in answer.json()["error"]["hint"]
        assert (await client.get("/health")).json()["ui"] == "off"
        assert (await client.get("/theme.css")).status_code == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/theme.css"),
        ("GET", "/assets/index-DphvyggB.js"),
        ("GET", "/static/fonts/Inter/Inter-Regular.woff2"),
        ("POST", "/gradio_api/run/predict"),
    ],
)
async def test_paths_that_the_page_needs_are_open(client, page, method, path) -> None:
    event = {"json": {"data": []}} if method == "POST" else {}
    answer = await client.request(method, path, **event)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    drawn = Drawn()
    page.adopt(drawn)
    assert (await client.request(method, path, **event)).status_code == 200
    assert drawn.seen == [(method, path)]


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=http://127.0.0.1:22/",
        "/file=http://evil.example",
        "/file/etc/passwd",
        "/gradio_api/file/etc/passwd",
        "/proxy=http://evil.example",
        "/gradio_api/proxy=http://evil.example",
        "/gradio_api/upload",
        "/gradio_api/upload_progress",
        "/gradio_api/cancel",
        "/gradio_api/reset",
        "/gradio_api/call/predict",
        "/gradio_api/queue/join",
        "/gradio_api/queue/data",
        "/gradio_api/api/predict",
        "/gradio_api/component_server",
        "/gradio_api/heartbeat/k3j2h1",
        "/config",
        "/gradio_api/stream/x/0/1/playlist.m3u8",
        "/gradio_api/deep_link",
        "/gradio_api/info",
        "/gradio_api/startup-events",
        "/gradio_api/openapi.json",
        "/gradio_api/vibe-edit",
        "/gradio_api/process_recording",
        "/custom_component/a/client/component/index.js",
        "/login",
        "/logout",
        "/token",
        "/user",
        "/app_id",
        "/monitoring",
        "/run-history/records",
        "/runs",
        "/openapi.json",
        "/docs",
        "/svelte/svelte.js",
        "/dev/reload",
        "/robots.txt",
        "/pwa_icon",
        "/manifest.json",
        "/assets/%2e%2e/config",
        "/assets/..%2f..%2fpasswd",
        "/static//etc/passwd",
        "/c/",
        "/c/a/b",
        "/c/" + "x" * 65,
    ],
)
async def test_other_paths_never_reach_gradio(client, drawn, method, path) -> None:
    answer = await client.request(method, path)
    assert answer.status_code == 404
    assert drawn.seen == []


# What opened files of other people's servers: CVE-2023-51449, -2024-1561, -2024-1728, -2025-23042,
# -2026-28414 and their like. Each is a path as a client sends it.
FILES = [
    "/etc/passwd",
    "//etc/passwd",
    "../../../../etc/passwd",
    "..%2f..%2f..%2fetc%2fpasswd",
    "%2e%2e/%2e%2e/etc/passwd",
    "..%5c..%5cwindows%5cwin.ini",
    "..\\..\\windows\\win.ini",
    "C:/Windows/win.ini",
    "C:%5CWindows%5Cwin.ini",
    "file:///etc/passwd",
    "/proc/self/environ",
    "/PROC/SELF/ENVIRON",
    "./hearthside.db",
    "data/hearthside.db",
    "data/tls/authority.pem",
    "http://127.0.0.1:22/",
    "https://evil.example/",
    "HTTP://169.254.169.254/latest/meta-data/",
    "//evil.example/x",
    "\\\\evil.example\\share",
    "%00/etc/passwd",
]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("place", ["/gradio_api/file=", "/file=", "/gradio_api/proxy=", "/proxy="])
async def test_file_of_the_machine_or_of_a_server_is_404(client, drawn, place, file) -> None:
    answer = await client.get(place + file)
    assert answer.status_code == 404
    assert "location" not in answer.headers
    assert drawn.seen == []


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("place", ["/assets/", "/static/", "/ui/"])
async def test_file_outside_of_the_open_folders_is_never_read(client, page, place, file) -> None:
    seen = Drawn(404)
    page.adopt(seen)
    answer = await client.get(place + file)
    assert answer.status_code == 404
    assert all(".." not in path and "//" not in path for _, path in seen.seen)


@pytest.mark.parametrize("path", ["//", "/assets/../config", "/assets/..", "/c/a/../b", "*", ""])
async def test_path_that_no_client_writes_never_reaches_gradio(app, drawn, path) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode()}
    headers = [(b"host", b"localhost")]
    await app({**scope, "root_path": "", "query_string": b"", "headers": headers}, receive, send)
    assert sent[0]["status"] == 404
    assert drawn.seen == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/"),
        ("DELETE", "/c/abc"),
        ("OPTIONS", "/theme.css"),
        ("GET", "/gradio_api/run/predict"),
    ],
)
async def test_other_methods_never_reach_gradio(client, drawn, method, path) -> None:
    assert (await client.request(method, path)).status_code == 405
    assert drawn.seen == []


async def test_gradios_assets_are_kept_for_good_unless_they_are_missing(
    client, page, drawn
) -> None:
    answer = await client.get("/assets/index-abc.js")
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    page.adopt(Drawn(404))
    assert "immutable" not in (await client.get("/assets/gone.js")).headers["cache-control"]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/ui/app.js", "text/javascript; charset=utf-8"),
        ("/ui/strings.en.json", "application/json"),
        ("/ui/font.woff2", "font/woff2"),
        ("/favicon.ico", "image/x-icon"),
    ],
)
async def test_static_files_have_our_types(client, path, kind) -> None:
    assert (await client.get(path)).headers["content-type"] == kind


async def test_static_file_that_did_not_change_is_304(client) -> None:
    first = await client.get("/ui/app.js")
    again = await client.get("/ui/app.js", headers={"if-none-match": first.headers["etag"]})
    assert again.status_code == 304
    assert again.headers["cache-control"] == "no-cache"


def test_shell_without_its_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="not found"):
        Shell("<html></html>", "{}")


def test_shell_asks_for_our_files_under_the_digest_it_is_given() -> None:
    html = '<head><!--head--><script src="/ui/app.js"></script><!--/head--></head>'
    shell = Shell(html + "<!--body--><!--/body-->", "{}", "/ui/@0123456789ab/")
    assert 'src="/ui/@0123456789ab/app.js"' in shell.html
    assert '"/ui/app.js"' not in shell.around("<head></head><body></body>")


@pytest.fixture
def static(tmp_path: Path) -> Static:
    (tmp_path / "vendor").mkdir()
    (tmp_path / "app.js").write_text("export {}")
    (tmp_path / "vendor" / "big.js").write_text("export {}")
    return Static(tmp_path)


async def get(static: Static, path: str) -> httpx.Response:
    app = Starlette(routes=[Mount("/ui", static)])
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        return await client.get(path)


@pytest.mark.parametrize("name", ["app.js", "vendor/big.js"])
async def test_file_under_the_present_digest_is_kept_for_good(static: Static, name: str) -> None:
    answer = await get(static, f"/ui/@{static.take_digest()}/{name}")
    assert answer.text == "export {}"
    assert "immutable" in answer.headers["cache-control"]


async def test_file_under_an_old_digest_is_what_it_is_now_and_not_kept(static: Static) -> None:
    old = static.take_digest()
    (static._folder / "app.js").write_text("export const a = 1")
    assert static.take_digest() != old
    answer = await get(static, f"/ui/@{old}/app.js")
    assert answer.text == "export const a = 1"
    assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("path", ["/ui/@0123456789ab/../app.js", "/ui/@0123456789ab/@x/app.js"])
async def test_digest_hides_no_other_path(static: Static, path: str) -> None:
    static.take_digest()
    assert (await get(static, path.replace("..", "%2e%2e%2f%2e%2e%2fetc"))).status_code == 404


async def test_event_gets_a_session_that_its_sender_alone_can_name(client, page, runtime) -> None:
    seen: list[dict[str, object]] = []

    async def drawn(scope, receive, send) -> None:
        message = await receive()
        assert dict(scope["headers"])[b"content-length"] == str(len(message["body"])).encode()
        seen.append(json.loads(message["body"]))
        await HTMLResponse("ok")(scope, receive, send)

    page.adopt(drawn)
    for user_id in ("ann", "bob", "ann"):
        actor = Actor(user_id, user_id, frozenset(Permission))
        runtime.accounts.identity = Identity(actor=actor, source=Source.SESSION)
        event = {"data": ["ü"], "fn_index": 3, "session_hash": "mine"}
        assert (await client.post("/gradio_api/run/predict", json=event)).status_code == 200
    hashes = [event.pop("session_hash") for event in seen]
    assert hashes[0] == hashes[2] != hashes[1]
    assert "mine" not in hashes
    assert seen[0] == {"data": ["ü"], "fn_index": 3}


@pytest.mark.parametrize("body", [b"[]", b"{", b'"x"', b"\xff", b""])
async def test_event_that_is_no_object_is_refused(client, page, body) -> None:
    page.adopt(Drawn())
    kind = {"content-type": "application/json"}
    answer = await client.post("/gradio_api/run/predict", content=body, headers=kind)
    assert answer.status_code == 400
