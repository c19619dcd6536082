"""Limits and usage in a whole app, over HTTP, as each person."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from webui.accounts.identity import Sender
from webui.messages import Message, Role
from webui.sampling_params import SamplingParams

if TYPE_CHECKING:
    import httpx

    from tests.integration.api.conftest import Household

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

CHAT = {"messages": [{"role": "user", "content": "Tell me a story"}], "max_tokens": 3}
SEND = {"mode": "send", "parent_id": None, "text": "x"}


async def limit(household: Household, name: str, **limits: int | None) -> None:
    path = f"/api/users/{household.ids[name]}/limits"
    answer = await household.clients["Ann"].put(path, json={"limits": limits})
    assert answer.status_code == 200, answer.text


async def send(client: httpx.AsyncClient, conversation_id: str, text: str) -> httpx.Response:
    path = f"/api/conversations/{conversation_id}"
    shown = (await client.get(path)).json()["conversation"]["active_leaf_id"]
    body = {"mode": "send", "parent_id": shown, "text": text}
    return await client.post(f"{path}/messages", json=body)


async def used(household: Household, name: str) -> list[dict[str, Any]]:
    answer = await household.clients[name].get("/api/usage")
    usage: list[dict[str, Any]] = answer.json()["usage"]
    return usage


async def test_usage_of_chat_api_and_vectors_is_added_up_and_outlives_the_chat(
    household: Household,
) -> None:
    bob = household.clients["Bob"]
    conversation_id, message_id, _ = await household.talk("Bob", "Hello there")
    messages = (await bob.get(f"/api/conversations/{conversation_id}")).json()["messages"]
    reply = next(one for one in messages if one["id"] == message_id)["usage"]
    (row,) = await used(household, "Bob")
    assert row["requests"] == 1
    assert row["model"] == "Made-up model"
    assert row["prompt_tokens"] == reply["prompt_tokens"]
    assert row["completion_tokens"] == reply["completion_tokens"]
    told = (await bob.post("/v1/chat/completions", json=CHAT | {"n": 2})).json()["usage"]
    vectors = (await bob.post("/v1/embeddings", json={"input": "a b c"})).json()["usage"]
    (row,) = await used(household, "Bob")
    assert row["requests"] == 4
    prompt = reply["prompt_tokens"] + 2 * told["prompt_tokens"] + vectors["prompt_tokens"]
    assert row["prompt_tokens"] == prompt
    written = reply["completion_tokens"] + told["completion_tokens"]
    assert row["completion_tokens"] == written
    await bob.delete(f"/api/conversations/{conversation_id}")
    assert await used(household, "Bob") == [row]
    assert await used(household, "Cid") == []
    everybody = (await household.clients["Ann"].get("/api/usage/all")).json()["usage"]
    assert everybody == [row]
    await household.clients["Ann"].delete(f"/api/users/{household.ids['Bob']}")
    assert (await household.clients["Ann"].get("/api/usage/all")).json()["usage"] == []


async def test_stream_that_its_client_leaves_is_counted(household: Household) -> None:
    runtime = household.runtime
    token = await household.sign_in("Bob")
    identity = await runtime.accounts.identify(token, Sender(), is_local=False)
    params = SamplingParams(ignore_eos=True, max_tokens=10_000)
    deltas = runtime.generations.complete(identity.actor, [Message(Role.USER, "Hello")], params)
    num_read = 0
    async for _ in deltas:
        num_read += 1
        if num_read == 6:
            break
    await deltas.aclose()
    (row,) = await used(household, "Bob")
    assert row["requests"] == 1
    assert row["prompt_tokens"] > 0
    assert row["completion_tokens"] > 0


async def test_refused_message_is_not_stored_and_counts_for_nothing(household: Household) -> None:
    bob = household.clients["Bob"]
    conversation_id, _, _ = await household.talk("Bob", "First")
    before = (await bob.get(f"/api/conversations/{conversation_id}")).json()["messages"]
    (row,) = await used(household, "Bob")
    await limit(household, "Bob", tokens_per_day=row["counted_tokens"])
    refused = await send(bob, conversation_id, "Second")
    assert refused.status_code == 429
    error = refused.json()["error"]
    assert (error["code"], error["remaining"]) == ("quota_exceeded", 0)
    assert error["resets_at"].endswith("T00:00:00Z")
    assert int(refused.headers["retry-after"]) > 0
    for path, body in (
        ("/v1/chat/completions", CHAT),
        ("/v1/chat/completions", CHAT | {"stream": True}),
        ("/v1/completions", {"prompt": "x"}),
        ("/v1/embeddings", {"input": "x"}),
        ("/v1/rerank", {"query": "x", "documents": ["y"]}),
    ):
        answer = await bob.post(path, json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "quota_exceeded")
    after = (await bob.get(f"/api/conversations/{conversation_id}")).json()["messages"]
    assert after == before
    assert await used(household, "Bob") == [row]
    assert (await household.clients["Cid"].post("/v1/chat/completions", json=CHAT)).is_success
    await limit(household, "Bob", tokens_per_day=None)
    assert (await send(bob, conversation_id, "Second")).status_code == 202


async def test_hundred_messages_at_once_with_a_limit_of_ten_give_exactly_ten(
    household: Household,
) -> None:
    bob = household.clients["Bob"]
    household.runtime.quotas._clock = lambda: 1000.0  # which gives no more meanwhile
    await limit(household, "Bob", messages_per_minute=10)
    answers = await asyncio.gather(
        *(bob.post("/v1/chat/completions", json=CHAT) for _ in range(100))
    )
    statuses = [answer.status_code for answer in answers]
    assert (statuses.count(200), statuses.count(429)) == (10, 90)
    (row,) = await used(household, "Bob")
    assert row["requests"] == 10


async def test_requests_at_once_are_those_of_chat_and_api_together(household: Household) -> None:
    bob = household.clients["Bob"]
    await limit(household, "Bob", requests_at_once=2)
    chats = [(await bob.post("/api/conversations")).json()["conversation"]["id"] for _ in range(3)]
    await bob.patch("/api/parameters", json={"ignore_eos": True, "max_tokens": 8000})
    turns = [await send(bob, chat, "Count") for chat in chats]
    assert [turn.status_code for turn in turns] == [202, 202, 429]
    assert (await bob.post("/v1/chat/completions", json=CHAT)).status_code == 429
    for turn in turns[:2]:
        await bob.post(f"/api/generations/{turn.json()['generation']['id']}/stop")
    answer = await bob.post("/v1/chat/completions", json=CHAT | {"n": 2})
    assert answer.status_code == 200
    assert (await bob.post("/v1/chat/completions", json=CHAT | {"n": 3})).status_code == 429


async def test_reply_ends_where_the_day_is_used_up_and_keeps_its_text(
    household: Household,
) -> None:
    bob = household.clients["Bob"]
    await bob.patch("/api/parameters", json={"ignore_eos": True, "max_tokens": 8000})
    await limit(household, "Bob", tokens_per_day=60)
    conversation_id, message_id, _ = await household.talk("Bob", "Hello")
    messages = (await bob.get(f"/api/conversations/{conversation_id}")).json()["messages"]
    reply = next(one for one in messages if one["id"] == message_id)
    assert (reply["status"], reply["finish_reason"]) == ("complete", "quota")
    assert reply["text"]
    (row,) = await used(household, "Bob")
    assert row["completion_tokens"] == reply["usage"]["completion_tokens"]
    assert row["counted_tokens"] >= 60
    again = {"mode": "continue", "message_id": message_id}
    refused = await bob.post(f"/api/conversations/{conversation_id}/messages", json=again)
    assert refused.status_code == 429


async def test_prompt_that_is_too_long_is_kept_and_told(household: Household) -> None:
    bob = household.clients["Bob"]
    await limit(household, "Bob", context_tokens=5)
    conversation_id, message_id, _ = await household.talk("Bob", "far too many words " * 5)
    asked, reply = (await bob.get(f"/api/conversations/{conversation_id}")).json()["messages"]
    assert asked["text"].startswith("far too many")
    assert (reply["id"], reply["status"]) == (message_id, "error")
    assert reply["error"]["code"] == "quota_exceeded"
    answer = await bob.post("/v1/completions", json={"prompt": "far too many words " * 5})
    assert answer.status_code == 429
    assert answer.json()["error"]["remaining"] == 5


async def test_text_that_is_stored_is_bounded_and_deleting_makes_room(
    household: Household,
) -> None:
    bob = household.clients["Bob"]
    conversation_id, message_id, _ = await household.talk("Bob", "Hello")
    await limit(household, "Bob", storage_bytes=10)
    assert (await send(bob, conversation_id, "More")).status_code == 429
    edit = {"mode": "edit", "message_id": message_id, "text": "x"}
    path = f"/api/conversations/{conversation_id}/messages"
    assert (await bob.post(path, json=edit)).status_code == 429
    await bob.delete(f"/api/conversations/{conversation_id}")
    other = (await bob.post("/api/conversations")).json()["conversation"]["id"]
    assert (await send(bob, other, "Hi")).status_code == 429, "it can still be brought back"
    await bob.delete(f"/api/trash/{conversation_id}")
    assert (await send(bob, other, "Hi")).status_code == 202


async def test_group_limits_hold_for_its_members_alone(household: Household) -> None:
    ann = household.clients["Ann"]
    await ann.put("/api/limits", json={"limits": {"tokens_per_day": 0}})
    assert (
        await household.clients["Cid"].post("/v1/chat/completions", json=CHAT)
    ).status_code == 429
    body = {"name": "Users", "limits": {"tokens_per_day": 1000}}
    made = await ann.post("/api/groups", json=body | {"member_ids": [household.ids["Bob"]]})
    assert made.status_code == 201
    assert (
        await household.clients["Bob"].post("/v1/chat/completions", json=CHAT)
    ).status_code == 200
    assert (
        await household.clients["Cid"].post("/v1/chat/completions", json=CHAT)
    ).status_code == 429
    told = {
        one["name"]: one
        for one in (await household.clients["Bob"].get("/api/usage")).json()["limits"]
    }
    assert told["tokens_per_day"]["limit"] == 1000


async def test_turn_that_is_refused_for_another_reason_costs_no_message(
    household: Household,
) -> None:
    bob = household.clients["Bob"]
    household.runtime.quotas._clock = lambda: 1000.0
    await limit(household, "Bob", messages_per_minute=1)
    for _ in range(3):
        assert (await bob.post("/api/conversations/nothing/messages", json=SEND)).status_code == 404
    assert (await bob.post("/v1/chat/completions", json=CHAT)).status_code == 200
