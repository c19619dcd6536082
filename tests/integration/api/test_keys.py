"""API keys of people in a whole app: which models they open, and what stands in the database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from webui.engine.fake import NAME
from webui.engine.pool_status import PoolState, PoolStatus

if TYPE_CHECKING:
    import httpx

    from tests.integration.api.conftest import Household

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

MESSAGES = [{"role": "user", "content": "x"}]
CALLS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", {"messages": MESSAGES, "max_tokens": 1}),
    ("/v1/chat/completions", {"messages": MESSAGES, "max_tokens": 1, "stream": True}),
    ("/v1/chat/completions", {"messages": MESSAGES, "max_tokens": 1, "n": 2}),
    ("/v1/completions", {"prompt": "x", "max_tokens": 1}),
    ("/v1/embeddings", {"input": "x"}),
    ("/v1/rerank", {"query": "x", "documents": ["y"]}),
]


async def key_of(household: Household, name: str, **bounds: Any) -> httpx.AsyncClient:
    made = await household.clients[name].post("/api/keys", json={"name": "x", **bounds})
    assert made.status_code == 201, made.text
    return household.program(made.json()["key"])


@pytest.mark.parametrize(("path", "body"), CALLS)
async def test_key_runs_the_models_it_opens_and_no_other(household: Household, path, body) -> None:
    right = await key_of(household, "Bob", models=[NAME, "other.gguf"])
    assert (await right.post(path, json=body)).status_code == 200
    wrong = await key_of(household, "Bob", models=["other.gguf"])
    answer = await wrong.post(path, json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (403, "permission_denied")
    assert NAME in error["message"]
    assert "other.gguf" in error["message"]


async def test_conversation_by_a_key_of_another_model_is_refused_before_it_is_saved(
    household: Household,
) -> None:
    program = await key_of(household, "Bob", models=["other.gguf"])
    made = await program.post("/api/conversations")
    chat_id = made.json()["conversation"]["id"]
    body = {"mode": "send", "parent_id": None, "text": "x"}
    answer = await program.post(f"/api/conversations/{chat_id}/messages", json=body)
    assert answer.status_code == 403
    assert NAME in answer.json()["error"]["message"]
    assert (await program.get(f"/api/conversations/{chat_id}")).json()["messages"] == []


async def test_reply_is_not_written_by_a_model_that_came_meanwhile(household: Household) -> None:
    """The model is looked at again when it is there: another may have been loaded in between."""
    program = await key_of(household, "Bob", models=["other.gguf"])
    made = await program.post("/api/conversations")
    chat_id = made.json()["conversation"]["id"]
    household.runtime.generations.check_model = lambda _: None
    body = {"mode": "send", "parent_id": None, "text": "x"}
    turn = await program.post(f"/api/conversations/{chat_id}/messages", json=body)
    assert turn.status_code == 202
    run = household.runtime.generations._runs[turn.json()["generation"]["id"]]
    await run.task
    reply = (await program.get(f"/api/conversations/{chat_id}")).json()["messages"][-1]
    assert (reply["status"], reply["text"]) == ("error", "")
    assert NAME in reply["error"]["message"]


async def test_key_loads_the_models_it_opens_and_no_other(household: Household) -> None:
    folder = household.runtime.settings.models_dir
    for name in ("one.gguf", "two.gguf"):
        (folder / name).write_bytes(b"GGUF")
    program = await key_of(household, "Ann", models=["one.gguf"])
    statuses = {
        asked: (await program.post("/api/models/load", json={"model_id": asked})).status_code
        for asked in ("one.gguf", "two.gguf", "one", "two", str(folder / "two.gguf"))
    }
    assert statuses == {
        "one.gguf": 422,  # it is allowed, and damaged
        "two.gguf": 403,
        "one": 422,
        "two": 403,
        str(folder / "two.gguf"): 404,
    }
    assert (await program.post("/api/models/starter")).status_code == 403


@pytest.mark.parametrize("path", ["/api/models/unload", "/api/models/unload?force=true"])
async def test_key_unloads_the_models_it_opens_and_no_other(
    household: Household, path: str
) -> None:
    pool = household.runtime.pool
    wrong = await key_of(household, "Ann", models=["other.gguf"])
    answer = await wrong.post(path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "permission_denied")
    assert NAME in answer.json()["error"]["message"]
    assert pool.current is not None
    right = await key_of(household, "Ann", models=[NAME])
    assert (await right.post(path)).status_code == 202
    assert pool.current is None
    assert (await wrong.post(path)).status_code == 202  # there is nothing to refuse


async def test_key_gives_up_no_load_of_another_model(household: Household) -> None:
    pool, ended = household.runtime.pool, []
    pool._status = PoolStatus(PoolState.LOADING, "one.gguf", "one", 0.5)
    pool.cancel_load = lambda: ended.append(True)
    wrong = await key_of(household, "Ann", models=["two.gguf", NAME])
    assert (await wrong.post("/api/models/cancel")).status_code == 403
    assert (await wrong.post("/api/models/unload")).status_code == 403
    assert ended == []
    right = await key_of(household, "Ann", models=["one.gguf"])
    assert (await right.post("/api/models/cancel")).status_code == 202
    assert ended == [True]


async def test_who_may_make_no_keys_any_more_sees_and_revokes_those_left(
    household: Household,
) -> None:
    bob, program = household.clients["Bob"], await key_of(household, "Bob")
    path = f"/api/users/{household.ids['Bob']}"
    await household.clients["Ann"].patch(path, json={"permissions": ["chat"]})
    assert (await bob.post("/api/keys", json={"name": "y"})).status_code == 403
    assert (await program.get("/v1/models")).status_code == 403
    (left,) = (await bob.get("/api/keys")).json()["keys"]
    assert (await household.clients["Cid"].delete(f"/api/keys/{left['id']}")).status_code == 404
    assert (await bob.delete(f"/api/keys/{left['id']}")).status_code == 204
    assert (await bob.get("/api/keys")).json()["keys"] == []
    assert (await program.get("/v1/models")).status_code == 401


async def test_list_of_keys_shows_the_last_use(household: Household) -> None:
    program = await key_of(household, "Bob", endpoints=["models"])
    assert (await program.get("/v1/models")).status_code == 200
    (view,) = (await household.clients["Bob"].get("/api/keys")).json()["keys"]
    assert view["last_used_at"] is not None
    assert view["endpoints"] == ["models"]


async def test_program_of_somebody_shut_out_is_refused_at_once(household: Household) -> None:
    program = await key_of(household, "Bob")
    ann, bob = household.clients["Ann"], household.ids["Bob"]
    assert (await program.get("/v1/models")).status_code == 200
    await ann.patch(f"/api/users/{bob}", json={"is_disabled": True})
    answer = await program.get("/v1/models")
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "account_disabled")
    await ann.patch(f"/api/users/{bob}", json={"is_disabled": False, "role": "guest"})
    assert (await program.get("/v1/models")).status_code == 403
