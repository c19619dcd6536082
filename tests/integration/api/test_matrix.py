"""Every route as everybody: strangers, a guest, another user, the owner, the administrator.

The owner is Bob; what has an id is his. A route that is not in the table fails the test.
"""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.api.conftest import PASSWORD, Household, status_of
from tests.integration.api.test_fuzz import BODIES
from webui.accounts import api_keys
from webui.storage import conversations, jobs, passkeys
from webui.storage.sign_in_tables import PasskeyRow

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

ORDER = ("", "Gus", "Cid", "Ann", "Bob")  # the owner last, who may take the thing away
CHAT = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1}
SEND = {"mode": "send", "parent_id": None, "text": "x"}
LOAD = {"model_id": "nothing.gguf"}
SHOW = dict.fromkeys(("client_data", "authenticator_data", "signature", "user_handle"), "AA")
SHOW["id"] = "AA"
MADE = {"id": "AA", "client_data": "AA", "attestation": "AA"}
SHARE = {"conversation_id": "{conversation_id}", "everybody": True}
LIMITS = {"limits": {"tokens_per_day": 1_000_000}}
WRONG = {"password": "wrong wrong"}
CHANGE = {"old": "wrong wrong", "new": PASSWORD}

# Of the starter; else the administrator would really fetch it.
OTHERS = SimpleNamespace(job=SimpleNamespace(id="x", owner_id="x"), path=None)
THEIRS = "/api/users/{user_id}/conversations"
CHOICES = "/api/shares/choices?conversation_id={conversation_id}"
ID = re.compile(r"\{\w+_id\}")
# No body may say whose something is to be, nor what somebody is.
NOT_TO_BE_SET = ("owner_id", "user_id", "actor_id", "id", "role", "permissions")

