"""Each route passes on what was asked and answers in the shape of the API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from fastapi.routing import APIRoute
from starlette.routing import Mount

from tests.unit.api.fakes import JOB, MESSAGE, STATUS
from webui import __version__
from webui.accounts.identity import EndpointGroup
from webui.accounts.users import UserChange
from webui.actor import Permission, UserRole
from webui.api.deps import get_identity
from webui.api.door import PUBLIC as OPEN
from webui.api.key_scope import group_of
from webui.engine.adapters import ChosenScale

if TYPE_CHECKING:
    from fastapi import FastAPI

PUBLIC = {
    *("/health", "/ca.crt", "/api/session", "/api/first-run"),
    *("/api/oidc", "/oidc/callback"),
    *("/api/session/passkey", "/api/session/passkey/options"),
}
VIEW_OF_CONVERSATION = {
    "id": "c1",
    "title": "Hello",
    "active_leaf_id": "m1",
    "version": 1,
    "created_at": "2026-11-23T00:00:00Z",
    "updated_at": "2026-11-23T00:00:00Z",
    "running": False,
    "context_overflow": None,
}


def _asks_for(dependant: Any, call: Any) -> bool:
    return dependant.call is call or any(_asks_for(d, call) for d in dependant.dependencies)


def _routes(routes: Any) -> list[Any]:
    found = []
    for route in routes:
        inner = getattr(getattr(route, "original_router", None), "routes", None)
        found += _routes(inner) if inner is not None else [route]
    return found


def test_every_route_asks_who_acts_or_is_on_the_public_list(app: FastAPI) -> None:
    routes = _routes(app.routes)
    assert {*PUBLIC, "/favicon.ico", "/sign-in", "/first-run"} == OPEN  # the rest are no routes
    api = [route for route in routes if isinstance(route, APIRoute)]
    assert {route.path for route in routes if not isinstance(route, APIRoute)} == {"/ui"}
    assert all(isinstance(r, APIRoute | Mount) for r in routes)
    for route in api:
        assert (route.path in PUBLIC) != _asks_for(route.dependant, get_identity), route.path
        assert route.endpoint.__doc__, route.path
    assert {(method, route.path) for route in api for method in route.methods} == {
        ("GET", "/health"),
        ("GET", "/ca.crt"),
        ("GET", "/api/lan"),
        ("GET", "/api/session"),
        ("POST", "/api/session"),
        ("DELETE", "/api/session"),
        ("POST", "/api/session/passkey/options"),
        ("POST", "/api/session/passkey"),
        ("POST", "/api/first-run"),
        ("POST", "/api/oidc"),
        ("GET", "/oidc/callback"),
        ("GET", "/api/oidc/link"),
        ("POST", "/api/oidc/link"),
        ("DELETE", "/api/oidc/link"),
        ("GET", "/api/sessions"),
        ("DELETE", "/api/sessions"),
        ("DELETE", "/api/sessions/{session_id}"),
        ("GET", "/api/me"),
        ("GET", "/api/me/export"),
        ("DELETE", "/api/me"),
        ("PUT", "/api/me/password"),
        ("GET", "/api/confirmation"),
        ("POST", "/api/confirmation/provider"),
        ("POST", "/api/confirmation/passkey"),
        ("POST", "/api/confirmation/passkey/options"),
        ("GET", "/api/users"),
        ("POST", "/api/users"),
        ("PATCH", "/api/users/{user_id}"),
        ("DELETE", "/api/users/{user_id}"),
        ("POST", "/api/users/{user_id}/password"),
        ("GET", "/api/users/{user_id}/keys"),
        ("DELETE", "/api/users/{user_id}/keys/{key_id}"),
        ("GET", "/api/keys"),
        ("POST", "/api/keys"),
        ("DELETE", "/api/keys/{key_id}"),
        ("GET", "/api/passkeys"),
        ("POST", "/api/passkeys"),
        ("POST", "/api/passkeys/options"),
        ("PATCH", "/api/passkeys/{passkey_id}"),
        ("DELETE", "/api/passkeys/{passkey_id}"),
        ("GET", "/api/audit"),
        ("GET", "/api/admin"),
        ("GET", "/api/admin/log"),
        ("GET", "/api/admin/sessions"),
        ("GET", "/api/admin/storage"),
        ("DELETE", "/api/users/{user_id}/sessions"),
        ("DELETE", "/api/users/{user_id}/sessions/{session_id}"),
        ("POST", "/api/admin/backups"),
        ("PUT", "/api/admin/banner"),
        ("PUT", "/api/admin/reading"),
        ("GET", "/api/users/{user_id}/conversations"),
        ("GET", "/api/users/{user_id}/conversations/{conversation_id}"),
        ("GET", "/api/users/{user_id}/limits"),
        ("PUT", "/api/users/{user_id}/limits"),
        ("GET", "/api/groups"),
        ("POST", "/api/groups"),
        ("PATCH", "/api/groups/{group_id}"),
        ("DELETE", "/api/groups/{group_id}"),
        ("GET", "/api/limits"),
        ("PUT", "/api/limits"),
        ("GET", "/api/limits/all"),
        ("GET", "/api/defaults"),
        ("PUT", "/api/defaults"),
        ("GET", "/api/usage"),
        ("GET", "/api/usage/all"),
        ("GET", "/api/shares"),
        ("GET", "/api/trash"),
        ("DELETE", "/api/trash"),
        ("DELETE", "/api/trash/{conversation_id}"),
        ("POST", "/api/shares"),
        ("DELETE", "/api/shares/{share_id}"),
        ("GET", "/api/shares/choices"),
        ("GET", "/api/shares/received"),
        ("GET", "/api/shares/received/{share_id}"),
        ("POST", "/api/shares/received/{share_id}/copy"),
        ("GET", "/api/conversations"),
        ("POST", "/api/conversations"),
        ("GET", "/api/conversations/{conversation_id}"),
        ("PATCH", "/api/conversations/{conversation_id}"),
        ("DELETE", "/api/conversations/{conversation_id}"),
        ("POST", "/api/conversations/{conversation_id}/restore"),
        ("POST", "/api/conversations/{conversation_id}/messages"),
        ("POST", "/api/generations/{generation_id}/stop"),
        ("GET", "/api/events"),
        ("GET", "/api/models"),
        ("GET", "/api/models/stats"),
        ("GET", "/metrics"),
        ("POST", "/api/models/load"),
        ("PUT", "/api/models/lora"),
        ("POST", "/api/models/cancel"),
        ("POST", "/api/models/unload"),
        ("POST", "/api/models/starter"),
        ("GET", "/api/jobs"),
        ("POST", "/api/jobs/{job_id}/cancel"),
        ("GET", "/api/parameters"),
        ("GET", "/api/server-prompt"),
        ("PUT", "/api/server-prompt"),
        ("POST", "/v1/embeddings"),
        ("POST", "/v1/rerank"),
        ("PUT", "/api/parameters"),
        ("PATCH", "/api/parameters"),
        ("DELETE", "/api/parameters"),
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/completions"),
        ("GET", "/v1/models"),
    }


# What no key opens: people, what is theirs, and the page.
FOR_PEOPLE = {
    "/api/users/{user_id}/limits",
    "/api/groups",
    "/api/groups/{group_id}",
    "/api/limits",
    "/api/limits/all",
    "/api/defaults",
    "/api/trash",
    "/api/trash/{conversation_id}",
    "/api/shares",
    "/api/shares/choices",
    "/api/shares/received",
    "/api/shares/received/{share_id}",
    "/api/shares/received/{share_id}/copy",
    "/api/shares/{share_id}",
    "/api/usage",
    "/api/usage/all",
    "/api/admin",
    "/api/admin/backups",
    "/api/admin/banner",
    "/api/admin/log",
    "/api/admin/reading",
    "/api/admin/sessions",
    "/api/admin/storage",
    "/api/users/{user_id}/sessions",
    "/api/users/{user_id}/sessions/{session_id}",
    "/api/me/export",
    "/api/users/{user_id}/conversations",
    "/api/users/{user_id}/conversations/{conversation_id}",
    "/api/lan",
    "/api/sessions",
    "/api/sessions/{session_id}",
    "/api/me",
    "/api/me/password",
    "/api/confirmation",
    "/api/confirmation/passkey",
    "/api/confirmation/passkey/options",
    "/api/confirmation/provider",
    "/api/users",
    "/api/users/{user_id}",
    "/api/users/{user_id}/password",
    "/api/users/{user_id}/keys",
    "/api/users/{user_id}/keys/{key_id}",
    "/api/keys",
    "/api/keys/{key_id}",
    "/api/passkeys",
    "/api/passkeys/options",
    "/api/passkeys/{passkey_id}",
    "/api/audit",
    "/api/parameters",
    "/api/server-prompt",
    "/api/oidc/link",
}


def test_every_route_is_in_a_group_that_keys_may_open_or_for_people_alone(app: FastAPI) -> None:
    paths = {route.path for route in _routes(app.routes) if isinstance(route, APIRoute)}
    shut = {path for path in paths if group_of(path) is None}
    assert shut == FOR_PEOPLE | PUBLIC
    opened = {group for path in paths if (group := group_of(path))}
    assert opened == set(EndpointGroup)


async def test_health_says_how_page_and_model_stand(client) -> None:
    answer = (await client.get("/health")).json()
    assert answer["status"] == "ok"
    assert answer["version"] == __version__
    assert answer["ui"] == "starting"
    assert answer["model"] == {
        "state": "ready",
        "model_id": "tiny.gguf",
        "name": "Tiny",
        "fraction": None,
        "error": None,
        "info": None,
        "outcome": None,
        "stalled_s": None,
    }


async def test_me_is_the_local_user(client) -> None:
    answer = (await client.get("/api/me")).json()
    assert answer == {
        "user": {
            "id": "local",
            "name": "You",
            "role": "administrator",
            "permissions": sorted(Permission),
            "has_password": True,
        },
        "is_claimed": False,
        "banner": "Down at noon",
        "administrators_read": False,
        "version": __version__,
    }


async def test_server_as_a_whole_is_shown_backed_up_and_labelled(client, runtime) -> None:
    answer = (await client.get("/api/admin")).json()["server"]
    assert answer["running"][0]["name"] == "Ann"
    assert answer["storage"]["free_bytes"] == 5
    assert (await client.get("/api/admin/log?lines=1")).json() == {"lines": ["a line"]}
    assert (await client.get("/api/admin/log?lines=1001")).status_code == 422
    made = await client.post("/api/admin/backups")
    assert (made.status_code, made.json()["backup"]["name"]) == (201, "x.db")
    assert (await client.put("/api/admin/banner", json={"banner": "Hi"})).json() == {"banner": "Hi"}
    assert runtime.administration.calls == [("look",), ("back_up",), ("set_banner", "Hi")]


async def test_server_prompt_is_told_and_set(client, runtime) -> None:
    told = await client.get("/api/server-prompt")
    assert told.json() == {"server_prompt": "Be brief."}
    kept = await client.put("/api/server-prompt", json={"server_prompt": "Be kind"})
    assert kept.json() == {"server_prompt": "Be kind."}
    assert runtime.server_prompt.calls[-1][:2] == ("set", "Be kind")
    for wrong in ({}, {"server_prompt": None}, {"server_prompt": 5}, {"server_prompt": "", "x": 1}):
        assert (await client.put("/api/server-prompt", json=wrong)).status_code == 422


async def test_sign_ins_of_everybody_are_listed_and_ended(client, runtime) -> None:
    listed = (await client.get("/api/admin/sessions")).json()
    (session,), (key,) = listed["sessions"], listed["keys"]
    assert (session["user"], session["way"], session["is_current"]) == ("Ann", "passkey", True)
    assert (key["owner"], key["last_used_at"]) == ("Bob", None)
    assert (await client.delete("/api/users/u1/sessions/s1")).status_code == 204
    assert (await client.delete("/api/users/u1/sessions")).status_code == 204
    listing, one, everywhere = runtime.sign_ins.calls
    assert listing == ("list",)
    assert one[:3] == ("end", "u1", "s1")
    assert everywhere[:2] == ("end_all", "u1")


async def test_texts_are_told_by_person(client) -> None:
    (one,) = (await client.get("/api/admin/storage")).json()["people"]
    assert one == {"user_id": "u1", "user": "Ann", "text_bytes": 7}


async def test_people_are_added_changed_and_deleted(client, runtime) -> None:
    users = runtime.users
    added = await client.post("/api/users", json={"name": "Bob", "role": "guest"})
    assert (added.status_code, added.json()["password"]) == (201, "made-up")
    assert users.calls[-1][1] == "Bob"
    await client.patch("/api/users/u1", json={"permissions": None})
    assert users.calls[-1][2] == UserChange(resets_permissions=True)
    await client.patch("/api/users/u1", json={"role": "user", "is_disabled": True})
    assert users.calls[-1][2] == UserChange(role=UserRole.USER, is_disabled=True)
    assert (await client.patch("/api/users/u1", json={})).status_code == 422
    assert (await client.patch("/api/users/u1", json={"role": "king"})).status_code == 422
    assert (await client.post("/api/users/u1/password")).json() == {"password": "made-up"}
    assert (await client.delete("/api/users/u1")).status_code == 204


async def test_conversations_are_listed_by_page(client, runtime) -> None:
    answer = await client.get("/api/conversations?limit=7&before=x")
    assert answer.json() == {"conversations": [VIEW_OF_CONVERSATION], "next": None}
    assert runtime.conversations.calls == [("list", 7, "x")]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=201", "limit=x", "limt=3", "before=" + "x" * 201]
)
async def test_list_query_out_of_bounds_is_422_naming_the_field(client, query) -> None:
    answer = await client.get(f"/api/conversations?{query}")
    assert answer.status_code == 422
    assert answer.json()["error"]["field"] == query.split("=")[0]


@pytest.mark.parametrize(("body", "title"), [(None, ""), ({}, ""), ({"title": "T"}, "T")])
async def test_conversation_is_created(client, runtime, body, title) -> None:
    answer = (
        await client.post("/api/conversations", json=body)
        if body is not None
        else (await client.post("/api/conversations"))
    )
    assert answer.status_code == 201
    assert answer.json() == {"conversation": VIEW_OF_CONVERSATION}
    assert runtime.conversations.calls == [("create", title)]


async def test_conversation_is_read_whole(client) -> None:
    answer = (await client.get("/api/conversations/c1")).json()
    assert answer["conversation"] == VIEW_OF_CONVERSATION
    assert answer["generation"] is None
    assert answer["cursor"] == "boot:1"
    assert answer["messages"][0] == {
        "id": "m1",
        "parent_id": None,
        "role": "user",
        "text": MESSAGE.text,
        "reasoning": "",
        "status": "complete",
        "model": None,
        "created_at": "2026-11-23T00:00:00Z",
        "finish_reason": None,
        "usage": None,
        "timings": None,
        "error": None,
        "reasoning_s": None,
        "left_out": None,
        "params": None,
        "seeds": [],
    }


@pytest.mark.parametrize(
    ("body", "calls"),
    [
        ({"title": "T"}, [("rename", "c1", "T")]),
        ({"active_leaf_id": "m9"}, [("set_active_leaf", "c1", "m9")]),
        ({"context_overflow": "shift"}, [("set_context_overflow", "c1", "shift")]),
        ({"context_overflow": None}, [("set_context_overflow", "c1", None)]),
        (
            {"title": "T", "active_leaf_id": "m9"},
            [("rename", "c1", "T"), ("set_active_leaf", "c1", "m9")],
        ),
    ],
)
async def test_conversation_is_changed(client, runtime, body, calls) -> None:
    answer = await client.patch("/api/conversations/c1", json=body)
    assert answer.json() == {"conversation": VIEW_OF_CONVERSATION}
    assert runtime.conversations.calls == calls


async def test_change_of_nothing_is_422(client) -> None:
    assert (await client.patch("/api/conversations/c1", json={})).status_code == 422


async def test_conversation_is_deleted_and_restored(client, runtime) -> None:
    gone = await client.delete("/api/conversations/c1")
    assert (gone.status_code, gone.content) == (204, b"")
    back = await client.post("/api/conversations/c1/restore")
    assert back.json() == {"conversation": VIEW_OF_CONVERSATION}
    assert runtime.conversations.calls == [("delete", "c1"), ("restore", "c1")]


async def test_trash_is_listed_and_ended(client, runtime) -> None:
    answer = await client.get("/api/trash")
    times = {"deleted_at": "2026-11-23T00:00:00Z", "ends_at": "2026-12-23T00:00:00Z"}
    assert answer.json() == {"conversations": [{"id": "c1", "title": "Hello", **times}], "total": 1}
    gone = await client.delete("/api/trash/c1")
    assert (gone.status_code, gone.content) == (204, b"")
    assert (await client.delete("/api/trash")).json() == {"deleted": 3}
    assert runtime.trash.calls == [("get",), ("delete", "c1"), ("empty",)]


@pytest.mark.parametrize(
    ("body", "call", "status"),
    [
        ({"mode": "send", "parent_id": None, "text": "a"}, ("send", "c1", None, "a"), 202),
        ({"mode": "send", "parent_id": "m1", "text": "a"}, ("send", "c1", "m1", "a"), 202),
        ({"mode": "retry", "message_id": "m2"}, ("retry", "c1", "m2"), 202),
        ({"mode": "continue", "message_id": "m2"}, ("continue_reply", "c1", "m2"), 202),
        ({"mode": "edit", "message_id": "m1", "text": "b"}, ("edit", "c1", "m1", "b"), 200),
    ],
)
async def test_turn_is_taken(client, runtime, body, call, status) -> None:
    answer = await client.post("/api/conversations/c1/messages", json=body)
    assert answer.status_code == status
    assert runtime.conversations.calls == [call]
    assert answer.json()["messages"][0]["id"] == "m1"
    generation = None if status == 200 else {"id": "g1", "message_id": "m2"}
    assert answer.json()["generation"] == generation
    assert answer.json()["cursor"].startswith("boot:")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"text": "a"}, "mode"),
        ({"mode": "shout", "text": "a"}, "mode"),
        ({"mode": "send"}, "text"),
        ({"mode": "send", "text": 5}, "text"),
        ({"mode": "send", "text": None}, "text"),
        ({"mode": "send", "text": "a", "role": "system"}, "role"),
        ({"mode": "send", "text": "a", "parent_id": "../x"}, "parent_id"),
        ({"mode": "send", "text": "a", "owner_id": "bob"}, "owner_id"),
        ({"mode": "retry"}, "message_id"),
        ({"mode": "edit", "message_id": "m", "text": "a", "x" * 500: 1}, "x" * 100),
        ([], None),
        ("send", None),
    ],
)
async def test_turn_of_wrong_form_is_422_naming_the_field(client, runtime, body, field) -> None:
    answer = await client.post("/api/conversations/c1/messages", json=body)
    assert answer.status_code == 422
    assert answer.json()["error"].get("field") == field
    assert runtime.conversations.calls == []


async def test_reply_is_stopped(client, runtime) -> None:
    assert (await client.post("/api/generations/g1/stop")).status_code == 202
    assert runtime.generations.stopped == ["g1"]
    assert (await client.post("/api/generations/g2/stop")).status_code == 404


async def test_models_are_listed_loaded_and_unloaded(client, runtime) -> None:
    listed = (await client.get("/api/models")).json()
    assert listed["starter"] == {"available": True, "size_bytes": 93_000_000}
    assert listed["status"]["name"] == "Tiny"
    body = {"model_id": "tiny.gguf", "options": {"context_length": 512}}
    loading = await client.post("/api/models/load", json=body)
    assert loading.status_code == 202
    assert loading.json()["status"]["state"] == STATUS.state
    assert (await client.post("/api/models/load", json=body | {"force": True})).status_code == 202
    for action in ("cancel", "unload", "unload?force=true"):
        assert (await client.post(f"/api/models/{action}")).status_code == 202
    assert (await client.post("/api/models/starter")).json()["job"]["id"] == JOB.id
    assert runtime.models.calls[1:] == [
        ("load", "tiny.gguf", {"context_length": 512}),
        ("load", "tiny.gguf", {"context_length": 512}, {"force": True}),
        ("cancel",),
        ("unload",),
        ("unload", {"force": True}),
        ("starter",),
    ]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "model_id"),
        ({"model_id": ""}, "model_id"),
        ({"model_id": "a", "trust_remote_code": True}, "trust_remote_code"),
    ],
)
async def test_load_of_wrong_form_is_422_naming_the_field(client, body, field) -> None:
    answer = await client.post("/api/models/load", json=body)
    assert answer.status_code == 422
    assert answer.json()["error"]["field"] == field


async def test_scales_of_adapters_are_set(client, runtime) -> None:
    body = {"lora": [{"id": 1, "scale": 0.5}, {"id": 0, "scale": -2}]}
    answer = await client.put("/api/models/lora", json=body)
    assert answer.json()["status"]["state"] == STATUS.state
    assert runtime.models.calls == [("set_lora", [ChosenScale(1, 0.5), ChosenScale(0, -2.0)])]


@pytest.mark.parametrize(
    ("lora", "field"),
    [
        (None, "lora"),
        ([{"id": 0}], "lora.0.scale"),
        ([{"id": -1, "scale": 1}], "lora.0.id"),
        ([{"id": 0, "scale": 101}], "lora.0.scale"),
        ([{"id": 0, "scale": "1"}], "lora.0.scale"),
        ([{"id": 0, "scale": 1, "path": "x"}], "lora.0.path"),
        ([{"id": 0, "scale": 1}] * 17, "lora"),
    ],
)
async def test_scales_of_wrong_form_are_422_naming_the_field(client, lora, field) -> None:
    answer = await client.put("/api/models/lora", json={"lora": lora})
    assert answer.status_code == 422
    assert answer.json()["error"]["field"] == field


async def test_jobs_are_listed_and_cancelled(client, runtime) -> None:
    assert [job["id"] for job in (await client.get("/api/jobs")).json()["jobs"]] == ["j1"]
    assert (await client.post("/api/jobs/j1/cancel")).status_code == 202
    assert runtime.jobs.calls[-1] == ("cancel", "j1")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sampler_order", '["top_k", "nonsense"]'),
        ("sampler_order", '["top_k", "top_k"]'),
        ("sampler_order", '["top_k", 5]'),
        ("top_n_sigma", "-1"),
        ("top_n_sigma", "-0.5"),
        ("adaptive_target", "-1"),
        *(
            (name, raw)
            for name in ("top_p", "top_k", "seed")
            for raw in ("true", '"1"', "NaN", "1e999")
        ),
        ("top_k", "2.5"),
        ("ignore_eos", "1"),
        ("ignore_eos", '"true"'),
        ("banned_tokens", '["5"]'),
        ("banned_tokens", "[true]"),
        ("logit_bias", '{"x": 1}'),
        ("logit_bias", '{"1": true}'),
        ("logit_bias", '{"1": NaN}'),
        ("stop", '"text"'),
        ("system_prompt", "5"),
    ],
)
async def test_nonsense_is_no_parameter(client, runtime, name, value) -> None:
    for method in ("PUT", "PATCH"):
        raw = f'{{"{name}": {value}}}'
        kind = {"content-type": "application/json"}
        answer = await client.request(method, "/api/parameters", content=raw, headers=kind)
        assert answer.status_code == 422, answer.text
        assert answer.json()["error"]["field"].partition(".")[0] == name
    assert runtime.parameters.calls == []


async def test_parameters_are_read_saved_and_reset(client, runtime) -> None:
    assert (await client.get("/api/parameters")).json()["parameters"]["top_k"] == 40
    body = {"temperature": 0, "stop": ["a"], "seed": 7}
    saved = (await client.put("/api/parameters", json=body)).json()["parameters"]
    assert (saved["temperature"], saved["stop"], saved["seed"]) == (0, ["a"], 7)
    assert runtime.parameters.calls[-1][1].seed == 7
    changed = (await client.patch("/api/parameters", json={"top_k": 5})).json()["parameters"]
    assert (changed["top_k"], changed["seed"]) == (5, 7)
    assert (await client.delete("/api/parameters")).json()["parameters"]["seed"] == -1
    assert ("reset",) in runtime.parameters.calls


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        ('{"temperature": NaN}', "temperature"),
        ('{"temperature": Infinity}', "temperature"),
        ('{"temperature": -Infinity}', "temperature"),
        ('{"temperature": 1e999}', "temperature"),
        ('{"temperature": 2.01}', "temperature"),
        ('{"temperature": "1"}', "temperature"),
        ('{"temperature": true}', "temperature"),
        ('{"top_k": -1}', "top_k"),
        ('{"top_k": 1.5}', "top_k"),
        ('{"seed": 99999999999999999999999999}', "seed"),
        ('{"stop": [""]}', "stop.0"),
        ('{"stop": "a"}', "stop"),
        ('{"temprature": 1}', "temprature"),
    ],
)
async def test_parameter_out_of_range_is_422_naming_the_field(client, raw, field) -> None:
    kind = {"content-type": "application/json"}
    answer = await client.put("/api/parameters", content=raw, headers=kind)
    assert answer.status_code == 422
    assert answer.json()["error"]["field"] == field
