"""A provider of OpenID Connect on the loopback: everybody is let in at once, as whom the test says.

It checks what a good one checks (secret, code, redirect address, PKCE) and lies as it is told to.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
import warnings
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

SECRET = "a secret: of both / %2F"  # noqa: S105 - of nobody
CLIENT = "hearth:side"
HUGE = 2_000_000


def encoded(raw: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class OidcProvider:
    """One provider.

    Attributes:
        subject: Who comes next.
        claims: What is said of them in the token.
        profile: What is said of them by the userinfo endpoint.
        lie: How it is not as it must be; empty where it is.
        asked: Paths that were asked for, in order.
    """

    def __init__(self) -> None:
        self.key = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})
        self.other_key = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.weak_key = RSAKey.generate_key(1024, {"kid": "one", "use": "sig"})
        self.subject = "subject-1"
        self.claims: dict[str, Any] = {}
        self.profile: dict[str, Any] = {}
        self.lie = ""
        self.error = ""
        self.asked: list[str] = []
        self.codes: dict[str, dict[str, str]] = {}
        handler = type("BoundHandler", (Handler,), {"provider": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.issuer = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def discovery(self) -> dict[str, Any]:
        found = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize?tenant=1",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "response_types_supported": ["code"],
            "authorization_response_iss_parameter_supported": True,
        }
        match self.lie:
            case "other issuer":
                found["issuer"] = f"{self.issuer}/"
            case "plain http":
                found["token_endpoint"] = found["issuer"].replace("127.0.0.1", "192.0.2.1")
            case "script":
                found["authorization_endpoint"] = "javascript:alert(1)"
            case "no keys":
                del found["jwks_uri"]
            case "post":
                found["token_endpoint_auth_methods_supported"] = ["client_secret_post"]
        return found

    def authorize(self, query: dict[str, str]) -> str:
        """Let somebody in; returns to where their browser goes."""
        assert query["response_type"] == "code"
        assert query["client_id"] == CLIENT
        assert query["code_challenge_method"] == "S256"
        assert query["tenant"] == "1"
        more = {"state": query["state"], "iss": self.issuer}
        if self.error:
            more["error"] = self.error
        else:
            more["code"] = secrets.token_urlsafe(16)
            self.codes[more["code"]] = query
        if self.lie == "other answers":
            more["iss"] = "https://login.example.org"
        return f"{query['redirect_uri']}?{urlencode(more)}"

    def come_back(self, url: str) -> str:
        """Do what a browser does that is sent to an address; returns where it is sent next."""
        query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        return self.authorize(query)

    def token(self, form: dict[str, str], login: str) -> dict[str, Any] | None:
        """Return the tokens for a code; None where it is none of that client."""
        wanted = self.codes.pop(form["code"], None)
        if wanted is None or wanted["redirect_uri"] != form["redirect_uri"]:
            return None
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        if encoded(digest) != wanted["code_challenge"]:
            return None
        if self.lie == "post":
            is_client = (form.get("client_id"), form.get("client_secret")) == (CLIENT, SECRET)
        else:
            name, _, secret = base64.b64decode(login.removeprefix("Basic ")).decode().partition(":")
            is_client = (unquote(name), unquote(secret)) == (CLIENT, SECRET)
        if not is_client:
            return None
        return {
            "access_token": "access-1",
            "token_type": "Bearer",
            "id_token": self.id_token(wanted),
        }

    def id_token(self, asked: dict[str, str]) -> str:
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "sub": self.subject,
            "aud": CLIENT,
            "iat": now,
            "exp": now + 300,
            "nonce": asked["nonce"],
            **({"auth_time": now} if "max_age" in asked else {}),
            **self.claims,
        }
        changes: dict[str, dict[str, Any]] = {
            "wrong nonce": {"nonce": "x" * 43},
            "no nonce": {"nonce": None},
            "number as nonce": {"nonce": 7},
            "wrong iss": {"iss": "https://login.example.org"},
            "wrong aud": {"aud": "another client"},
            "no aud": {"aud": None},
            "two aud": {"aud": [CLIENT, "another client"]},
            "wrong azp": {"aud": [CLIENT, "another client"], "azp": "another client"},
            "list as azp": {"azp": [CLIENT]},
            "expired": {"iat": now - 900, "exp": now - 600},
            "no exp": {"exp": None},
            "text as exp": {"exp": "tomorrow"},
            "future": {"iat": now + 900, "exp": now + 1800},
            "no sub": {"sub": None},
            "empty sub": {"sub": ""},
            "number as sub": {"sub": 7},
            "long sub": {"sub": "x" * 256},
            "no auth_time": {"auth_time": None},
            "old auth_time": {"auth_time": now - 900},
            "future auth_time": {"auth_time": now + 900},
            "text as auth_time": {"auth_time": str(now)},
            "true as auth_time": {"auth_time": True},
            "nan as auth_time": {"auth_time": float("nan")},
        }
        claims |= changes.get(self.lie, {})
        claims = {name: value for name, value in claims.items() if value is not None}
        return self.signed(claims)

    def signed(self, claims: dict[str, Any]) -> str:
        body = encoded(json.dumps(claims).encode())
        unsigned = encoded(json.dumps({"alg": "none"}).encode())
        head = encoded(json.dumps({"alg": "HS256", "kid": "one"}).encode())
        mac = hmac.digest(self.key.as_pem(private=False), f"{head}.{body}".encode(), "sha256")
        by_hand = {
            "alg none": f"{unsigned}.{body}.",
            "hs256": f"{head}.{body}.{encoded(mac)}",
            "no token": "x",
        }
        if self.lie in by_hand:
            return by_hand[self.lie]
        public = self.other_key.as_dict(private=False)
        changes: dict[str, tuple[dict[str, Any], RSAKey]] = {
            "own key in header": ({"jwk": public}, self.other_key),
            "foreign key": ({}, self.other_key),
            "unknown key": ({"kid": "two"}, self.other_key),
            "weak key": ({}, self.weak_key),
        }
        more, key = changes.get(self.lie, ({}, self.key))
        token = jwt.encode({"alg": "RS256", "kid": "one", **more}, claims, key)
        return token[:-20] if self.lie == "cut" else token

    def jwks(self) -> dict[str, Any]:
        key = self.weak_key if self.lie == "weak key" else self.key
        public = key.as_dict(private=False)
        # Keys that are for something else stand beside it, as in real life.
        odd = [{"kty": "oct", "kid": "one", "k": "c2VjcmV0"}, {"kty": "AKP"}, 7, {"kty": "RSA"}]
        encryption = ECKey.generate_key("P-256", {"use": "enc", "kid": "one"})
        return {"keys": [*odd, encryption.as_dict(private=False), public]}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    provider: OidcProvider

    def do_GET(self) -> None:
        provider, parts = self.provider, urlsplit(self.path)
        provider.asked.append(parts.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        match parts.path:
            case "/.well-known/openid-configuration":
                self._answer(200, provider.discovery())
            case "/jwks":
                if provider.lie == "keys down":
                    self._answer(500, {})
                elif provider.lie == "endless keys":
                    self._endless()
                else:
                    self._answer(200, provider.jwks())
            case "/authorize":
                self.send_response(303)
                self.send_header("location", provider.authorize(query))
                self.send_header("content-length", "0")
                self.end_headers()
            case "/userinfo":
                is_shown = self.headers["authorization"] == "Bearer access-1"
                self._answer(200 if is_shown else 401, provider.profile)
            case _:
                self._answer(404, {})

    def do_POST(self) -> None:
        provider = self.provider
        provider.asked.append(self.path)
        raw = self.rfile.read(int(self.headers["content-length"])).decode()
        form = {name: values[0] for name, values in parse_qs(raw).items()}
        tokens = provider.token(form, self.headers.get("authorization", ""))
        raws = {
            "huge": json.dumps({**(tokens or {}), "more": "x" * HUGE}).encode(),
            "not json": b"<html>",
            "deep": b"[" * 200_000,
            "list": b"[]",
            "no id_token": b'{"access_token": "x"}',
        }
        if provider.lie in raws:
            self._send(200, raws[provider.lie])
        elif provider.lie in {"slow", "trickle", "redirect", "hang up"}:
            self._stray()
        elif provider.lie == "error":
            self._answer(500, {"error": "server_error"})
        elif tokens is None:
            self._answer(400, {"error": "invalid_grant"})
        else:
            self._answer(200, tokens)

    def _stray(self) -> None:
        """Do anything but answer."""
        self.close_connection = True
        if self.provider.lie == "redirect":
            self.send_response(307)
            self.send_header("location", f"{self.provider.issuer}/elsewhere")
            self.send_header("content-length", "0")
            self.end_headers()
        elif self.provider.lie == "slow":
            time.sleep(1.5)
        elif self.provider.lie == "trickle":
            self._trickle()

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        self._send(status, json.dumps(body).encode())

    def _send(self, status: int, raw: bytes) -> None:
        with suppress(OSError):
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

    def _endless(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.close_connection = True
        with suppress(OSError):
            while True:
                self.wfile.write(b" " * 65536)

    def _trickle(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "1000")
        self.end_headers()
        self.close_connection = True
        with suppress(OSError):
            for _ in range(30):
                self.wfile.write(b" ")
                time.sleep(0.1)

    def log_message(self, *_: Any) -> None:
        pass
