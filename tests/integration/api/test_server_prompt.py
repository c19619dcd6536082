"""The server prompt in a whole app: who sets it, who reads it, and what it is counted as."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.tiny_gguf import write_tiny_gguf
from webui.engine.fake_answer import tokens

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.api.conftest import Household

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

ROUTE = "/api/server-prompt"
TOLD = "The word of this house is canary. Be brief."
QUESTION = {"role": "user", "content": "short"}


async def put(household: Household, name: str, text: str) -> Any:
    return await household.clients[name].put(ROUTE, json={"server_prompt": text})


async def num_read(household: Household, name: str, *messages: dict[str, str]) -> int:
    """Return the tokens of the prompt of a chat over `/v1`."""
    body = {"messages": messages, "max_tokens": 1}
    answer = await household.clients[name].post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    return int(answer.json()["usage"]["prompt_tokens"])


async def test_administrator_sets_it_and_everybody_reads_it(household: Household) -> None:
    said = await put(household, "Ann", f"  {TOLD}\n")
    assert said.json() == {"server_prompt": TOLD}
    for name in ("Bob", "Gus"):
        assert (await household.clients[name].get(ROUTE)).json() == {"server_prompt": TOLD}
        assert (await put(household, name, "Obey me.")).status_code == 403
    assert (await household.clients[""].get(ROUTE)).status_code == 401
    await household.runtime.server_prompt.open()  # as at a start
    assert (await household.clients["Bob"].get(ROUTE)).json() == {"server_prompt": TOLD}
    long = await put(household, "Ann", "é" * 200_001)
    assert (long.status_code, long.json()["error"]["field"]) == (422, "server_prompt")
    assert (await put(household, "Ann", "é" * 200_000)).status_code == 200
    assert (await put(household, "Ann", "")).json() == {"server_prompt": ""}


async def test_change_stands_under_what_was_done_without_its_words(household: Household) -> None:
    await put(household, "Ann", TOLD)
    await put(household, "Ann", TOLD)
    await put(household, "Ann", "")
    answer = await household.clients["Ann"].get("/api/audit")
    entries = [
        (one["actor_name"], one["about"])
        for one in answer.json()["entries"]
        if one["action"] == "set_server_prompt"
    ]
    assert entries == [("Ann", "none"), ("Ann", f"{len(TOLD)} characters")]
    assert "canary" not in answer.text


async def test_every_chat_reads_it_guests_and_programs_too(household: Household) -> None:
    own = {"role": "system", "content": "Be kind."}
    before = await num_read(household, "Bob", QUESTION)
    with_own = await num_read(household, "Bob", own, QUESTION)
    await put(household, "Ann", TOLD)
    num = len(tokens(TOLD)) + 1  # one for the end of the message
    for name in ("Ann", "Bob", "Gus"):
        assert await num_read(household, name, QUESTION) == before + num
        conversation_id, _, _ = await household.talk(name, "short")
        told = await household.clients[name].get(f"/api/conversations/{conversation_id}")
        assert told.json()["messages"][-1]["usage"]["prompt_tokens"] == before + num
    assert await num_read(household, "Bob", own, QUESTION) == with_own, "it is sent as it is"
    await put(household, "Ann", "")
    assert await num_read(household, "Bob", QUESTION) == before


async def test_it_is_in_nothing_that_is_ones_own(household: Household) -> None:
    await put(household, "Ann", TOLD)
    conversation_id, _, _ = await household.talk("Bob", "short")
    bob = household.clients["Bob"]
    for path in (f"/api/conversations/{conversation_id}", "/api/me/export", "/api/parameters"):
        answer = await bob.get(path)
        assert answer.status_code == 200
        assert "canary" not in answer.text, path


async def test_one_too_long_for_the_model_is_named_as_what_to_shorten(household: Household) -> None:
    await put(household, "Ann", "word " * 9000)
    body = {"messages": [QUESTION]}
    answer = await household.clients["Bob"].post("/v1/chat/completions", json=body)
    assert answer.status_code == 400
    assert "have an administrator shorten the server prompt" in answer.text


async def test_model_reads_it_once_for_all_and_ones_own_words_for_each(
    household: Household, tmp_path: Path
) -> None:
    write_tiny_gguf(tmp_path / "models" / "tiny.gguf", context_length=1024)  # a token is a byte
    ann = household.clients["Ann"]
    loading = await ann.post("/api/models/load", json={"model_id": "tiny.gguf"})
    assert loading.status_code == 202, loading.text
    ready = {"state": "ready", "model_id": "tiny.gguf"}
    async with asyncio.timeout(30):
        while not ready.items() <= (await ann.get("/health")).json()["model"].items():  # noqa: ASYNC110 - over HTTP
            await asyncio.sleep(0.05)
    told = TOLD * 5
    await put(household, "Ann", told)

    async def cached(name: str, own: str) -> int:
        client = household.clients[name]
        await client.put("/api/parameters", json={"system_prompt": own, "max_tokens": 2})
        conversation_id, _, _ = await household.talk(name, "short")
        transcript = (await client.get(f"/api/conversations/{conversation_id}")).json()
        return int(transcript["messages"][-1]["usage"]["cached_tokens"])

    assert await cached("Ann", "My word is zebrafinch.") == 0
    shared = await cached("Bob", "")
    assert len(told) <= shared <= len(told) + 20
    assert await cached("Gus", "My word is zebrafinch.") == shared, "no more than without"
    assert await cached("Cid", "Quagmire.") == shared
    await put(household, "Ann", f"Other words. {told}")
    assert await cached("Bob", "") < 20
