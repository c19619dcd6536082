"""What is served where no route of ours is: the page, and the few paths of Gradio it needs.

Knows the shell (our own HTML) and an ASGI app that draws the rest; does not know that this is
Gradio's. Until that app is there the shell is the page. Of Gradio's routes only those on the
list are reachable; its file, proxy, login and upload routes are not.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from pathlib import PurePath
from typing import TYPE_CHECKING, Literal

from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles
from typing_extensions import override

from webui.api.drawn_session import bound
from webui.api.errors import MethodNotAllowed, PageNotReady, error_response
from webui.errors import NotFound

if TYPE_CHECKING:
    from os import PathLike, stat_result
    from pathlib import Path

    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from webui.errors import WebuiError

logger = logging.getLogger(__name__)

UIState = Literal["starting", "ready", "off", "failed"]

PAGE = re.compile(r"/|/[cs]/[A-Za-z0-9_-]{1,64}")
SIGN_IN, FIRST_RUN = "/sign-in", "/first-run"
ENTRY_PATHS = frozenset({SIGN_IN, FIRST_RUN})
# What Chromium was seen to ask for on all pages; a heartbeat needs `gr.State` with a callback.
DRAWN_GET = re.compile(r"/(?:theme\.css|(?:assets|static)/[A-Za-z0-9_@./-]+)")
DRAWN_POST = re.compile(r"/gradio_api/run/predict")
# Names that carry a version or a digest never change their content, nor do fonts.
UNCHANGING = re.compile(
    r"/assets/.*|/static/fonts/.*|/ui/vendor/.*(?:\.woff2|[@.-](?:v?\d+\.\d+|[0-9a-f]{8,})).*"
)
FOREVER = b"public, max-age=31536000, immutable"
CHECKED = b"no-cache"
# Python's table of types depends on the machine; a module with a wrong one does not run.
MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".ttf": "font/ttf",
    ".txt": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
}
# Our own files are asked for under a digest of them all, so that browsers may keep them.
STATIC_PATH = "/ui/"
MAX_PAGES = 16
DIGEST = re.compile(r"@([0-9a-f]{12})/")
HEAD_MARKS = ("<!--head-->", "<!--/head-->")
BODY_MARKS = ("<!--body-->", "<!--/body-->")
STRINGS_MARK = "<!--strings-->"
# Gradio's own base is relative, which breaks under /c/<id>; its metas and manifest lead outside.
BASE = re.compile(r'<base href="[^"]*"\s*/?>')
METAS = re.compile(r'<meta\s+(?:property="og:|name="twitter:)[^>]*?>|<link rel="manifest"[^>]*?>')
BODY = re.compile(r"<body[^>]*>")
# Gradio takes the page's only thread for a third of a second: our scripts run before it does.
ENTRY = re.compile(r'<script type="module"[^>]* src="([^"]+)"></script>')
# It would be asked for at every load, for pages that stand in a frame of another site: ours do not.
RESIZER = re.compile(
    r"<script>(?:(?!</script>).)*iframeResizer\.contentWindow.*?</script>", re.DOTALL
)
LATER = r'<link rel="modulepreload" crossorigin href="\1" id="gradio-entry">'


class Shell:
    """Our own HTML: a whole page by itself, and two fragments for the drawn page.

    Args:
        html: Text of `shell.html`, with the fragments between marks.
        strings: JSON of all visible strings, which the scripts read from the page.
        static_path: Where our files are served, in place of `STATIC_PATH`.
        root_path: Path under which a proxy shows the page.
    """

    def __init__(
        self, html: str, strings: str, static_path: str = STATIC_PATH, root_path: str = ""
    ) -> None:
        self._base = f'<base href="{root_path}/" />'
        html = placed(html, static_path, root_path)
        self.html = html.replace(HEAD_MARKS[1], embedded(strings) + HEAD_MARKS[1], 1)
        self._head = _between(self.html, HEAD_MARKS)
        self._body = _between(self.html, BODY_MARKS)

    def around(self, drawn: str) -> str:
        """Return the drawn page with our head and body in it."""
        page = METAS.sub("", BASE.sub(self._base, drawn, count=1))
        page = RESIZER.sub("", ENTRY.sub(LATER, page, count=1), count=1)
        page = page.replace("</head>", self._head + "</head>", 1)
        return BODY.sub(lambda match: match[0] + self._body, page, count=1)


class Page:
    """The last of all routes: an ASGI app that holds the drawn page once it is there.

    Args:
        folder: Where `shell.html` and `static/` lie.
        on: False serves no page at all.
        root_path: Path under which a proxy shows the page.
    """

    def __init__(self, folder: Path, *, on: bool = True, root_path: str = "") -> None:
        self.state: UIState = "starting" if on else "off"
        self.static = Static(folder / "static")
        self._folder = folder
        self._root_path = root_path
        self._shell: Shell | None = None
        self._entry = ""
        self._drawn: ASGIApp | None = None
        # By scheme and host, of which the drawn page makes its addresses.
        self._pages: dict[tuple[str, bytes], str] = {}

    def read(self) -> None:
        """Read the shell; blocks.

        Raises:
            OSError: A file is missing.
        """
        html = (self._folder / "shell.html").read_text("utf-8")
        strings = (self._folder / "static" / "strings.en.json").read_text("utf-8")
        static_path = f"{STATIC_PATH}@{self.static.take_digest()}/"
        self._shell = Shell(html, strings, static_path, self._root_path)
        entry = (self._folder / "entry.html").read_text("utf-8")
        entry = placed(entry, static_path, self._root_path)
        self._entry = entry.replace(STRINGS_MARK, embedded(strings), 1)

    def adopt(self, drawn: ASGIApp) -> None:
        """Serve the drawn page from now on."""
        self._drawn = drawn
        self.state = "ready"

    def fail(self) -> None:
        """Stay with the shell for good."""
        self._drawn = None
        self.state = "failed"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what no route took.

        Raises:
            NotFound: The path is on no list.
            MethodNotAllowed: Something else than reading, where one can only read.
            PageNotReady: A path of the drawn page, which is not there yet.
        """
        path, method = scope["path"], scope["method"]
        is_entry = path in ENTRY_PATHS
        is_page = is_entry or PAGE.fullmatch(path) is not None
        if self.state == "off" or not (is_page or _is_listed(path)):
            hint = "This server was started without its page." if is_page else ""
            raise NotFound("there is nothing at this address", hint)
        wanted = {"POST"} if DRAWN_POST.fullmatch(path) else {"GET", "HEAD"}
        if method not in wanted:
            raise MethodNotAllowed(f"{method} is not possible here")
        if path == "/favicon.ico":
            await self.static(dict(scope, root_path=""), receive, send)
        elif is_entry and self._entry:
            await HTMLResponse(self._entry)(scope, receive, send)
        elif is_page:
            await (await self._page(scope, receive))(scope, receive, send)
        elif self._drawn is None:
            raise PageNotReady("the page is still being prepared", "Wait a moment.")
        else:
            if method == "POST":
                identity = scope["state"]["identity"]
                scope, receive = await bound(scope, receive, identity.actor.user_id)
            await self._drawn(_plain(scope), receive, _lasting(path, send))

    def refusal(self, error: WebuiError, scope: Scope) -> Response:
        """Return the page of the way in with what went wrong there; JSON where there is no page."""
        plain = error_response(error, scope)
        if self.state == "off" or not self._entry:
            return plain
        said = embedded(json.dumps({"message": error.message, "hint": error.hint}), "refusal")
        headers = {
            name: value for name, value in plain.headers.items() if not name.startswith("content-")
        }
        html = self._entry.replace("</head>", said + "</head>", 1)
        return HTMLResponse(html, plain.status_code, headers)

    async def _page(self, scope: Scope, receive: Receive) -> Response:
        """Return the page: the drawn one in our shell, or the shell alone."""
        if self._shell is None:
            raise PageNotReady("the page cannot be read from disk", "The server's log says more.")
        if self._drawn is None:
            return HTMLResponse(self._shell.html)
        host = (scope.get("scheme", "http"), dict(scope["headers"]).get(b"host", b""))
        if host not in self._pages:
            root = dict(_plain(scope), path="/", raw_path=b"/", method="GET")
            status, html = await _collect(self._drawn, root, receive)
            if status != 200:
                logger.error("the page was drawn with status %d; the shell is served alone", status)
                return HTMLResponse(self._shell.html)
            if len(self._pages) == MAX_PAGES:
                del self._pages[next(iter(self._pages))]
            self._pages[host] = self._shell.around(html)
        return HTMLResponse(self._pages[host])