# Method, path, body: what a stranger, a guest, another user, the administrator, the owner get.
ROUTES: list[tuple[str, str, Any, tuple[int, int, int, int, int]]] = [
    ("GET", "/health", None, (200, 200, 200, 200, 200)),
    ("GET", "/ca.crt", None, (404, 404, 404, 404, 404)),
    ("GET", "/api/session", None, (200, 200, 200, 200, 200)),
    ("POST", "/api/session", {"name": "x", "password": "x"}, (401, 401, 401, 401, 401)),
    ("POST", "/api/first-run", {"code": "x", "name": "x", "password": "x"}, (409,) * 5),
    ("POST", "/api/oidc", {}, (404, 404, 404, 404, 404)),
    ("GET", "/oidc/callback", None, (404, 404, 404, 404, 404)),
    ("GET", "/api/oidc/link", None, (401, 200, 200, 200, 200)),
    ("POST", "/api/oidc/link", {"password": "x"}, (401, 404, 404, 404, 404)),
    ("DELETE", "/api/oidc/link", None, (401, 404, 404, 404, 404)),
    ("POST", "/api/session/passkey/options", None, (200, 200, 200, 200, 200)),
    ("POST", "/api/session/passkey", SHOW, (409, 409, 409, 409, 409)),  # asked for by nobody
    ("GET", "/api/passkeys", None, (401, 200, 200, 200, 200)),
    ("POST", "/api/passkeys/options", {"name": "x", **WRONG}, (401, 403, 422, 422, 422)),
    ("POST", "/api/passkeys", MADE, (401, 409, 409, 409, 409)),
    ("PATCH", "/api/passkeys/{passkey_id}", {"name": "x"}, (401, 404, 404, 404, 200)),
    ("DELETE", "/api/passkeys/{passkey_id}", None, (401, 404, 404, 404, 204)),
    ("GET", "/api/sessions", None, (401, 200, 200, 200, 200)),
    ("DELETE", "/api/sessions/{session_id}", None, (401, 404, 404, 404, 204)),
    ("GET", "/api/me", None, (401, 200, 200, 200, 200)),
    ("GET", "/api/me/export", None, (401, 200, 200, 200, 200)),
    ("PUT", "/api/me/password", CHANGE, (401, 422, 422, 422, 422)),
    ("DELETE", "/api/me", WRONG, (401, 422, 422, 422, 422)),
    ("GET", "/api/confirmation", None, (401, 200, 200, 200, 200)),
    ("POST", "/api/confirmation/provider", {}, (401, 404, 404, 404, 404)),  # there is none
    ("POST", "/api/confirmation/passkey/options", None, (401, 409, 409, 409, 409)),
    ("POST", "/api/confirmation/passkey", SHOW, (401, 409, 409, 409, 409)),
    ("GET", "/api/users", None, (401, 403, 403, 200, 403)),
    ("POST", "/api/users", {"name": "Zed"}, (401, 403, 403, 201, 403)),
    ("PATCH", "/api/users/{user_id}", {"name": "Bob"}, (401, 403, 403, 200, 403)),
    ("POST", "/api/users/{spare_id}/password", None, (401, 403, 403, 200, 403)),
    ("DELETE", "/api/users/{spare_id}", None, (401, 403, 403, 204, 403)),
    ("GET", "/api/users/{user_id}/keys", None, (401, 403, 403, 200, 403)),
    ("DELETE", "/api/users/{user_id}/keys/{key_id}", None, (401, 403, 403, 204, 403)),
    ("GET", "/api/admin/sessions", None, (401, 403, 403, 200, 403)),
    ("GET", "/api/admin/storage", None, (401, 403, 403, 200, 403)),
    ("DELETE", "/api/users/{user_id}/sessions/{session_id}", None, (401, 403, 403, 204, 403)),
    ("DELETE", "/api/users/{spare_id}/sessions", None, (401, 403, 403, 204, 403)),
    ("GET", "/api/keys", None, (401, 200, 200, 200, 200)),
    ("POST", "/api/keys", {"name": "x"}, (401, 403, 201, 201, 201)),
    ("DELETE", "/api/keys/{key_id}", None, (401, 404, 404, 404, 204)),
    ("GET", "/api/audit", None, (401, 403, 403, 200, 403)),
    ("GET", "/api/admin", None, (401, 403, 403, 200, 403)),
    ("GET", "/api/admin/log", None, (401, 403, 403, 200, 403)),
    ("POST", "/api/admin/backups", None, (401, 403, 403, 201, 403)),
    ("PUT", "/api/admin/banner", {"banner": "x"}, (401, 403, 403, 200, 403)),
    ("GET", "/api/users/{user_id}/conversations", None, (401, 403, 403, 403, 403)),
    ("GET", f"{THEIRS}/{{conversation_id}}", None, (401, 403, 403, 403, 403)),
    ("PUT", "/api/admin/reading", {"is_on": False}, (401, 403, 403, 200, 403)),
    ("GET", "/api/users/{user_id}/limits", None, (401, 403, 403, 200, 403)),
    ("PUT", "/api/users/{user_id}/limits", LIMITS, (401, 403, 403, 200, 403)),
    ("GET", "/api/groups", None, (401, 403, 403, 200, 403)),
    ("POST", "/api/groups", {"name": "Zeds"}, (401, 403, 403, 201, 403)),
    ("PATCH", "/api/groups/{group_id}", LIMITS, (401, 403, 403, 200, 403)),
    ("DELETE", "/api/groups/{group_id}", None, (401, 403, 403, 204, 403)),
    ("GET", "/api/limits", None, (401, 403, 403, 200, 403)),
    ("PUT", "/api/limits", LIMITS, (401, 403, 403, 200, 403)),
    ("GET", "/api/limits/all", None, (401, 403, 403, 200, 403)),
    ("GET", "/api/defaults", None, (401, 403, 403, 200, 403)),
    ("PUT", "/api/defaults", {"role": "user"}, (401, 403, 403, 200, 403)),
    ("GET", "/api/usage", None, (401, 200, 200, 200, 200)),
    ("GET", "/api/usage/all", None, (401, 403, 403, 200, 403)),
    ("GET", "/api/lan", None, (401, 200, 200, 200, 200)),
    ("GET", "/api/shares", None, (401, 200, 200, 200, 200)),
    ("POST", "/api/shares", SHARE, (401, 403, 404, 404, 201)),
    ("GET", CHOICES, None, (401, 403, 404, 404, 200)),
    ("GET", "/api/shares/received", None, (401, 200, 200, 200, 200)),
    ("GET", "/api/shares/received/{share_id}", None, (401, 404, 404, 200, 404)),
    ("POST", "/api/shares/received/{share_id}/copy", None, (401, 404, 404, 201, 404)),
    ("DELETE", "/api/shares/{share_id}", None, (401, 404, 404, 404, 204)),
    ("GET", "/api/conversations", None, (401, 200, 200, 200, 200)),
    ("POST", "/api/conversations", None, (401, 201, 201, 201, 201)),
    ("GET", "/api/conversations/{conversation_id}", None, (401, 404, 404, 404, 200)),
    ("PATCH", "/api/conversations/{conversation_id}", {"title": "x"}, (401, 404, 404, 404, 200)),
    ("POST", "/api/conversations/{conversation_id}/messages", SEND, (401, 404, 404, 404, 202)),
    ("DELETE", "/api/conversations/{conversation_id}", None, (401, 404, 404, 404, 204)),
    ("POST", "/api/conversations/{conversation_id}/restore", None, (401, 404, 404, 404, 200)),
    ("GET", "/api/trash", None, (401, 200, 200, 200, 200)),
    ("DELETE", "/api/trash/{conversation_id}", None, (401, 404, 404, 404, 204)),
    ("DELETE", "/api/trash", None, (401, 200, 200, 200, 200)),
    ("POST", "/api/generations/{generation_id}/stop", None, (401, 404, 404, 404, 202)),
    ("GET", "/api/events", None, (401, 200, 200, 200, 200)),
    ("GET", "/api/jobs", None, (401, 200, 200, 200, 200)),
    ("POST", "/api/jobs/{job_id}/cancel", None, (401, 404, 404, 404, 202)),
    ("GET", "/api/parameters", None, (401, 200, 200, 200, 200)),
    ("PUT", "/api/parameters", {}, (401, 200, 200, 200, 200)),
    ("PATCH", "/api/parameters", {"top_k": 5}, (401, 200, 200, 200, 200)),
    ("DELETE", "/api/parameters", None, (401, 200, 200, 200, 200)),
    ("GET", "/api/server-prompt", None, (401, 200, 200, 200, 200)),
    ("PUT", "/api/server-prompt", {"server_prompt": "x"}, (401, 403, 403, 200, 403)),
    ("GET", "/api/models", None, (401, 200, 200, 200, 200)),
    ("GET", "/api/models/stats", None, (401, 200, 200, 200, 200)),
    ("GET", "/metrics", None, (401, 200, 200, 200, 200)),
    ("POST", "/api/models/starter", None, (401, 403, 403, 409, 403)),
    ("POST", "/api/models/load", LOAD, (401, 403, 404, 404, 404)),
    ("PUT", "/api/models/lora", {"lora": []}, (401, 403, 200, 200, 200)),
    ("GET", "/v1/models", None, (401, 200, 200, 200, 200)),
    ("POST", "/v1/chat/completions", CHAT, (401, 200, 200, 200, 200)),
    ("POST", "/v1/completions", {"prompt": "x", "max_tokens": 1}, (401, 200, 200, 200, 200)),
    ("POST", "/v1/embeddings", {"input": "x"}, (401, 200, 200, 200, 200)),
    ("POST", "/v1/rerank", {"query": "x", "documents": ["y"]}, (401, 200, 200, 200, 200)),
    ("POST", "/api/models/cancel", None, (401, 403, 202, 202, 202)),
    ("POST", "/api/models/unload", None, (401, 403, 202, 202, 202)),
    ("DELETE", "/api/sessions", None, (401, 204, 204, 204, 204)),
    ("DELETE", "/api/session", None, (204, 204, 204, 204, 204)),
]


