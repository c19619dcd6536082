"""Whatever a client writes into whichever field: an answer or a refusal, never a server error.

Routes, paths and queries come from our own OpenAPI, names of body fields from the models that read
them. The whole app on a real database, with the made-up model, asked by the local user of a server
without accounts, by a user and by an administrator; wishes that go together badly with a tiny
model. The same requests in every run.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import pytest
from argon2 import PasswordHasher
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from tests.tiny_gguf import write_tiny_gguf
from webui.accounts import passwords
from webui.accounts.identity import Sender
from webui.api import (
    admin,
    conversations,
    defaults,
    first_run,
    groups,
    keys,
    limits,
    me,
    oidc,
    passkeys,
    server_prompt,
    session,
    shares,
    users,
)
from webui.api.deps import body_of
from webui.api.door import COOKIE
from webui.api.models import LoadBody, LoraBody, LoraScale
from webui.api.openai.chat_request import ChatRequest
from webui.api.openai.text_request import TextRequest
from webui.api.openai.vectors import EmbeddingsRequest, RerankRequest
from webui.app import create_app
from webui.sampling_params import SamplingParams
from webui.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from fastapi import FastAPI
    from pydantic import BaseModel

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

NUM_EXAMPLES = 150
NUM_EXAMPLES_IN_FULL = 5000
SAMPLE, SAMPLE_OF_MODEL = 5, 25
PATIENCE_S = 60  # nothing waits so long but a bug
EVENTS = "/api/events"
HI = [{"role": "user", "content": "hi"}]
PASSWORD = "four words in a row"  # noqa: S105 - of nobody
MAY_BE_401 = ("/api/session", "/api/first-run", "/api/me/password")
UNLIKE_OTHERS = {
    "POST /api/models/unload": "takes the model from all requests behind it",
    "POST /api/models/starter": "fetches a file from another server",
    "POST /api/admin/backups": "copies the whole database each time",
}


@dataclass(frozen=True)
class Body:
    """What a route reads: an example of it, and all its fields."""

    example: dict[str, Any]
    models: tuple[type[BaseModel], ...]

    def names(self) -> list[str]:
        """Return the names under which fields are sent."""
        fields = [field for model in self.models for field in model.model_fields.items()]
        return sorted({info.alias or name for name, info in fields})


TURN = (
    conversations.SendBody,
    conversations.RetryBody,
    conversations.ContinueBody,
    conversations.EditBody,
)
CONVERSATION = "/api/conversations/{conversation_id}"
BODIES = {
    "POST /v1/chat/completions": Body({"messages": HI, "max_tokens": 4}, (ChatRequest,)),
    "POST /v1/completions": Body({"prompt": "hi", "max_tokens": 4}, (TextRequest,)),
    "POST /v1/embeddings": Body({"input": "hi"}, (EmbeddingsRequest,)),
    "POST /v1/rerank": Body({"query": "a", "documents": ["b"]}, (RerankRequest,)),
    "PUT /api/parameters": Body({}, (SamplingParams,)),
    "PATCH /api/parameters": Body({}, (SamplingParams,)),
    "POST /api/models/load": Body({"model_id": "broken.gguf"}, (LoadBody,)),
    "PUT /api/models/lora": Body({"lora": []}, (LoraBody, LoraScale)),
    "POST /api/session": Body({"name": "a", "password": "b"}, (session.SignInBody,)),
    "POST /api/oidc": Body({}, (oidc.BeginBody,)),
    "POST /api/confirmation/provider": Body({}, (oidc.BeginBody,)),
    "POST /api/confirmation/passkey": Body(
        dict.fromkeys(passkeys.AssertionBody.model_fields, "AA"), (passkeys.AssertionBody,)
    ),
    "POST /api/oidc/link": Body({"password": "a"}, (oidc.LinkBody,)),
    "POST /api/first-run": Body(
        {"code": "a", "name": "b", "password": "c"}, (first_run.ClaimBody,)
    ),
    "POST /api/session/passkey": Body(
        dict.fromkeys(passkeys.AssertionBody.model_fields, "AA"), (passkeys.AssertionBody,)
    ),
    "POST /api/passkeys/options": Body({"name": "a", "password": "b"}, (passkeys.BeginBody,)),
    "POST /api/passkeys": Body(
        dict.fromkeys(passkeys.AttestationBody.model_fields, "AA"), (passkeys.AttestationBody,)
    ),
    "PATCH /api/passkeys/{passkey_id}": Body({"name": "a"}, (passkeys.NameBody,)),
    "PUT /api/me/password": Body({"old": "a", "new": "b"}, (me.PasswordBody,)),
    "DELETE /api/me": Body({"password": "a"}, (me.DeleteBody,)),
    "POST /api/users": Body({"name": "a"}, (users.AddBody,)),
    "PATCH /api/users/{user_id}": Body({}, (users.ChangeBody,)),
    "POST /api/users/{user_id}/password": Body({}, (users.ResetBody,)),
    "PUT /api/users/{user_id}/limits": Body({"limits": {}}, (limits.LimitsBody,)),
    "PUT /api/limits": Body({"limits": {}}, (limits.LimitsBody,)),
    "PUT /api/defaults": Body({"role": "user"}, (defaults.DefaultsBody,)),
    "POST /api/groups": Body({"name": "a"}, (groups.AddBody,)),
    "PATCH /api/groups/{group_id}": Body({}, (groups.ChangeBody,)),
    "POST /api/keys": Body({"name": "a"}, (keys.MakeBody,)),
    "PUT /api/admin/banner": Body({"banner": "a"}, (admin.BannerBody,)),
    "PUT /api/server-prompt": Body({"server_prompt": "a"}, (server_prompt.ServerPromptBody,)),
    "PUT /api/admin/reading": Body({"is_on": False}, (admin.ReadingBody,)),
    "POST /api/shares": Body({"conversation_id": "x", "everybody": True}, (shares.ShareBody,)),
    "POST /api/conversations": Body({}, (conversations.CreateBody,)),
    f"PATCH {CONVERSATION}": Body({}, (conversations.ChangeBody,)),
    f"POST {CONVERSATION}/messages": Body({"mode": "send", "text": "hi"}, TURN),
}
WITHOUT_BODY = {
    "POST /api/session/passkey/options",
    "POST /api/confirmation/passkey/options",
    f"POST {CONVERSATION}/restore",
    "POST /api/shares/received/{share_id}/copy",
    "POST /api/generations/{generation_id}/stop",
    "POST /api/jobs/{job_id}/cancel",
    "POST /api/models/cancel",
    *UNLIKE_OTHERS,
}

# In one JSON text each: some of them can be sent only so.
NASTY = [
    *("null", "true", "false", "0", "-1", "1", "2", "-0.0", "0.5", "1e308", "-1e308", "1e-320"),
    *("NaN", "Infinity", "-Infinity", "1e999", "4294967295", "2147483648", "-9223372036854775809"),
    *("1" + "0" * 400, "-" + "9" * 5000, '""', '"0"', '"true"', '"\\u0000"', '"\\ud83d\\ude42"'),
    *('"' + "x" * 5000 + '"', "[]", "{}", "[[]]", "[{}]", "[null]", "[0]", '[""]', '["a"]'),
    *("[" * 60 + "]" * 60, '{"a":' * 60 + "0" + "}" * 60, "[" + "0," * 3000 + "0]"),
    *("[[1, 2]]", "[[1, false]]", "[[1, NaN]]", '{"1": 1}', '{"1": 1e999}', '{"x": false}'),
    *('{"": {"": []}}', '{"type": "json_object"}', '{"type": "json_schema", "json_schema": {}}'),
    *('{"type": "text", "schema": 5}', '[{"role": "assistant", "content": null}]'),
    *('[{"role": "user", "content": [{"type": "text", "text": "\\u0000"}]}]', '{"text": 5}'),
    *('"root ::= root"', '"root ::= \\"a\\""', '"root ::= [^]"', '"\\u2028,\\n,temperature"'),
]
WORDS = (
    *("type", "role", "content", "user", "assistant", "text", "schema", "json_schema", "object"),
    *("properties", "required", "enum", "const", "items", "$ref", "#", "#/$defs/a", "$defs", "a"),
    *(
        "minimum",
        "maxLength",
        "pattern",
        "^(a|b)*$",
        "string",
        "integer",
        "array",
        "anyOf",
        "value",
    ),
    *("token", "include_usage", "1", "-1", "9" * 30, "temperature", "top_k", "drop_oldest", "send"),
    *("mode", "retry", "local", "root ::= ", '"a"', "[a-z]{1,3}", "\\uD800", "\0", "😀", ""),
)
TEXTS = (
    st.text(max_size=8)
    | st.sampled_from(WORDS)
    | st.lists(st.sampled_from(WORDS), max_size=4).map("".join)
)
NUMBERS = st.integers(-3, 9) | st.integers() | st.floats() | st.sampled_from((2**31, 2**64, 10**40))
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=10,
)


class Server:
    """The app that is asked, in an event loop of its own.

    Args:
        app: The app.
        loop: Where it lives.
        who: Asks; the local user where there are no accounts.

    Attributes:
        conversation_id: Of a conversation that is there.
    """

    def __init__(self, app: FastAPI, loop: asyncio.Runner, who: str = "") -> None:
        self.app = app
        self.who = who
        self._loop = loop
        self._token = ""
        self._ids = {"user_id": "local", "group_id": "x"}
        if who:
            self._settle()
        made = self._value("POST", "/api/conversations", {})
        self.conversation_id: str = made["conversation"]["id"]

    def path_of(self, operation: str) -> str:
        """Return the path of a route with ids of what is there."""
        path = operation.split()[1].replace("{conversation_id}", self.conversation_id)
        for name, value in self._ids.items():
            path = path.replace(f"{{{name}}}", value)
        return path

    def ask(self, method: str, path: str, query: str = "", body: str = "") -> tuple[int, bytes]:
        """Return status and body of an answer; of events only what comes at once.

        Who signed themselves out by what they asked signs in again.
        """
        status, answer = self._loop.run(self._ask(method, path, query, body.encode()))
        if self.who and not self.is_signed_in():
            self._sign_in()
        return status, answer

    def every(self, operation: str, *, soak: bool) -> int:
        """Return of how many tries one is made: with accounts a sample of those without.

        What a model is asked is judged by the same code for everybody.
        """
        if not self.who or soak:
            return 1
        return SAMPLE_OF_MODEL if "/v1/" in operation or "parameters" in operation else SAMPLE

    def is_signed_in(self) -> bool:
        """Whether who asks is known."""
        identity = self.app.state.runtime.accounts.identify(self._token, Sender(), is_local=True)
        return self._loop.run(identity) is not None

    def _settle(self) -> None:
        """Make an administrator, the user and somebody who is changed by what is asked."""
        first = {"code": self.app.state.runtime.accounts.first_run_code}
        self._value("POST", "/api/first-run", first | {"name": "Ann", "password": PASSWORD})
        asks, self.who = self.who, "Ann"
        self._sign_in()
        for name in ("Bob", "Cid"):
            body = {"name": name, "password": PASSWORD}
            made = self._value("POST", "/api/users", body)
            self._ids["user_id"] = made["user"]["id"]
        made = self._value("POST", "/api/groups", {"name": "People"})
        self._ids["group_id"] = made["group"]["id"]
        self.who = asks
        self._sign_in()

    def _sign_in(self) -> None:
        body = {"name": self.who, "password": PASSWORD}
        self._token = ""
        self._value("POST", "/api/session", body)

    def _value(self, method: str, path: str, body: object) -> dict[str, Any]:
        status, answer = self._loop.run(self._ask(method, path, "", json.dumps(body).encode()))
        assert status < 300, answer
        return dict(json.loads(answer))

    async def _ask(self, method: str, path: str, query: str, body: bytes) -> tuple[int, bytes]:
        left, gone = [body], asyncio.Event()
        status, answer = 0, b""

        async def receive() -> dict[str, Any]:
            if left:
                return {"type": "http.request", "body": left.pop(), "more_body": False}
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Mapping[str, Any]) -> None:
            nonlocal status, answer
            if message["type"] == "http.response.start":
                status = message["status"]
                if not self._token:
                    self._token = _token_in(message["headers"])
                if path == EVENTS:
                    gone.set()
            else:
                answer += message.get("body", b"")

        headers = [(b"host", b"localhost:7860"), (b"content-type", b"application/json")]
        if self._token:
            shown = f"{COOKIE}={self._token}".encode()
            headers += [(b"cookie", shown), (b"origin", b"http://localhost:7860")]
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": quote(path).encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [*headers, (b"content-length", str(len(body)).encode())],
            "client": ("127.0.0.1", 50_000),
            "server": ("127.0.0.1", 7860),
            "state": {},
        }
        async with asyncio.timeout(PATIENCE_S):
            await self.app(scope, receive, send)
        return status, answer


def _token_in(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Return the token that an answer hands out."""
    cookies = [value.decode() for name, value in headers if name == b"set-cookie"]
    found = [cookie.partition("=") for cookie in cookies if cookie.startswith(f"{COOKIE}=")]
    return found[0][2].partition(";")[0] if found else ""


