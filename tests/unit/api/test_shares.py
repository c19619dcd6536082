"""Routes of shares: what is passed on, what is answered, and what is refused before that."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from webui.chat.sharing import Wanted


async def test_share_is_made_of_what_is_named_and_no_more(client, runtime) -> None:
    answer = await client.post(
        "/api/shares", json={"conversation_id": "c1", "user_ids": ["u1"], "leaf_id": "m1"}
    )
    assert answer.status_code == 201
    (view,) = answer.json()["shares"]
    assert (view["num_messages"], view["num_people"], view["name"]) == (2, 1, "Bob")
    name, wanted, _ = runtime.sharing.calls[0]
    assert (name, wanted) == (
        "share",
        Wanted(conversation_id="c1", user_ids=["u1"], group_ids=[], leaf_id="m1"),
    )
    assert not wanted.is_live
    assert not wanted.everybody


async def test_time_and_kind_are_passed_on(client, runtime) -> None:
    body = {
        "conversation_id": "c1",
        "group_ids": ["g1"],
        "everybody": True,
        "is_live": True,
        "expires_at": "2027-01-02T03:04:05Z",
    }
    assert (await client.post("/api/shares", json=body)).status_code == 201
    wanted = runtime.sharing.calls[0][1]
    assert (wanted.is_live, wanted.everybody, wanted.group_ids) == (True, True, ["g1"])
    assert wanted.expires_at == datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"everybody": True}, "conversation_id"),
        ({"conversation_id": "../x"}, "conversation_id"),
        ({"conversation_id": "c1", "user_ids": "u1"}, "user_ids"),
        ({"conversation_id": "c1", "user_ids": ["u"] * 101}, "user_ids"),
        ({"conversation_id": "c1", "everybody": "yes"}, "everybody"),
        ({"conversation_id": "c1", "expires_at": "2027-01-02T03:04:05"}, "expires_at"),
        ({"conversation_id": "c1", "owner_id": "u2"}, "owner_id"),
    ],
)
async def test_body_of_wrong_form_is_refused(client, runtime, body, field) -> None:
    answer = await client.post("/api/shares", json=body)
    assert answer.status_code == 422
    assert answer.json()["error"]["field"] == field
    assert runtime.sharing.calls == []


async def test_what_is_shared_and_received_is_listed_read_copied_and_ended(client, runtime) -> None:
    assert (await client.get("/api/shares")).json()["shares"][0]["id"] == "s1"
    choices = (await client.get("/api/shares/choices?conversation_id=c1")).json()
    assert (choices["people"], choices["num_everybody"]) == ([{"id": "u1", "name": "Bob"}], 1)
    assert (await client.get("/api/shares/choices")).status_code == 422
    assert (await client.get("/api/shares/received")).json()["shares"][0]["owner"] == "Bob"
    read = (await client.get("/api/shares/received/s1")).json()
    assert set(read) == {"share", "messages", "version"}
    same = await client.get("/api/shares/received/s1?version=v1")
    assert (same.status_code, same.content) == (204, b"")
    assert set(read["messages"][0]) == {
        *("id", "role", "text", "reasoning", "status", "model", "created_at"),
    }
    copied = await client.post("/api/shares/received/s1/copy")
    assert (copied.status_code, copied.json()["conversation"]["id"]) == (201, "c1")
    assert (await client.delete("/api/shares/s1")).status_code == 204
    assert [call[:2] for call in runtime.sharing.calls] == [
        ("list",),
        ("choices", "c1"),
        ("list_received",),
        ("get_received", "s1"),
        ("get_received", "s1"),
        ("copy", "s1"),
        ("revoke", "s1"),
    ]