def inventory(routes: Any) -> Iterator[tuple[str, str]]:
    for route in routes:
        inner = getattr(getattr(route, "original_router", None), "routes", None)
        if inner is not None:
            yield from inventory(inner)
        else:
            for method in getattr(route, "methods", None) or ():
                yield method, re.sub(r"\{(user|spare)_id\}", "{user_id}", route.path)


def names_id(path: str, body: Any) -> bool:
    """Whether something of somebody is named, in the address or in the body."""
    return ID.search(f"{path} {body}") is not None


def filled(part: Any, ids: dict[str, str]) -> Any:
    """Return an address or a body with ids where it names some."""
    if isinstance(part, dict):
        return {key: filled(value, ids) for key, value in part.items()}
    return part.format(**ids) if isinstance(part, str) else part


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every request count as one: the things of each row are made anew."""
    monkeypatch.setattr("webui.api.traffic.COSTS", {})


async def bobs(household: Household) -> dict[str, str]:
    """Return ids of things that are Bob's, and of somebody who can be spared."""
    conversation_id, _, generation_id = await household.talk("Bob", "Mine alone")
    sessions = (await household.clients["Bob"].get("/api/sessions")).json()["sessions"]
    other = next(one["id"] for one in sessions if not one["is_current"])
    database = household.runtime.database
    job = await database.run(jobs.add, household.ids["Bob"], kind="k", title="t")
    passkey = PasskeyRow(
        credential_id=conversation_id, owner_id=household.ids["Bob"], public_key=b"", name="Phone"
    )
    await database.run(passkeys.add, passkey)
    for one in (await household.clients["Bob"].get("/api/keys")).json()["keys"]:
        if one["name"] == "Editor":  # of an earlier call; there is a most
            await household.clients["Bob"].delete(f"/api/keys/{one['id']}")
    key = await household.clients["Bob"].post("/api/keys", json={"name": "Editor"})
    members = {"name": f"Of {conversation_id[:8]}", "member_ids": [household.ids["Bob"]]}
    members["name"] = members["name"].replace("-", ".").replace("_", ".")
    group = await household.clients["Ann"].post("/api/groups", json=members)
    share = {"conversation_id": conversation_id, "user_ids": [household.ids["Ann"]]}
    shared = await household.clients["Bob"].post("/api/shares", json=share)
    spare = {"name": f"Spare {conversation_id[:8]}".replace("-", ".").replace("_", ".")}
    made = await household.clients["Ann"].post("/api/users", json=spare)
    return {
        "user_id": household.ids["Bob"],
        "spare_id": made.json()["user"]["id"],
        "group_id": group.json()["group"]["id"],
        "conversation_id": conversation_id,
        "generation_id": generation_id,
        "session_id": other,
        "job_id": job.id,
        "share_id": shared.json()["shares"][0]["id"],  # with Ann, who could not read it else
        "key_id": key.json()["view"]["id"],
        "passkey_id": passkey.id,
    }


