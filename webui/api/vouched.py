"""Who comes by the word of a trusted proxy: their browser is signed in when it opens the page.

Pure ASGI, between the gate and the door. What follows is a sign-in as any other, with its cookie,
its place in the list and its end, so that nothing behind has to know of proxies. Only as long as
the proxy names the same person: else the cookie counts for nothing, whoever it was of.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from starlette.responses import Response

from webui.accounts.names import MAX_NAME_CHARS, is_same, key_of
from webui.api.door import (
    BROWSER_COOKIE,
    COOKIE,
    TICKET,
    keep_token,
    keys_of,
    looking,
    proxy_user_in,
    sender_of,
    token_of,
)
from webui.api.forwarded import without
from webui.api.page import PAGE
from webui.api.traffic import PROXY_SIGN_IN
from webui.errors import WebuiError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from webui.api.traffic import Traffic
    from webui.runtime import Runtime

WORD = re.compile(r"[A-Za-z0-9_-]{1,100}")


class Vouched:
    """Sign in whom the proxy names; a request that shows an API key is left as it is.

    Args:
        app: What lies behind.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request.

        Raises:
            TooManyRequests: Too many cookies that nobody knows came from there.
        """
        name = proxy_user_in(scope) if scope["type"] == "http" else None
        runtime: Runtime | None = scope["app"].state.runtime if name is not None else None
        if name is None or runtime is None or not runtime.accounts.is_claimed:
            await self._app(scope, receive, send)
            return
        headers, sender = scope["headers"], sender_of(scope)
        if keys_of(headers):
            await self._app(scope, receive, send)
            return
        token = token_of(headers)
        with looking(scope, token, sender):
            before = await runtime.accounts.identify(token, sender, is_local=False)
        if before is None or not is_same(before.actor.name, name):
            scope = {**scope, "headers": [*without(headers, (b"cookie",)), *_on_the_way(headers)]}
            if scope["method"] == "GET" and PAGE.fullmatch(scope["path"]):
                try:
                    with _counted(scope, name):
                        signed_in = await runtime.proxy_sign_in.sign_in(name, sender)
                except WebuiError as error:
                    answer = scope["app"].state.page.refusal(error, scope)
                    await answer(scope, receive, send)
                    return
                if before is not None:
                    await runtime.accounts.sign_out(before)
                scope["headers"].append((b"cookie", f"{COOKIE}={signed_in.token}".encode()))
                send = _keeping(signed_in.token, scope, runtime.settings.root_path, send)
        await self._app(scope, receive, send)


def _counted(scope: Scope, name: str) -> AbstractContextManager[None]:
    """Count a sign-in of somebody: a program that keeps no cookie would begin one each time.

    Raises:
        TooManyRequests: On entering, where it is one too many.
    """
    traffic: Traffic = scope["app"].state.traffic
    key = f"proxy {key_of(name[: 2 * MAX_NAME_CHARS])}"
    return traffic.request(key, "GET", PROXY_SIGN_IN)


def _on_the_way(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the cookies of a way in that was begun; they say nothing of who somebody is."""
    words = {name: token_of(headers, name) or "" for name in (TICKET, BROWSER_COOKIE)}
    # Words of ours alone: another one might be read as a second cookie.
    kept = [f"{name}={word}" for name, word in words.items() if WORD.fullmatch(word)]
    return [(b"cookie", "; ".join(kept).encode())] if kept else []


def _keeping(token: str, scope: Scope, root_path: str, send: Send) -> Send:
    """Have the browser keep the token with the answer that it gets, which is for nobody else."""
    response = Response()
    keep_token(response, token, scope, root_path)
    cookies = [one for one in response.raw_headers if one[0] == b"set-cookie"]

    async def send_with_cookie(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = without(message["headers"], (b"cache-control",))
            headers += [*cookies, (b"cache-control", b"no-store")]
            message = {**message, "headers": headers}
        await send(message)

    return send_with_cookie
