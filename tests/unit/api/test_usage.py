"""Usage, limits and groups over HTTP, and how a refusal looks."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from webui import errors
from webui.accounts.groups import GroupChange
from webui.accounts.limits import Limits
from webui.actor import UserRole
from webui.engine.interface import Finish, FinishReason, Prefill, Text, Timings, Usage

RESETS_AT = datetime(2026, 11, 24, tzinfo=UTC)
REFUSED = errors.QuotaExceeded(
    "too much", "Wait.", remaining=3, resets_at=RESETS_AT, retry_after_s=12.2
)


async def test_usage_and_what_is_left_are_told(client, runtime) -> None:
    told = (await client.get("/api/usage?days=7")).json()
    (row,) = told["usage"]
    assert (row["day"], row["model"], row["counted_tokens"]) == ("2026-11-23", "Tiny", 24)
    assert told["limits"][0]["remaining"] == 26
    assert runtime.usage.calls == [("list", 7), ("limits",)]
    everybody = (await client.get("/api/usage/all")).json()
    assert everybody["usage"][0]["user"] == "Ann"
    assert runtime.usage.calls[-1] == ("list_all", 30)


@pytest.mark.parametrize("days", [0, 366, "x"])
@pytest.mark.parametrize("path", ["/api/usage", "/api/usage/all"])
async def test_days_out_of_bounds_are_422(client, path, days) -> None:
    answer = await client.get(path, params={"days": days})
    assert answer.status_code == 422
    assert answer.json()["error"]["field"] == "days"


async def test_limits_are_set_and_null_is_no_limit(client, runtime) -> None:
    body = {"limits": {"tokens_per_day": 5, "storage_bytes": None}}
    await client.put("/api/limits", json=body)
    (_, limits, _) = runtime.groups.calls[-1]
    assert limits.saved() == {"tokens_per_day": 5, "storage_bytes": None}
    assert (await client.get("/api/limits")).json() == {"limits": {"tokens_per_day": 5}}
    await client.put("/api/users/u1/limits", json={"limits": {}})
    assert runtime.groups.calls[-1][:3] == ("set_limits_of", "u1", Limits())
    told = (await client.get("/api/users/u1/limits")).json()
    holds = {"tokens_per_day": 5}
    assert (told["limits"], told["inherited"], told["effective"]) == ({}, holds, holds)
    assert told["sources"] == {"tokens_per_day": {"kind": "group", "group": "Children"}}
    assert (await client.get("/api/limits/all")).json() == {"people": [told]}


async def test_defaults_are_told_and_set_whole(client, runtime) -> None:
    told = {"role": "guest", "permissions": ["chat"], "is_changed": True}
    assert (await client.get("/api/defaults")).json() == {"defaults": told}
    await client.put("/api/defaults", json={"role": "guest", "permissions": ["chat"]})
    assert runtime.defaults.calls[-1][:3] == ("set", UserRole.GUEST, ["chat"])
    await client.put("/api/defaults", json={"role": "user"})
    assert runtime.defaults.calls[-1][:3] == ("set", UserRole.USER, None)
    for wrong in ({}, {"role": "king"}, {"role": "user", "permissions": "chat"}):
        assert (await client.put("/api/defaults", json=wrong)).status_code == 422


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "limits"),
        ({"limits": {"tokens_per_day": -1}}, "limits.tokens_per_day"),
        ({"limits": {"tokens_per_day": 1.5}}, "limits.tokens_per_day"),
        ({"limits": {"tokens_per_day": True}}, "limits.tokens_per_day"),
        ({"limits": {"requests_at_once": 0}}, "limits.requests_at_once"),
        ({"limits": {"x": 1}}, "limits.x"),
    ],
)
async def test_wrong_limits_are_422_naming_the_field(client, body, field) -> None:
    answer = await client.put("/api/limits", json=body)
    assert answer.status_code == 422
    assert answer.json()["error"]["field"] == field


async def test_groups_are_made_changed_and_deleted(client, runtime) -> None:
    assert (await client.get("/api/groups")).json()["groups"][0]["member_ids"] == ["u1"]
    made = await client.post("/api/groups", json={"name": "Kids", "member_ids": ["u1"]})
    assert made.status_code == 201
    assert runtime.groups.calls[-1][1] == GroupChange(name="Kids", member_ids=["u1"])
    await client.patch("/api/groups/g1", json={"limits": {"tokens_per_day": 5}})
    wanted = GroupChange(limits=Limits(tokens_per_day=5))
    assert runtime.groups.calls[-1][:3] == ("change", "g1", wanted)
    moves = {"joining_ids": ["u2"], "leaving_ids": ["u1"], "permissions": ["chat"]}
    await client.patch("/api/groups/g1", json=moves)
    wanted = GroupChange(permissions=["chat"], joining_ids=("u2",), leaving_ids=("u1",))
    assert runtime.groups.calls[-1][:3] == ("change", "g1", wanted)
    assert (await client.patch("/api/groups/g1", json={})).status_code == 422
    assert (await client.delete("/api/groups/g1")).status_code == 204


async def test_refusal_says_what_is_left_and_when_there_is_more(client, runtime) -> None:
    runtime.conversations.error = REFUSED
    answer = await client.get("/api/conversations")
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "13"
    error = answer.json()["error"]
    assert (error["code"], error["message"], error["hint"]) == (REFUSED.code, "too much", "Wait.")
    assert (error["remaining"], error["resets_at"]) == (3, "2026-11-24T00:00:00Z")


@pytest.mark.parametrize("stream", [True, False])
async def test_refusal_has_the_shape_of_the_dialect(client, runtime, stream: bool) -> None:
    runtime.generations.script = [REFUSED]
    body = {"messages": [{"role": "user", "content": "x"}], "stream": stream}
    answer = await client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "13"
    assert answer.json()["error"] == {
        "message": "too much. Wait.",
        "type": "rate_limit_error",
        "param": None,
        "code": "quota_exceeded",
        "remaining": 3,
        "resets_at": "2026-11-24T00:00:00Z",
    }


async def test_refusal_that_time_does_not_help_names_none(client, runtime) -> None:
    runtime.conversations.error = errors.QuotaExceeded("full")
    answer = await client.get("/api/conversations")
    assert "retry-after" not in answer.headers
    assert answer.json()["error"]["resets_at"] is None


@pytest.mark.parametrize("stream", [True, False])
async def test_reply_that_used_up_the_day_says_so(client, runtime, stream: bool) -> None:
    finish = Finish(FinishReason.QUOTA, Usage(5, 1), Timings(0, 0, 0))
    runtime.generations.script = [Prefill(5, 5), Text("Hel", 1), finish]
    body = {"messages": [{"role": "user", "content": "x"}], "stream": stream}
    text = (await client.post("/v1/chat/completions", json=body)).text
    assert '"finish_reason":"length"' in text
    assert '"limited_by":"tokens_per_day"' in text
    assert "Hel" in text


async def test_replies_to_one_request_are_let_in_together(client, runtime) -> None:
    body = {"messages": [{"role": "user", "content": "x"}], "n": 3}
    await client.post("/v1/chat/completions", json=body)
    assert runtime.generations.admissions == [3, 3, 3]