async def test_every_route_as_everybody(household: Household) -> None:
    paths = [(method, path.partition("?")[0]) for method, path, _, _ in ROUTES]
    written = {(method, path.replace("{spare_id}", "{user_id}")) for method, path in paths}
    assert written == set(inventory(household.app.routes))
    household.runtime.models._starter._running = OTHERS
    wrong = []
    for method, path, body, wanted in ROUTES:
        for name in ORDER:
            if name:
                await household.sign_in(name)
        await household.sign_in("Bob")
        ids = await bobs(household) if names_id(path, body) else {}
        if path in OF_THE_TRASH:
            await household.runtime.database.run(
                conversations.delete, ids["user_id"], ids["conversation_id"]
            )
        place, sent = filled(path, ids), filled(body, ids)
        for name, status in zip(ORDER, wanted, strict=True):
            got = await status_of(household, name, method, place, sent)
            if got != status:
                wrong.append(f"{method} {path} as {name or 'stranger'}: {got}, not {status}")
    assert not wrong, "\n".join(wrong)


# A conversation is put there first.
OF_THE_TRASH = {
    "/api/conversations/{conversation_id}/restore",
    "/api/trash/{conversation_id}",
}

# What a key opens that opens all that keys may: its owner's things, and what is everybody's.
OPEN_TO_KEYS = {
    "/api/conversations",
    "/api/conversations/{conversation_id}",
    "/api/conversations/{conversation_id}/messages",
    "/api/conversations/{conversation_id}/restore",
    "/api/generations/{generation_id}/stop",
    "/api/events",
    "/api/jobs",
    "/api/jobs/{job_id}/cancel",
    "/api/models",
    "/api/models/stats",
    "/api/models/starter",
    "/api/models/load",
    "/api/models/lora",
    "/api/models/cancel",
    "/api/models/unload",
    "/metrics",
    "/v1/models",
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/rerank",
}
OPEN_TO_ALL = {
    *("/health", "/ca.crt", "/api/session", "/api/first-run"),
    *("/api/oidc", "/oidc/callback"),
    *("/api/session/passkey", "/api/session/passkey/options"),
}