@pytest.fixture(scope="module", params=["", "Bob", "Ann"], ids=["local", "user", "administrator"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server with the made-up model, and who asks it."""
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "broken.gguf").write_bytes(b"GGUF")
    with running(folder, request.param, fake_engine=100_000) as server:
        yield server


@pytest.fixture(scope="module")
def server_with_worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose model is noise, computed by llama.cpp."""
    folder = tmp_path_factory.mktemp("worker")
    write_tiny_gguf(folder / "tiny.gguf", context_length=512)
    with running(folder, model="tiny.gguf") as server:
        yield server


@contextmanager
def running(models: Path, who: str = "", **more: Any) -> Iterator[Server]:
    """Run a server in an event loop of its own; hashes of passwords cost it nothing."""
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "PasswordHasher", lambda **_: cheap)
        app = _app(models, **more)
    with asyncio.Runner() as loop:
        lifespan = app.router.lifespan_context(app)
        loop.run(lifespan.__aenter__())
        yield Server(app, loop, who)
        loop.run(lifespan.__aexit__(None, None, None))


def _app(models: Path, **more: Any) -> FastAPI:
    return create_app(Settings(data_dir=models / "data", models_dir=models, ui=False, **more))


def operations(app: FastAPI) -> dict[str, list[str]]:
    """Return the names of the query's parameters by method and path."""
    return {
        f"{method.upper()} {path}": [
            parameter["name"]
            for parameter in operation.get("parameters", ())
            if parameter["in"] == "query"
        ]
        for path, item in app.openapi()["paths"].items()
        for method, operation in item.items()
    }


def reading_routes(routes: Any) -> Iterator[str]:
    """Yield the routes that read a body by what all of ours read it by, whatever their method."""
    reader = body_of(TypeAdapter(int)).__qualname__
    for route in routes:
        inner = getattr(getattr(route, "original_router", None), "routes", None)
        if inner is not None:
            yield from reading_routes(inner)
        elif hasattr(route, "dependant"):
            called = [one.call.__qualname__ for one in route.dependant.dependencies if one.call]
            yield from (f"{method} {route.path}" for method in route.methods if reader in called)


def check(server: Server, operation: str, path: str, query: str = "", body: str = "") -> None:
    """Ask, and fail where the answer is an error of ours, in a stream too."""
    status, answer = server.ask(operation.split()[0], path, query, body)
    said = f"{operation} {path} {query} {body[:2000]}: {status} {answer[-500:]!r}"
    assert 200 <= status < 500, said
    assert b"internal_error" not in answer, said
    assert b"engine_error" not in answer, said
    if server.who and not path.startswith(MAY_BE_401):
        assert status != 401, said  # else nothing behind the door would have been asked


def bounded(num_examples: int) -> settings:
    """Return settings under which every run tries the same examples."""
    return settings(
        max_examples=num_examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )


def test_every_route_is_asked(server: Server) -> None:
    changing = {
        name for name in operations(server.app) if name.split()[0] in {"POST", "PUT", "PATCH"}
    }
    reading = set(reading_routes(server.app.routes))
    assert "DELETE /api/me" in reading
    assert changing | reading == BODIES.keys() | WITHOUT_BODY
    assert reading <= BODIES.keys()


@pytest.mark.parametrize("operation", BODIES)
def test_nasty_value_in_every_field_is_no_server_error(
    server: Server, operation: str, soak: bool
) -> None:
    body = BODIES[operation]
    path = server.path_of(operation)
    for name in body.names():
        others = {key: value for key, value in body.example.items() if key != name}
        start = json.dumps(others)[:-1] + (", " if others else "")
        for value in NASTY[:: server.every(operation, soak=soak)]:
            check(server, operation, path, body=f"{start}{json.dumps(name)}: {value}}}")


@pytest.mark.parametrize("operation", BODIES)
def test_random_values_in_random_fields_are_no_server_error(
    server: Server, operation: str, soak: bool
) -> None:
    body = BODIES[operation]
    path = server.path_of(operation)
    names = st.sampled_from(body.names()) | TEXTS

    @bounded((NUM_EXAMPLES_IN_FULL if soak else NUM_EXAMPLES) // server.every(operation, soak=soak))
    @given(st.dictionaries(names, VALUES, max_size=4) | VALUES)
    def ask(asked: Any) -> None:
        whole = body.example | asked if isinstance(asked, dict) else asked
        check(server, operation, path, body=json.dumps(whole))

    ask()


def test_random_paths_and_queries_are_no_server_error(server: Server, soak: bool) -> None:
    queries = operations(server.app)
    asked = sorted(queries.keys() - UNLIKE_OTHERS.keys())
    ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=9)

    @bounded(NUM_EXAMPLES_IN_FULL if soak else 2 * NUM_EXAMPLES)
    @given(st.sampled_from(asked), ids | st.just(server.conversation_id), st.data())
    def ask(operation: str, name: str, data: st.DataObject) -> None:
        path = "/".join(
            name.replace("/", "") if part.startswith("{") else part
            for part in operation.split()[1].split("/")
        )
        known = st.sampled_from([*queries[operation], "x"])
        values = st.sampled_from(("", "0", "-1", "1", "true", "9" * 30, "boot:1", "é")) | ids
        query = urlencode(data.draw(st.lists(st.tuples(known, values), max_size=3)))
        body = json.dumps(data.draw(VALUES)) if data.draw(st.booleans()) else ""
        check(server, operation, path, query, body)

    ask()


GRAMMARS = (
    *("root ::= [ab]+", 'root ::= "a" | "b" root', "root ::= [^a]{3}", 'root ::= "é" [0-9]*'),
    *("root ::= <|im_end|>", "root ::= !<|im_start|>", 'root ::= "a" ("x" | "y") | "b"'),
)
SCHEMAS: tuple[dict[str, Any], ...] = (
    *({"type": "object"}, {"type": "integer"}, {"enum": ["a", "b"]}, {"const": "1"}),
    {"type": "array", "items": {"type": "boolean"}, "maxItems": 2},
)
WISHES: dict[str, st.SearchStrategy[Any]] = {
    "temperature": st.floats(0, 2),
    "top_k": st.integers(0, 50),
    "min_p": st.floats(0, 1),
    "typical_p": st.floats(0, 1),
    "top_n_sigma": st.floats(0, 3),
    "xtc_probability": st.floats(0, 1),
    "mirostat": st.integers(0, 2),
    "mirostat_tau": st.floats(0, 10),
    "adaptive_target": st.floats(0, 1),
    "repeat_penalty": st.floats(0.1, 2),
    "repeat_last_n": st.integers(-1, 64),
    "dry_multiplier": st.floats(0, 5),
    "dynatemp_range": st.floats(0, 2),
    "sampler_order": st.permutations(SamplingParams().sampler_order),
    "seed": st.integers(-1, 99),
    "min_tokens": st.integers(0, 20),
    "max_tokens": st.integers(1, 40),
    "ignore_eos": st.booleans(),
    "banned_tokens": st.lists(st.integers(0, 258), max_size=20),
    "banned_strings": st.lists(st.text('ab1"{', min_size=1, max_size=2), max_size=5),
    "stop": st.lists(st.text("abc", min_size=1, max_size=2), max_size=2),
    "logit_bias": st.dictionaries(
        st.integers(0, 258).map(str), st.sampled_from((-100, 100, False)), max_size=5
    ),
    "n": st.integers(1, 3),
    "stream": st.booleans(),
    "n_probs": st.integers(0, 20),
}
FORM = (
    st.builds(dict, grammar=st.sampled_from(GRAMMARS))
    | st.builds(dict, json_schema=st.sampled_from(SCHEMAS))
    | st.just({})
)


@pytest.mark.parametrize("operation", ["POST /v1/chat/completions", "POST /v1/completions"])
def test_no_combination_of_wishes_is_an_error_of_the_worker(
    server_with_worker: Server, operation: str, soak: bool
) -> None:
    server, example = server_with_worker, BODIES[operation].example

    @bounded(NUM_EXAMPLES_IN_FULL if soak else NUM_EXAMPLES)
    @given(st.fixed_dictionaries({}, optional=WISHES), FORM)
    def ask(wishes: dict[str, Any], form: dict[str, Any]) -> None:
        check(server, operation, operation.split()[1], body=json.dumps(example | wishes | form))

    ask()
