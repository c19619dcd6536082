"""Sharing a conversation: who reads what of it, and every way in which that ends."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from webui.storage import conversations, messages
from webui.storage.messages import MessageEnd
from webui.storage.tables import MessageStatus, utc_now

if TYPE_CHECKING:
    from tests.integration.api.conftest import Household

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

CANARY = "canary-51ad"
RECEIVED = "/api/shares/received"


async def post(household: Household, name: str, path: str, body: Any = None, status: int = 201):
    answer = await household.clients[name].post(path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


async def get(household: Household, name: str, path: str, status: int = 200) -> Any:
    answer = await household.clients[name].get(path)
    assert answer.status_code == status, answer.text
    return answer.json()


async def add_group(household: Household, name: str, *members: str) -> str:
    body = {"name": name, "member_ids": [household.ids[one] for one in members]}
    made = await post(household, "Ann", "/api/groups", body)
    return str(made["group"]["id"])


async def shared(household: Household, **more: Any) -> tuple[str, str]:
    """Have Bob share a conversation, with Cid where nothing else is said; returns both ids."""
    conversation_id = more.pop("conversation_id", None)
    if conversation_id is None:
        conversation_id, _, _ = await household.talk("Bob", "What burns?")
    if not {"user_ids", "group_ids", "everybody"} & more.keys():
        more["user_ids"] = [household.ids["Cid"]]
    made = await post(household, "Bob", "/api/shares", {"conversation_id": conversation_id} | more)
    return conversation_id, made["shares"][0]["id"]


async def reads(household: Household, name: str, share_id: str) -> bool:
    """Whether somebody reads a share; list, transcript and copy must agree."""
    listed = await get(household, name, RECEIVED)
    is_listed = share_id in [one["id"] for one in listed["shares"]]
    status = 200 if is_listed else 404
    await get(household, name, f"{RECEIVED}/{share_id}", status)
    answer = await household.clients[name].post(f"{RECEIVED}/{share_id}/copy")
    assert answer.status_code == (201 if is_listed else 404)
    return is_listed


async def say(household: Household, conversation_id: str, body: dict[str, Any]) -> Any:
    bob = household.clients["Bob"]
    path = f"/api/conversations/{conversation_id}"
    answer = await bob.post(f"{path}/messages", json=body)
    assert answer.status_code in {200, 202}, answer.text
    async with asyncio.timeout(20):
        while (await bob.get(path)).json()["generation"]:  # noqa: ASYNC110 - it asks over HTTP
            await asyncio.sleep(0.01)
    return answer.json()


async def test_nobody_reads_what_was_not_shared_with_them(household: Household) -> None:
    conversation_id, share_id = await shared(household)
    assert await reads(household, "Cid", share_id)
    for name in ("Ann", "Bob", "Gus"):
        assert not await reads(household, name, share_id)
    await get(household, "", f"{RECEIVED}/{share_id}", 401)
    # The way to the conversation itself stays shut for who reads the share.
    await get(household, "Cid", f"/api/conversations/{conversation_id}", 404)
    for name in ("Ann", "Cid", "Gus"):
        answer = await household.clients[name].delete(f"/api/shares/{share_id}")
        assert answer.status_code == 404
        assert (await get(household, name, "/api/shares"))["shares"] == []


async def test_reader_sees_the_words_and_nothing_else(household: Household) -> None:
    bob = household.clients["Bob"]
    wishes = {"system_prompt": f"Secret {CANARY}", "stop": [CANARY]}
    assert (await bob.patch("/api/parameters", json=wishes)).status_code == 200
    conversation_id, _, _ = await household.talk("Bob", "What burns?")
    path = f"/api/conversations/{conversation_id}"
    own = await get(household, "Bob", path)
    first, reply = own["messages"]
    other = await say(
        household, conversation_id, {"mode": "edit", "message_id": reply["id"], "text": CANARY}
    )
    assert other["messages"][0]["text"] == CANARY
    await bob.patch(path, json={"active_leaf_id": reply["id"]})
    _, share_id = await shared(household, conversation_id=conversation_id)
    answer = await household.clients["Cid"].get(f"{RECEIVED}/{share_id}")
    assert CANARY not in answer.text
    assert conversation_id not in answer.text
    assert household.ids["Bob"] not in answer.text
    seen = answer.json()
    assert seen["share"]["owner"] == "Bob"
    assert [one["text"] for one in seen["messages"]] == [first["text"], reply["text"]]
    fields = {"id", "role", "text", "reasoning", "status", "model", "created_at"}
    assert all(set(one) == fields for one in seen["messages"])


async def test_live_share_is_sent_again_when_something_of_it_is_another(household) -> None:
    conversation_id, share_id = await shared(household, is_live=True)
    path, own = f"{RECEIVED}/{share_id}", f"/api/conversations/{conversation_id}"
    before = await get(household, "Cid", path)
    known = f"{path}?version={before['version']}"
    assert (await household.clients["Cid"].get(known)).status_code == 204
    send = {"mode": "send", "parent_id": before["messages"][-1]["id"], "text": "And then?"}
    await say(household, conversation_id, send)
    grown = await get(household, "Cid", known)
    assert len(grown["messages"]) == 4
    known = f"{path}?version={grown['version']}"
    assert (await household.clients["Cid"].get(known)).status_code == 204
    await household.clients["Bob"].patch(own, json={"title": "Another"})
    assert (await get(household, "Cid", known))["share"]["title"] == "Another"
    await get(household, "Ann", known, 404)
    await get(household, "Cid", f"{path}?version={'x' * 65}", 422)
    await household.clients["Bob"].delete(f"/api/shares/{share_id}")
    await get(household, "Cid", known, 404)


async def test_share_with_a_group_rests_while_its_owner_is_no_member(household) -> None:
    group_id = await add_group(household, "Readers", "Bob", "Cid")
    _, share_id = await shared(household, group_ids=[group_id], is_live=True)
    assert await reads(household, "Cid", share_id)
    for members, is_read in ((["Cid"], False), (["Bob", "Cid"], True)):
        body = {"member_ids": [household.ids[one] for one in members]}
        answer = await household.clients["Ann"].patch(f"/api/groups/{group_id}", json=body)
        assert answer.status_code == 200, answer.text
        assert await reads(household, "Cid", share_id) is is_read


async def test_snapshot_stays_as_it_stood(household: Household) -> None:
    conversation_id, share_id = await shared(household)
    path = f"{RECEIVED}/{share_id}"
    before = await get(household, "Cid", path)
    assert not before["share"]["is_live"]
    bob, leaf = household.clients["Bob"], before["messages"][-1]
    own = f"/api/conversations/{conversation_id}"
    # As a reply that is continued does: it grows in its place.
    database, owner = household.runtime.database, household.ids["Bob"]
    await database.run(messages.reopen, owner, conversation_id, leaf["id"])
    assert await get(household, "Cid", path) == before
    end = MessageEnd(text=leaf["text"] + CANARY, reasoning=CANARY, status=MessageStatus.COMPLETE)
    await database.run(messages.finish, owner, leaf["id"], end)
    grown = await database.read(messages.get, owner, conversation_id, leaf["id"])
    assert CANARY in grown.text
    assert await get(household, "Cid", path) == before
    send = {"mode": "send", "parent_id": leaf["id"], "text": "And then?"}
    await say(household, conversation_id, send)
    edit = {"mode": "edit", "message_id": before["messages"][0]["id"], "text": "Other"}
    await say(household, conversation_id, edit)
    await bob.patch(own, json={"title": "Another title"})
    assert await get(household, "Cid", path) == before


async def test_live_share_follows_the_branch_that_is_shown(household: Household) -> None:
    conversation_id, share_id = await shared(household, is_live=True)
    path = f"{RECEIVED}/{share_id}"
    leaf = (await get(household, "Cid", path))["messages"][-1]
    send = {"mode": "send", "parent_id": leaf["id"], "text": "And then?"}
    await say(household, conversation_id, send)
    await household.clients["Bob"].patch(
        f"/api/conversations/{conversation_id}", json={"title": "Another title"}
    )
    after = await get(household, "Cid", path)
    assert after["share"]["title"] == "Another title"
    assert [one["role"] for one in after["messages"]] == ["user", "assistant"] * 2
    assert after["messages"][2]["text"] == "And then?"


async def test_snapshot_ends_with_the_message_that_is_named(household: Household) -> None:
    conversation_id, message_id, _ = await household.talk("Bob", "One")
    send = {"mode": "send", "parent_id": message_id, "text": "Two"}
    await say(household, conversation_id, send)
    _, share_id = await shared(household, conversation_id=conversation_id, leaf_id=message_id)
    seen = await get(household, "Cid", f"{RECEIVED}/{share_id}")
    assert [one["id"] for one in seen["messages"]][1:] == [message_id]
    body = {"conversation_id": conversation_id, "everybody": True, "leaf_id": "elsewhere"}
    error = (await post(household, "Bob", "/api/shares", body, 422))["error"]
    assert error["field"] == "leaf_id"


async def test_answer_says_who_will_see_how_much(household: Household) -> None:
    group_id = await add_group(household, "Readers", "Bob", "Cid", "Ann", "Gus")
    conversation_id, _, _ = await household.talk("Bob", "What burns?")
    path = f"/api/shares/choices?conversation_id={conversation_id}"
    choices = await get(household, "Bob", path)
    assert choices["num_messages"] == 2
    assert [one["name"] for one in choices["people"]] == ["Ann", "Cid"]
    assert choices["groups"] == [{"id": group_id, "name": "Readers", "num_people": 2}]
    assert (choices["num_everybody"], choices["shares"]) == (2, [])
    made = await post(
        household,
        "Bob",
        "/api/shares",
        {
            "conversation_id": conversation_id,
            "user_ids": [household.ids["Cid"]] * 2,
            "group_ids": [group_id],
            "everybody": True,
        },
    )
    seen = [(one["audience"], one["name"], one["num_people"]) for one in made["shares"]]
    assert seen == [("person", "Cid", 1), ("group", "Readers", 2), ("everybody", None, 2)]
    assert {one["num_messages"] for one in made["shares"]} == {2}
    assert not any(one["is_live"] or one["expires_at"] for one in made["shares"])
    assert len((await get(household, "Bob", path))["shares"]) == 3
    assert len((await get(household, "Cid", RECEIVED))["shares"]) == 3
    await get(household, "Cid", path, 404)
    await get(household, "Gus", path, 403)


async def test_nothing_is_shared_by_mistake(household: Household) -> None:
    foreign = await add_group(household, "Strangers", "Ann", "Cid")
    conversation_id, _, _ = await household.talk("Bob", "What burns?")
    ids = household.ids
    past, far = utc_now() - timedelta(seconds=1), utc_now() + timedelta(days=5000)
    for more, status, field in (
        ({}, 422, "user_ids"),
        ({"everybody": False, "user_ids": []}, 422, "user_ids"),
        ({"user_ids": [ids["Bob"]]}, 404, "user_ids"),
        ({"user_ids": [ids["Gus"]]}, 404, "user_ids"),
        ({"user_ids": [ids["Cid"], "nobody"]}, 404, "user_ids"),
        ({"group_ids": [foreign]}, 404, "group_ids"),
        ({"everybody": True, "expires_at": past.isoformat()}, 422, "expires_at"),
        ({"everybody": True, "expires_at": far.isoformat()}, 422, "expires_at"),
        ({"everybody": True, "expires_at": "0001-01-01T00:00:00+23:59"}, 422, "expires_at"),
        ({"everybody": True, "expires_at": "9999-12-31T23:59:59-23:59"}, 422, "expires_at"),
    ):
        body = {"conversation_id": conversation_id} | more
        error = (await post(household, "Bob", "/api/shares", body, status))["error"]
        assert error["field"] == field, more
    for name, status in (("Cid", 404), ("Ann", 404), ("Gus", 403)):
        body = {"conversation_id": conversation_id, "everybody": True}
        await post(household, name, "/api/shares", body, status)
    empty = (await post(household, "Bob", "/api/conversations"))["conversation"]["id"]
    await post(household, "Bob", "/api/shares", {"conversation_id": empty, "everybody": True}, 422)
    assert (await get(household, "Bob", "/api/shares"))["shares"] == []
    assert (await get(household, "Cid", RECEIVED))["shares"] == []


async def test_snapshot_waits_for_the_end_of_the_reply(household: Household) -> None:
    conversation_id, message_id, _ = await household.talk("Bob", "What burns?")
    database, bob = household.runtime.database, household.ids["Bob"]
    await database.run(messages.reopen, bob, conversation_id, message_id)
    body = {"conversation_id": conversation_id, "everybody": True}
    await post(household, "Bob", "/api/shares", body, 409)
    live = await post(household, "Bob", "/api/shares", body | {"is_live": True})
    seen = await get(household, "Cid", f"{RECEIVED}/{live['shares'][0]['id']}")
    assert seen["messages"][-1]["status"] == "pending"
    end = MessageEnd(text="Wood.", reasoning="", status=MessageStatus.COMPLETE)
    await database.run(messages.finish, bob, message_id, end)
    again = await post(household, "Bob", "/api/shares", body)
    (listed,) = (await get(household, "Cid", RECEIVED))["shares"]
    assert listed["id"] == again["shares"][0]["id"]  # in place of the live one


async def test_share_ends_when_it_is_revoked_once(household: Household) -> None:
    _, share_id = await shared(household)
    bob = household.clients["Bob"]
    assert (await bob.delete(f"/api/shares/{share_id}")).status_code == 204
    assert not await reads(household, "Cid", share_id)
    assert (await bob.delete(f"/api/shares/{share_id}")).status_code == 404


async def test_share_ends_with_its_time(household: Household) -> None:
    now = utc_now()
    ends = (now + timedelta(hours=1)).isoformat()
    _, share_id = await shared(household, expires_at=ends)
    assert await reads(household, "Cid", share_id)
    household.runtime.sharing._clock = lambda: now + timedelta(hours=1, seconds=1)
    assert not await reads(household, "Cid", share_id)
    (own,) = (await get(household, "Bob", "/api/shares"))["shares"]
    assert own["is_expired"]


async def test_share_ends_with_the_conversation_and_does_not_come_back(
    household: Household,
) -> None:
    conversation_id, share_id = await shared(household)
    path = f"/api/conversations/{conversation_id}"
    bob = household.clients["Bob"]
    assert (await bob.delete(path)).status_code == 204
    assert not await reads(household, "Cid", share_id)
    assert (await bob.post(f"{path}/restore")).status_code == 200
    assert not await reads(household, "Cid", share_id)
    assert (await get(household, "Bob", "/api/shares"))["shares"] == []


async def test_share_of_what_the_trash_holds_is_not_read(household: Household) -> None:
    """However it came there: the door looks itself."""
    conversation_id, share_id = await shared(household)
    run = household.runtime.database.run
    await run(conversations.delete, household.ids["Bob"], conversation_id)
    assert not await reads(household, "Cid", share_id)


@pytest.mark.parametrize(
    ("who", "change"),
    [
        ("Bob", {"is_disabled": True}),
        ("Bob", {"role": "guest", "empties": True}),
        ("Bob", {"permissions": ["chat"]}),
        ("Cid", {"role": "guest"}),
    ],
)
async def test_share_ends_with_what_its_people_may(
    household: Household, who: str, change: dict[str, Any]
) -> None:
    _, share_id = await shared(household)
    ann = household.clients["Ann"]
    answer = await ann.patch(f"/api/users/{household.ids[who]}", json=change)
    assert answer.status_code == 200
    assert not await reads(household, "Cid", share_id)


async def test_share_ends_with_the_account_of_its_owner(household: Household) -> None:
    _, share_id = await shared(household)
    ann = household.clients["Ann"]
    assert (await ann.delete(f"/api/users/{household.ids['Bob']}")).status_code == 204
    assert not await reads(household, "Cid", share_id)


async def test_share_ends_for_who_leaves_the_group_and_with_the_group(
    household: Household,
) -> None:
    group_id = await add_group(household, "Readers", "Bob", "Cid", "Gus")
    _, share_id = await shared(household, group_ids=[group_id])
    assert await reads(household, "Cid", share_id)
    for name in ("Ann", "Gus"):  # who looks after groups, and a guest in it
        assert not await reads(household, name, share_id)
    ann, path = household.clients["Ann"], f"/api/groups/{group_id}"
    members = {"member_ids": [household.ids["Bob"]]}
    assert (await ann.patch(path, json=members)).status_code == 200
    assert not await reads(household, "Cid", share_id)
    members = {"member_ids": [household.ids["Bob"], household.ids["Cid"]]}
    assert (await ann.patch(path, json=members)).status_code == 200
    assert await reads(household, "Cid", share_id)
    assert (await ann.delete(path)).status_code == 204
    assert not await reads(household, "Cid", share_id)
    assert (await get(household, "Bob", "/api/shares"))["shares"] == []


async def test_guest_neither_shares_nor_reads(household: Household) -> None:
    ann = household.clients["Ann"]
    grant = {"permissions": ["chat", "sharing"]}
    answer = await ann.patch(f"/api/users/{household.ids['Gus']}", json=grant)
    assert answer.status_code == 200
    conversation_id, _, _ = await household.talk("Gus", "What burns?")
    body = {"conversation_id": conversation_id, "everybody": True}
    error = (await post(household, "Gus", "/api/shares", body, 403))["error"]
    assert "guests do not share" in error["message"]
    _, share_id = await shared(household, everybody=True)
    assert await reads(household, "Ann", share_id)
    assert not await reads(household, "Gus", share_id)


async def test_copy_is_a_conversation_of_ones_own(household: Household) -> None:
    conversation_id, share_id = await shared(household)
    seen = await get(household, "Cid", f"{RECEIVED}/{share_id}")
    made = await post(household, "Cid", f"{RECEIVED}/{share_id}/copy")
    copy_id = made["conversation"]["id"]
    assert copy_id != conversation_id
    await household.clients["Bob"].delete(f"/api/conversations/{conversation_id}")
    own = await get(household, "Cid", f"/api/conversations/{copy_id}")
    assert own["conversation"]["title"] == seen["share"]["title"]
    assert [one["text"] for one in own["messages"]] == [one["text"] for one in seen["messages"]]
    assert not {one["id"] for one in own["messages"]} & {one["id"] for one in seen["messages"]}
    leaf = own["messages"][-1]["id"]
    assert own["conversation"]["active_leaf_id"] == leaf
    body = {"mode": "send", "parent_id": leaf, "text": "And then?"}
    turn = await household.clients["Cid"].post(f"/api/conversations/{copy_id}/messages", json=body)
    assert turn.status_code == 202
    await get(household, "Bob", f"/api/conversations/{copy_id}", 404)


async def test_copy_keeps_to_the_room_of_who_makes_it(household: Household) -> None:
    _, share_id = await shared(household)
    limits = {"limits": {"storage_bytes": 1}}
    path = f"/api/users/{household.ids['Cid']}/limits"
    assert (await household.clients["Ann"].put(path, json=limits)).status_code == 200
    await post(household, "Cid", f"{RECEIVED}/{share_id}/copy", status=429)
    assert (await get(household, "Cid", "/api/conversations"))["conversations"] == []


async def test_what_is_written_down_names_people_and_no_title(household: Household) -> None:
    conversation_id, share_id = await shared(household)
    bob = household.clients["Bob"]
    await bob.patch(f"/api/conversations/{conversation_id}", json={"title": CANARY})
    await shared(household, conversation_id=conversation_id, everybody=True)
    await bob.delete(f"/api/shares/{share_id}")
    entries = (await get(household, "Ann", "/api/audit"))["entries"]
    written = [one for one in entries if "share" in one["action"]]
    assert [one["action"] for one in written] == ["unshare", "share", "share"]
    assert all(one["actor_name"] == "Bob" for one in written)
    about = f"conversation {conversation_id}"
    assert [one["about"] for one in written] == [
        f"{about}, with person Cid",
        f"{about}, 2 messages, with everybody (2)",
        f"{about}, 2 messages, with person Cid (1)",
    ]
    assert CANARY not in str(written)
    assert "burns" not in str(written)


async def test_many_at_once_are_one_entry(household: Household) -> None:
    group_id = await add_group(household, "Readers", "Bob", "Cid")
    people = [household.ids["Cid"], household.ids["Ann"]]
    conversation_id, _ = await shared(
        household, user_ids=people, group_ids=[group_id], is_live=True
    )
    entries = (await get(household, "Ann", "/api/audit"))["entries"]
    (written,) = [one["about"] for one in entries if one["action"] == "share"]
    who = "person Cid (1), person Ann (1), group Readers (1)"
    assert written == f"conversation {conversation_id}, live, with {who}"


async def test_owner_and_readers_hear_of_it(household: Household) -> None:
    events, ids = household.runtime.events, household.ids
    before = {name: events.cursor(ids[name]) for name in ids}

    def has_heard(name: str) -> bool:
        number = int(before[name].rpartition(":")[2])
        entries = events._log(ids[name]).read(number)
        before[name] = events.cursor(ids[name])
        return any(type(one.event).__name__ == "SharesChanged" for one in entries)

    conversation_id, share_id = await shared(household)
    assert [name for name in ids if has_heard(name)] == ["Bob", "Cid"]
    await household.clients["Bob"].delete(f"/api/shares/{share_id}")
    assert [name for name in ids if has_heard(name)] == ["Bob", "Cid"]
    await shared(household, conversation_id=conversation_id)
    assert has_heard("Cid")
    await household.clients["Bob"].delete(f"/api/conversations/{conversation_id}")
    assert has_heard("Cid")


async def test_no_more_shares_than_there_may_be(
    household: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webui.chat.sharing.MAX_SHARES", 1)
    conversation_id, share_id = await shared(household)
    again = await shared(household, conversation_id=conversation_id, is_live=True)
    assert again == (conversation_id, share_id), "what is replaced takes no room"
    body = {"conversation_id": conversation_id, "everybody": True}
    error = (await post(household, "Bob", "/api/shares", body, 409))["error"]
    assert "1 shares" in error["message"]