async def test_every_route_by_keys(household: Household, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key opens to its owner what is in its scope; an administrator's no more than that."""
    monkeypatch.setattr(api_keys, "MAX_KEYS", 1000)  # one is made for every route with an id
    household.runtime.models._starter._running = OTHERS
    await household.sign_in("Bob")  # a second time
    for name in ("Ann", "Bob"):
        made = await household.clients[name].post("/api/keys", json={"name": "All"})
        narrow = await household.clients[name].post(
            "/api/keys", json={"name": "One", "endpoints": ["embeddings"]}
        )
        household.clients[f"{name}'s key"] = household.program(made.json()["key"])
        household.clients[f"{name}'s narrow key"] = household.program(narrow.json()["key"])
    wrong = []
    column = {"Ann": 3, "Bob": 4}
    for method, path, body, wanted in ROUTES:
        for name in ("Ann", "Bob"):
            ids = await bobs(household) if names_id(path, body) else {}
            if path in OF_THE_TRASH:
                await household.runtime.database.run(
                    conversations.delete, ids["user_id"], ids["conversation_id"]
                )
            place, sent = filled(path, ids), filled(body, ids)
            full = wanted[column[name] if path in OPEN_TO_KEYS else 0]
            full = full if path in OPEN_TO_KEYS | OPEN_TO_ALL else 403
            narrow = full if path in {"/v1/embeddings", "/v1/rerank", *OPEN_TO_ALL} else 403
            for who, status in ((f"{name}'s narrow key", narrow), (f"{name}'s key", full)):
                got = await status_of(household, who, method, place, sent)
                if got != status:
                    wrong.append(f"{method} {path} as {who}: {got}, not {status}")
    assert not wrong, "\n".join(wrong)


CANARY = "canary-7f3a"


async def test_nothing_of_one_person_is_in_any_answer_to_another(household: Household) -> None:
    conversation_id, message_id, generation_id = await household.talk("Bob", f"Say {CANARY}")
    await household.clients["Bob"].patch(
        f"/api/conversations/{conversation_id}", json={"title": f"Title {CANARY}"}
    )
    stop = {"stop": [CANARY]}
    assert (await household.clients["Bob"].patch("/api/parameters", json=stop)).status_code == 200
    ids = (CANARY, conversation_id, message_id, generation_id)
    readable = [path for method, path, _, _ in ROUTES if method == "GET" and "{" not in path]
    for name in ("", "Gus", "Cid", "Ann"):
        for path in readable:
            if path != "/api/events":
                text = (await household.clients[name].get(path)).text
                assert not [one for one in ids if one in text], (name, path)
                # How much Bob used is his and the administrator's alone to see.
                if "usage" in path and name != "Ann":
                    assert household.ids["Bob"] not in text, (name, path)
    own = (await household.clients["Bob"].get("/api/conversations")).text
    assert CANARY in own


async def test_id_of_another_is_answered_as_one_that_never_was(household: Household) -> None:
    await household.sign_in("Bob")
    ids = await bobs(household)
    for method, path, body, wanted in ROUTES:
        if 404 not in wanted[1:4] or not names_id(path, body):
            continue
        nobodys = dict.fromkeys(ids, "AAAAAAAAAAAAAAAAAAAAAA")
        cid = household.clients["Cid"]
        answers = [
            await cid.request(method, filled(path, named), json=filled(body, named))
            for named in (ids, nobodys)
        ]
        errors = [
            {
                **answer.json()["error"],
                "request_id": "",
                "message": answer.json()["error"]["message"],
            }
            for answer in answers
        ]
        assert errors[0] == errors[1], path


async def test_fields_that_nobody_may_set_are_refused(household: Household) -> None:
    """Whoever asks, on every route that reads a body, but for those of other programs under /v1."""
    await household.sign_in("Bob")
    ids = await bobs(household)
    before = await everything(household, ids)
    wrong = []
    asked = [(*name.split(), body) for name, body in BODIES.items() if " /v1/" not in name]
    assert len(asked) > 25
    for method, path, body in asked:
        for field in NOT_TO_BE_SET:
            if field in body.names():
                continue
            for name in ("Bob", "Ann"):
                sent = body.example | {field: "administrator" if field == "role" else "x"}
                client = household.clients[name]
                answer = await client.request(method, filled(path, ids), json=sent)
                if answer.status_code != 422 or answer.json()["error"].get("field") != field:
                    wrong.append(f"{method} {path} with {field} as {name}: {answer.text}")
    assert not wrong, "\n".join(wrong)
    assert await everything(household, ids) == before


async def everything(household: Household, ids: dict[str, str]) -> list[str]:
    """Return what there is of people and of their things."""
    of_all = ("users", "groups", "limits/all", "defaults", "me")
    of_bob = ("conversations", "conversations/{conversation_id}", "parameters", "keys", "shares")
    found = []
    for name, paths in (("Ann", of_all), ("Bob", (*of_bob, "passkeys", "me"))):
        for path in paths:
            answer = await household.clients[name].get(filled(f"/api/{path}", ids))
            assert answer.status_code == 200, path
            kept = {key: value for key, value in answer.json().items() if key != "cursor"}
            found.append(f"{name} {path} {kept}")
    return found


async def test_role_and_permissions_are_set_by_administrators_alone(household: Household) -> None:
    """Where a body may name them it is the administrator's, and Bob is refused."""
    await household.sign_in("Bob")
    ids = await bobs(household)
    for operation, body in BODIES.items():
        method, path = operation.split()
        named = {"role", "permissions", "user_id", "owner_id"} & set(body.names())
        if not named:
            continue
        for field in named:
            sent = body.example | {field: ["chat"] if field == "permissions" else "user"}
            status = await status_of(household, "Bob", method, filled(path, ids), sent)
            assert status == 403, (operation, field)
