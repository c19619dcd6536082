"""What administrators see and do of the server as a whole."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from webui.actor import Actor, Permission, command_line_actor
from webui.chat.events import MeChanged
from webui.engine.fake import FakeEngine
from webui.errors import PermissionDenied

if TYPE_CHECKING:
    from tests.integration.api.conftest import Household

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]


async def test_running_replies_are_shown_by_name_and_without_text(household: Household) -> None:
    await household.runtime.pool.adopt(FakeEngine(5))
    bob, ann = household.clients["Bob"], household.clients["Ann"]
    made = (await bob.post("/api/conversations")).json()["conversation"]["id"]
    body = {"mode": "send", "parent_id": None, "text": "long 300 canary"}
    turn = (await bob.post(f"/api/conversations/{made}/messages", json=body)).json()
    asked = {"messages": [{"role": "user", "content": "long 300 canary"}]}
    cid = asyncio.create_task(household.clients["Cid"].post("/v1/chat/completions", json=asked))
    async with asyncio.timeout(20):
        running = []
        while sum(one["num_tokens"] > 0 for one in running) < 2:
            running = (await ann.get("/api/admin")).json()["server"]["running"]
            await asyncio.sleep(0.02)
    assert {(one["name"], one["is_api"], one["doing"]) for one in running} == {
        ("Bob", False, "writing"),
        ("Cid", True, "writing"),
    }
    assert all(one["since_s"] >= 0 for one in running)
    assert "canary" not in (await ann.get("/api/admin")).text
    await bob.post(f"/api/generations/{turn['generation']['id']}/stop")
    cid.cancel()
    await asyncio.wait({cid})
    async with asyncio.timeout(20):
        while (await ann.get("/api/admin")).json()["server"]["running"]:  # noqa: ASYNC110 - over HTTP
            await asyncio.sleep(0.02)


async def test_texts_that_are_read_for_programs_are_shown_too(household: Household) -> None:
    await household.runtime.pool.adopt(FakeEngine(1))
    ann, bob = household.clients["Ann"], household.clients["Bob"]
    many = "canary " * 1000
    asked = [
        asyncio.create_task(bob.post("/v1/embeddings", json={"input": many})),
        asyncio.create_task(bob.post("/v1/rerank", json={"query": "x", "documents": [many]})),
    ]
    async with asyncio.timeout(20):
        while len((await ann.get("/api/admin")).json()["server"]["running"]) < 2:  # noqa: ASYNC110 - over HTTP
            await asyncio.sleep(0.02)
    answer = await ann.get("/api/admin")
    running = answer.json()["server"]["running"]
    assert {(one["name"], one["is_api"], one["task"], one["doing"]) for one in running} == {
        ("Bob", True, "embed", "reading"),
        ("Bob", True, "rerank", "reading"),
    }
    assert "canary" not in answer.text
    for one in asked:
        one.cancel()
    await asyncio.wait(asked)
    assert (await ann.get("/api/admin")).json()["server"]["running"] == []


async def test_banner_is_seen_by_everybody_and_outlives_a_restart(household: Household) -> None:
    ann, bob = household.clients["Ann"], household.clients["Bob"]
    said = await ann.put("/api/admin/banner", json={"banner": "  Down   at noon\n"})
    assert said.json() == {"banner": "Down at noon"}
    assert (await bob.get("/api/me")).json()["banner"] == "Down at noon"
    await household.runtime.administration.open()  # as at a start
    assert (await bob.get("/api/me")).json()["banner"] == "Down at noon"
    await ann.put("/api/admin/banner", json={"banner": ""})
    assert (await bob.get("/api/me")).json()["banner"] == ""
    long = await ann.put("/api/admin/banner", json={"banner": "x" * 501})
    assert (long.status_code, long.json()["error"]["field"]) == (422, "banner")


async def test_open_pages_hear_of_what_everybody_is_told_and_of_their_own_account(
    household: Household,
) -> None:
    events, ids, ann = household.runtime.events, household.ids, household.clients["Ann"]
    before = {name: events.cursor(ids[name]) for name in ids}

    def who_heard() -> list[str]:
        heard = []
        for name, cursor in before.items():
            entries = events._log(ids[name]).read(int(cursor.rpartition(":")[2]))
            heard += [name] if any(isinstance(one.event, MeChanged) for one in entries) else []
        before.update((name, events.cursor(ids[name])) for name in ids)
        return heard

    async def change(method: str, path: str, body: object) -> list[str]:
        answer = await ann.request(method, path, json=body)
        assert answer.status_code < 300, answer.text
        return who_heard()

    bob = f"/api/users/{ids['Bob']}"
    assert await change("PUT", "/api/admin/banner", {"banner": "Down at noon"}) == list(ids)
    assert await change("PUT", "/api/admin/reading", {"is_on": True}) == list(ids)
    assert await change("PATCH", bob, {"role": "administrator"}) == ["Bob"]
    assert await change("PATCH", bob, {"role": "user", "permissions": ["chat"]}) == ["Bob"]
    assert await change("PATCH", bob, {"name": "Rob"}) == ["Bob"]
    group = {"name": "Few", "member_ids": [ids["Cid"]], "permissions": ["download_models"]}
    assert await change("POST", "/api/groups", group) == ["Cid"]
    assert await change("PUT", "/api/defaults", {"role": "guest"}) == list(ids)
    assert await change("PUT", "/api/limits", {"limits": {"tokens_per_day": 9}}) == []
    for path in ("/api/admin/banner", "/api/admin/reading"):
        body = {"banner": "x"} if path.endswith("banner") else {"is_on": False}
        assert (await household.clients["Cid"].put(path, json=body)).status_code == 403
    assert who_heard() == []


async def test_backup_in_one_click_is_listed(household: Household) -> None:
    ann = household.clients["Ann"]
    made = (await ann.post("/api/admin/backups")).json()["backup"]
    server = (await ann.get("/api/admin")).json()["server"]
    assert server["backups"] == [made]
    assert made["kind"] == "manual"
    assert server["storage"]["backups_bytes"] == made["num_bytes"] > 0
    assert server["storage"]["database_bytes"] > 0
    assert server["num_users"] == 4


async def test_log_is_read_and_has_no_prompt_in_it(household: Household) -> None:
    logging.getLogger("webui.test").warning("something happened")
    await household.talk("Bob", "canary canary")
    lines = (await household.clients["Ann"].get("/api/admin/log")).json()["lines"]
    assert any("something happened" in line for line in lines)
    assert not any("canary" in line for line in lines)


async def test_export_has_all_that_is_ones_own_and_nothing_else(household: Household) -> None:
    for n in range(3):
        await household.talk("Bob", f"canary {n} \N{FIRE}")
    deleted, _, _ = await household.talk("Bob", "thrown away")
    await household.clients["Bob"].delete(f"/api/conversations/{deleted}")
    await household.talk("Cid", "not yours")
    answer = await household.clients["Bob"].get("/api/me/export")
    assert answer.headers["content-disposition"].startswith('attachment; filename="hearthside-')
    saved = answer.json()
    assert saved["hearthside_export"] == 1
    assert saved["user"]["name"] == "Bob"
    texts = [one["messages"][0]["text"] for one in saved["conversations"]]
    assert sorted(texts) == [f"canary {n} \N{FIRE}" for n in range(3)]
    assert all(len(one["messages"]) == 2 for one in saved["conversations"])
    assert saved["parameters"]["top_k"] == 40
    (spent,) = saved["usage"]
    assert (spent["user"], spent["model"], spent["requests"]) == ("Bob", "Made-up model", 4)
    assert spent["completion_tokens"] > 0


async def test_export_of_nothing_is_whole(household: Household) -> None:
    saved = (await household.clients["Bob"].get("/api/me/export")).json()
    assert (saved["conversations"], saved["usage"]) == ([], [])


async def test_administrators_read_chats_only_where_everybody_is_told(household: Household) -> None:
    ann, bob = household.clients["Ann"], household.clients["Bob"]
    conversation_id, _, _ = await household.talk("Bob", "canary")
    theirs = f"/api/users/{household.ids['Bob']}/conversations"
    assert (await ann.get(theirs)).json()["error"]["code"] == "reading_is_off"
    assert not (await bob.get("/api/me")).json()["administrators_read"]
    await ann.put("/api/admin/reading", json={"is_on": True})
    assert (await bob.get("/api/me")).json()["administrators_read"]
    listed = (await ann.get(theirs)).json()["conversations"]
    assert [one["id"] for one in listed] == [conversation_id]
    read = (await ann.get(f"{theirs}/{conversation_id}")).json()
    assert read["messages"][0]["text"] == "canary"
    assert (await ann.get(f"{theirs}/AAAAAAAAAAAAAAAAAAAAAA")).status_code == 404
    assert (await bob.get(theirs)).status_code == 403
    # Looking is all: nothing of it can be changed.
    taken = await ann.patch(f"/api/conversations/{conversation_id}", json={"title": "x"})
    assert taken.status_code == 404
    await ann.put("/api/admin/reading", json={"is_on": False})
    assert (await ann.get(f"{theirs}/{conversation_id}")).status_code == 403
    entries = (await ann.get("/api/audit")).json()["entries"]
    assert [(one["action"], one["about"]) for one in entries[:5]] == [
        ("reading_off", ""),
        ("read_chats", "Bob: conversation AAAAAAAAAAAAAAAAAAAAAA"),
        ("read_chats", f"Bob: conversation {conversation_id}"),
        ("read_chats", "Bob: the list"),
        ("reading_on", ""),
    ]
    assert "canary" not in str(entries)


async def test_who_runs_is_listed_for_administrators_alone(household: Household) -> None:
    administration = household.runtime.administration
    assert await administration.list_running(command_line_actor()) == []
    with pytest.raises(PermissionDenied):
        await administration.list_running(Actor("bob", "Bob", frozenset({Permission.CHAT})))
