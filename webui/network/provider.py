"""What is asked of an OpenID Connect provider over HTTP: who it is, its keys, a code for a token.

The one place that calls a provider: it follows no redirect, takes no proxy and no password from the
environment, and reads a bounded answer in bounded time. Nothing is asked before somebody signs in.
Knows addresses and JSON; what a token is worth is for `accounts` to say.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import httpx

from webui.errors import ProviderFailed
from webui.setting_values import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

WELL_KNOWN = "/.well-known/openid-configuration"
MAX_ANSWER_BYTES = 256 * 1024
TIMEOUT_S = 10.0
FRESH_S = 3600.0
FAILED_S = 5.0  # those who wait for one that is down are told at once
KEYS_PAUSE_S = 30.0  # strangers cannot make us ask for keys more often
LOOK = "Its administrator, or the log of the provider, knows more."


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where a provider does what.

    Attributes:
        authorization: To where people are sent.
        token: Takes a code, gives a token.
        keys: By which its signatures are checked.
        userinfo: Says more of a person; empty where it has none.
        takes_basic: The secret goes into a header, else into the body.
        names_itself: It says in each answer who it is (RFC 9207).
    """

    authorization: str
    token: str
    keys: str
    userinfo: str
    takes_basic: bool
    names_itself: bool


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a provider gives for a code."""

    id_token: str
    access_token: str


class Provider:
    """One provider.

    Args:
        issuer: Its address, written as it writes it itself.
        client_id: What it calls this server.
        timeout_s: Longest wait for one answer, all of it.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        issuer: str,
        client_id: str,
        *,
        timeout_s: float = TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.issuer, self.client_id = issuer, client_id
        self._host = urlsplit(issuer).netloc
        self._timeout_s = timeout_s
        self._clock = clock
        self._trust: ssl.SSLContext | None = None
        self._places: tuple[float, Places] | None = None
        self._keys: tuple[float, Mapping[str, Any]] | None = None
        self._failures: dict[str, tuple[float, ProviderFailed]] = {}
        self._lock = asyncio.Lock()

    async def places(self) -> Places:
        """Return where it does what; asked once an hour.

        Raises:
            ProviderFailed: It does not say, or is not who it is said to be.
        """
        async with self._lock:
            known, now_s = self._places, self._clock()
            if known is None or now_s - known[0] > FRESH_S:
                with self._remembering("places"):
                    found = await self._ask("GET", self.issuer.rstrip("/") + WELL_KNOWN)
                    known = self._places = (now_s, self._read_places(found))
            return known[1]

    async def keys(self, *, anew: bool = False) -> Mapping[str, Any]:
        """Return its keys, as JWKS; asked once an hour.

        Args:
            anew: A token names a key that is not among them: they may have been changed.

        Raises:
            ProviderFailed: It does not say.
        """
        places = await self.places()
        async with self._lock:
            known, now_s = self._keys, self._clock()
            limit_s = KEYS_PAUSE_S if anew else FRESH_S
            if known is None or now_s - known[0] > limit_s:
                with self._remembering("keys"):
                    known = self._keys = (now_s, await self._ask("GET", places.keys))
            return known[1]

    async def exchange(
        self, code: str, *, secret: str | None, verifier: str, redirect_uri: str
    ) -> Tokens:
        """Return the tokens for a code.

        Args:
            code: That the person's browser brought.
            secret: That the provider gave this server, if it did.
            verifier: Whose challenge the code was asked with (PKCE).
            redirect_uri: As the code was asked with.

        Raises:
            ProviderFailed: It gives none.
        """
        places = await self.places()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        login = None
        if secret is not None and places.takes_basic:
            # RFC 6749, 2.3.1: both are encoded as in forms before they become a header.
            login = httpx.BasicAuth(quote(self.client_id, safe=""), quote(secret, safe=""))
        else:
            form["client_id"] = self.client_id
            form |= {} if secret is None else {"client_secret": secret}
        answer = await self._ask("POST", places.token, form=form, login=login)
        id_token, access_token = answer.get("id_token"), answer.get("access_token", "")
        if not isinstance(id_token, str) or not isinstance(access_token, str):
            raise self._failed("gave no id_token", "Its client must be one of OpenID Connect.")
        return Tokens(id_token, access_token)

    async def userinfo(self, access_token: str) -> Mapping[str, Any]:
        """Return what it says of a person; empty where it says nothing.

        Raises:
            ProviderFailed: It does not answer.
        """
        places = await self.places()
        if not places.userinfo or not access_token.isascii() or not access_token.isprintable():
            return {}
        return await self._ask("GET", places.userinfo, bearer=access_token)

    @contextlib.contextmanager
    def _remembering(self, what: str) -> Iterator[None]:
        """Remember a failure for a while, and tell it to who comes meanwhile without asking."""
        at_s, before = self._failures.get(what, (0.0, None))
        if before is not None and self._clock() - at_s < FAILED_S:
            raise ProviderFailed(before.message, before.hint)
        try:
            yield
        except ProviderFailed as error:
            self._failures[what] = (self._clock(), error)
            raise

    def _read_places(self, found: Mapping[str, Any]) -> Places:
        if found.get("issuer") != self.issuer:
            raise self._failed(
                f"calls itself {str(found.get('issuer'))[:200]}",
                "Write oidc_issuer exactly so, to the last slash.",
            )
        ways = found.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        return Places(
            authorization=self._endpoint(found, "authorization_endpoint"),
            token=self._endpoint(found, "token_endpoint"),
            keys=self._endpoint(found, "jwks_uri"),
            userinfo=self._endpoint(found, "userinfo_endpoint") if _has_userinfo(found) else "",
            takes_basic=isinstance(ways, list) and "client_secret_basic" in ways,
            names_itself=found.get("authorization_response_iss_parameter_supported") is True,
        )

    def _endpoint(self, found: Mapping[str, Any], name: str) -> str:
        """Return an address that it names; over https, as its own is."""
        value = found.get(name)
        try:
            parts = urlsplit(value if isinstance(value, str) else "")
            is_here = is_loopback(parts.hostname or "") and is_loopback(
                urlsplit(self.issuer).hostname or ""
            )
        except ValueError:
            parts, is_here = urlsplit(""), False
        is_safe = parts.scheme == "https" or (parts.scheme == "http" and is_here)
        if not isinstance(value, str) or not is_safe or not parts.hostname:
            raise self._failed(f"names no good {name}", "It must be an https address.")
        return value

    async def _ask(
        self,
        method: str,
        address: str,
        *,
        form: Mapping[str, str] | None = None,
        login: httpx.Auth | None = None,
        bearer: str | None = None,
    ) -> Mapping[str, Any]:
        headers = {"accept": "application/json", "accept-encoding": "identity"}
        headers |= {} if bearer is None else {"authorization": f"Bearer {bearer}"}
        try:
            async with asyncio.timeout(self._timeout_s), await self._client() as client:
                request = client.build_request(method, address, data=form, headers=headers)
                answer = await client.send(request, stream=True, auth=login)
                raw = b""
                # Raw, since a small answer may unpack to a huge one.
                async for piece in answer.aiter_raw():
                    raw += piece
                    if len(raw) > MAX_ANSWER_BYTES:
                        raise self._failed("gave an answer that is far too long", LOOK)
        except TimeoutError as error:
            raise self._failed("did not answer in time", "Try again in a moment.") from error
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError) as error:
            raise self._failed(
                f"cannot be reached ({type(error).__name__})",
                "Try again in a moment; the server that runs Hearthside must reach it.",
            ) from error
        return self._read(answer.status_code, raw)

    async def _client(self) -> httpx.AsyncClient:
        if self._trust is None:  # read from many files, which takes a while
            self._trust = await asyncio.to_thread(ssl.create_default_context)
        return _client(self._trust)

    def _read(self, status: int, raw: bytes) -> Mapping[str, Any]:
        try:
            found = json.loads(raw)
        except (ValueError, RecursionError):
            found = None
        if status != 200:
            word = found.get("error") if isinstance(found, dict) else None
            word = word[:60] if isinstance(word, str) and word.isascii() else ""
            raise self._failed(f"answered with {status} {word}".rstrip(), LOOK)
        if not isinstance(found, dict):
            raise self._failed("gave an answer that is not JSON", LOOK)
        return found

    def _failed(self, said: str, hint: str) -> ProviderFailed:
        return ProviderFailed(f"the sign-in provider at {self._host} {said}", hint)


def _has_userinfo(found: Mapping[str, Any]) -> bool:
    return found.get("userinfo_endpoint") is not None


def _client(trust: ssl.SSLContext) -> httpx.AsyncClient:
    # The authorities that the machine trusts, so that a provider of the household may have its own.
    return httpx.AsyncClient(
        verify=trust,
        trust_env=False,
        follow_redirects=False,
        timeout=httpx.Timeout(TIMEOUT_S),
        limits=httpx.Limits(max_connections=4),
    )