class Static(StaticFiles):
    """Our modules, styles and fonts, with types of our own choice and times to keep them."""

    def __init__(self, folder: Path) -> None:
        super().__init__(directory=folder, check_dir=False)
        self._folder = folder
        self._digest = ""

    def take_digest(self) -> str:
        """Read all files and return the digest under which they are kept for good; blocks.

        Raises:
            OSError: A file cannot be read.
        """
        digest = hashlib.sha256()
        for path in sorted(self._folder.rglob("*")):
            if path.is_file():
                digest.update(path.relative_to(self._folder).as_posix().encode() + b"\0")
                digest.update(path.read_bytes())
        self._digest = digest.hexdigest()[:12]
        return self._digest

    @override
    def get_path(self, scope: Scope) -> str:
        """Return the path of the file, which has no digest in it."""
        return DIGEST.sub("", super().get_path(scope), count=1)

    @override
    def file_response(
        self,
        full_path: str | PathLike[str],
        stat_result: stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        """Answer with one file."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        media_type = MEDIA_TYPES.get(PurePath(full_path).suffix)
        if media_type is not None:
            response.headers["content-type"] = media_type
        asked = DIGEST.search(scope["path"])
        # A page from before an update asks for files that are no more: it gets what there is.
        is_same = asked is not None and asked[1] == self._digest
        lasting = is_same or UNCHANGING.fullmatch(scope["path"]) is not None
        response.headers["cache-control"] = (FOREVER if lasting else CHECKED).decode()
        return response


def _is_listed(path: str) -> bool:
    if ".." in path or "//" in path:
        return False
    return path == "/favicon.ico" or any(
        known.fullmatch(path) is not None for known in (DRAWN_GET, DRAWN_POST)
    )


def _plain(scope: Scope) -> Scope:
    """Take compression off a request: it costs more than it saves on the own machine."""
    headers = [(key, value) for key, value in scope["headers"] if key != b"accept-encoding"]
    return dict(scope, headers=headers)


def _lasting(path: str, send: Send) -> Send:
    """Let browsers keep what never changes, and ask again for the rest."""
    lasts = UNCHANGING.fullmatch(path) is not None

    async def send_lasting(message: Message) -> None:
        if lasts and message["type"] == "http.response.start" and message["status"] < 300:
            headers = [(k, v) for k, v in message["headers"] if k.lower() != b"cache-control"]
            message = {**message, "headers": [*headers, (b"cache-control", FOREVER)]}
        await send(message)

    return send_lasting


async def _collect(app: ASGIApp, scope: Scope, receive: Receive) -> tuple[int, str]:
    """Ask an app for a whole answer; returns its status and its text."""
    status, parts = 500, []

    async def keep(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        else:
            parts.append(message.get("body", b""))

    await app(scope, receive, keep)
    return status, b"".join(parts).decode()


def placed(html: str, static_path: str, root_path: str) -> str:
    """Return a page of ours with its addresses below the root, and its files under their digest."""
    html = html.replace(f'"{STATIC_PATH}', f'"{root_path}{static_path}')
    return BASE.sub(f'<base href="{root_path}/" />', html, count=1)


def embedded(strings: str, name: str = "strings") -> str:
    """Return the element in which the scripts find JSON, such as that of all visible strings."""
    # "</" would end the script element; JSON may write it with an escaped slash.
    text = json.dumps(json.loads(strings), ensure_ascii=False, separators=(",", ":"))
    text = text.replace("</", "<\\/").replace("<!--", "<\\u0021--")
    return f'<script type="application/json" id="{name}">{text}</script>'


def _between(text: str, marks: tuple[str, str]) -> str:
    start, end = text.index(marks[0]) + len(marks[0]), text.index(marks[1])
    return text[start:end]
