"""Who it is, before any route: whoever is nobody gets no further than what is public.

Pure ASGI, behind the gate. Knows cookies, keys in headers and the few public paths; what a token or
key is worth is for `accounts` to say, what a key opens stands in `key_scope`. Shut by default: a
route that nobody thought of is not open.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.responses import RedirectResponse

from webui.accounts.identity import Identity, Sender, Source, device_of
from webui.accounts.known_keys import InvalidApiKey
from webui.accounts.throttle import network_of
from webui.api.key_scope import check_scope
from webui.api.page import FIRST_RUN, PAGE, SIGN_IN
from webui.errors import NotAuthenticated, PermissionDenied

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager

    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from webui.accounts.accounts import Accounts
    from webui.api.traffic import Traffic

COOKIE = "hearthside"
COOKIE_S = 400 * 24 * 3600  # the most that browsers keep; the server says when it is over
TICKET = "hearthside-passkey"
TICKET_S = 300
BROWSER_COOKIE = "hearthside_oidc"
# What strangers may ask for: how the server is, its certificate, and the way in.
PUBLIC = frozenset(
    {
        *("/health", "/ca.crt", "/favicon.ico", SIGN_IN, FIRST_RUN),
        *("/api/session", "/api/first-run", "/api/oidc", "/oidc/callback"),
        *("/api/session/passkey", "/api/session/passkey/options"),
    }
)
PUBLIC_FILES = "/ui/"
UNCOUNTED = frozenset({"/health", "/favicon.ico"})
# What goes before a password that somebody else chose is changed.
BEFORE_CHANGE = PUBLIC | {"/api/me", "/api/me/password"}


class PasswordChangeRequired(PermissionDenied):
    """An administrator chose the password; nothing else goes before it is changed."""

    code = "password_change_required"


class Door:
    """Say to everything behind who it is, and keep strangers out.

    Args:
        app: What lies behind.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request.

        Raises:
            NotAuthenticated: It comes from nobody, and is not for the public; the API key is wrong.
            PasswordChangeRequired: Something else goes before.
            PermissionDenied: The API key does not open this.
            TooManyAttempts: Too many wrong keys came from there.
            TooManyRequests: Whoever it is asks for too much at once.
        """
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        runtime = scope["app"].state.runtime
        accounts: Accounts = runtime.accounts
        state = scope.setdefault("state", {})
        state["sender"] = sender = sender_of(scope)
        identity = await _identify(scope, sender, accounts)
        state["identity"] = identity
        with _counted(scope, identity, sender):
            await self._serve(identity, scope, receive, send)

    async def _serve(
        self, identity: Identity | None, scope: Scope, receive: Receive, send: Send
    ) -> None:
        runtime, path = scope["app"].state.runtime, scope["path"]
        if identity is None or identity.must_change_password:
            root_path = runtime.settings.root_path
            answer = _stop(scope, identity, root_path, runtime.accounts)
            if answer is not None:
                await answer(scope, receive, send)
                return
        if identity is None or path.startswith(PUBLIC_FILES):
            await self._app(scope, receive, send)
        else:
            await _Line(identity, receive, send).serve(self._app, scope)


def _counted(
    scope: Scope, identity: Identity | None, sender: Sender
) -> AbstractContextManager[None]:
    """Count a request for as long as it is served; not files of ours, nor who sits here.

    Raises:
        TooManyRequests: On entering, where it is one too many.
    """
    path = scope["path"]
    is_local = identity is not None and identity.source is Source.LOCAL
    if is_local or path in UNCOUNTED or path.startswith(PUBLIC_FILES):
        return contextlib.nullcontext()
    key = f"user {identity.actor.user_id}" if identity else _address_key(sender)
    traffic: Traffic = scope["app"].state.traffic
    return traffic.request(key, scope["method"], path)


def looking(scope: Scope, token: str | None, sender: Sender) -> AbstractContextManager[None]:
    """Count the look for a token at the database, by address; there is none where it is known.

    Raises:
        TooManyRequests: On entering, where it is one too many.
    """
    accounts: Accounts = scope["app"].state.runtime.accounts
    if token is None or not accounts.is_claimed or accounts.sessions.is_known(token):
        return contextlib.nullcontext()
    traffic: Traffic = scope["app"].state.traffic
    return traffic.request(_address_key(sender), scope["method"], "")


def _address_key(sender: Sender) -> str:
    return f"address {network_of(sender.address)}"


async def _identify(scope: Scope, sender: Sender, accounts: Accounts) -> Identity | None:
    """Return who it is; where a key is shown, no cookie is looked at.

    Raises:
        InvalidApiKey: The key is no good.
        PermissionDenied: It does not open this path.
        TooManyAttempts: Too many wrong ones came from there.
        TooManyRequests: Too many cookies that nobody knows came from there.
    """
    path, headers = scope["path"], scope["headers"]
    keys = keys_of(headers)
    if not keys or not accounts.is_claimed:  # editors show a key that stands for none
        token = None if keys else token_of(headers)
        with looking(scope, token, sender):
            return await accounts.identify(token, sender, is_local=_is_local(sender.address))
    if path in PUBLIC or path.startswith(PUBLIC_FILES):
        return None
    if len(keys) > 1:
        raise InvalidApiKey("two different API keys were sent", "Send one.")
    identity = await accounts.keys.identify(keys.pop(), sender)
    check_scope(identity.scope, path)
    return identity


def _stop(
    scope: Scope, identity: Identity | None, root_path: str, accounts: Accounts
) -> Response | None:
    """Return where a browser must go first; None lets the request through.

    Raises:
        NotAuthenticated: It comes from nobody.
        PasswordChangeRequired: The password must be changed first.
    """
    path = scope["path"]
    is_open = path in (PUBLIC if identity is None else BEFORE_CHANGE)
    if is_open or path.startswith(PUBLIC_FILES):
        return None
    if PAGE.fullmatch(path) and scope["method"] in {"GET", "HEAD"}:
        way = SIGN_IN if accounts.is_claimed else FIRST_RUN
        where = "" if path == "/" else f"?next={quote(path, safe='')}"
        return RedirectResponse(f"{root_path}{way}{where}", 303, {"cache-control": "no-store"})
    if identity is not None:
        raise PasswordChangeRequired(
            "the password must be changed first", "Open the page in a browser to do that."
        )
    raise NotAuthenticated(
        "nobody is signed in",
        "Sign in on the page."
        if accounts.is_claimed
        else "Make the administrator first: the server printed an address and a code for it.",
    )


class _Line:
    """What comes in and goes out of one request; cut when whoever sent it is shut out."""

    def __init__(self, identity: Identity, receive: Receive, send: Send) -> None:
        self._ended = identity.ended
        self._is_key = identity.source is Source.API_KEY
        self._receive = receive
        self._send = send
        self._is_read = False
        self._has_begun = False
        self._is_over = False
        self._is_cut = False

    async def serve(self, app: ASGIApp, scope: Scope) -> None:
        """Serve the request to its end, or to that of the sign-in.

        Raises:
            NotAuthenticated: It was cut before the answer began.
        """
        await app(scope, self._take, self._give)
        if not self._is_cut or self._is_over:
            return
        if not self._has_begun and self._is_key:
            raise InvalidApiKey("the API key was revoked meanwhile, or ran out", "Make a new one.")
        if not self._has_begun:
            raise NotAuthenticated("the sign-in was ended meanwhile", "Sign in anew.")
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _take(self) -> Message:
        """Return what comes next; only those who listen on after the body hear of the end."""
        if not self._is_read:
            message = await self._receive()
            self._is_read = not message.get("more_body", False)
            return message
        more = asyncio.ensure_future(self._receive())
        ended = asyncio.ensure_future(self._ended.wait())
        try:
            await asyncio.wait({more, ended}, return_when=asyncio.FIRST_COMPLETED)
            if more.done():
                return more.result()
            self._is_cut = True
            return {"type": "http.disconnect"}
        finally:
            for task in (more, ended):
                task.cancel()

    async def _give(self, message: Message) -> None:
        self._has_begun = True
        if message["type"] == "http.response.body":
            self._is_over = not message.get("more_body", False)
        await self._send(message)


def identity_in(scope: Scope) -> Identity:
    """Return who a request comes from.

    Raises:
        NotAuthenticated: From nobody.
    """
    identity: Identity | None = scope["state"]["identity"]
    if identity is None:
        raise NotAuthenticated("nobody is signed in", "Sign in on the page.")
    return identity


def sender_of(scope: Scope) -> Sender:
    """Return from where a request comes, after the gate took the words of proxies off it."""
    address = (scope.get("client") or ("",))[0]
    agent = next((value for key, value in scope["headers"] if key == b"user-agent"), b"")
    return Sender(address, device_of(agent.decode("latin-1")[:1000]), proxy_user_in(scope))


def proxy_user_in(scope: Scope) -> str | None:
    """Return whom a trusted proxy names; None where none does."""
    name: str | None = scope.get("state", {}).get("proxy_user")
    return name


def token_of(headers: Iterable[tuple[bytes, bytes]], name: str = COOKIE) -> str | None:
    """Return the token in the cookies; None where there is none, or not exactly one."""
    tokens = []
    for key, value in headers:
        if key == b"cookie":
            try:
                jar: SimpleCookie = SimpleCookie(value.decode("latin-1"))
            except CookieError:
                continue
            tokens += [jar[name].value] if name in jar else []
    return tokens[0] if len(tokens) == 1 else None


def keys_of(headers: Iterable[tuple[bytes, bytes]]) -> set[str]:
    """Return the API keys in the headers; `Authorization: Bearer` and `x-api-key` are the same."""
    keys = set()
    for name, value in headers:
        text = value.decode("latin-1").strip()
        scheme, _, credentials = text.partition(" ")
        if name == b"x-api-key":
            keys.add(text)
        elif name == b"authorization" and scheme.lower() == "bearer":
            keys.add(credentials.strip())
    return keys


def keep_token(response: Response, token: str, scope: Scope, root_path: str) -> None:
    """Have the browser show a token with every request to us, and to no script."""
    response.set_cookie(COOKIE, token, max_age=COOKIE_S, **_cookie(scope, root_path))


def drop_token(response: Response, scope: Scope, root_path: str) -> None:
    """Have the browser forget its token."""
    response.delete_cookie(COOKIE, **_cookie(scope, root_path))


def _cookie(scope: Scope, root_path: str) -> dict[str, Any]:
    return {
        "path": root_path or "/",
        "secure": scope.get("scheme") == "https",
        "httponly": True,
        "samesite": "lax",
    }


def keep_ticket(response: Response, ticket: str, scope: Scope, root_path: str) -> None:
    """Have the browser show a ticket again, while the passkey that it asked for may come."""
    response.set_cookie(TICKET, ticket, max_age=TICKET_S, **_cookie(scope, root_path))


def drop_ticket(response: Response, scope: Scope, root_path: str) -> None:
    """Have the browser forget its ticket."""
    response.delete_cookie(TICKET, **_cookie(scope, root_path))


def _is_local(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_loopback
