"""Who comes by the word of a trusted proxy: their browser is signed in when it opens the page.

Pure ASGI, between the gate and the door. What follows is a sign-in as any other, with its cookie,
its place in the list and its end, so that nothing behind has to know of proxies. Only as long as
the proxy names the same person: else the cookie counts for nothing, whoever it was of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response

from webui.accounts.names import is_same
from webui.api.door import COOKIE, keep_token, keys_of, sender_of, token_of
from webui.api.forwarded import without
from webui.api.page import PAGE
from webui.errors import WebuiError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from webui.runtime import Runtime


class Vouched:
    """Sign in whom the proxy names; a request that shows an API key is left as it is.

    Args:
        app: What lies behind.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
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
        before = await runtime.accounts.identify(token, sender, is_local=False) if token else None
        if before is None or not is_same(before.actor.name, name):
            scope = {**scope, "headers": without(headers, (b"cookie",))}
            if scope["method"] == "GET" and PAGE.fullmatch(scope["path"]):
                try:
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


def proxy_user_in(scope: Scope) -> str | None:
    """Return whom a trusted proxy names; None where none does."""
    name: str | None = scope.get("state", {}).get("proxy_user")
    return name


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
