"""What each permission opens in a whole app, wherever it comes from: role, groups, own setting."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.api.conftest import status_of

if TYPE_CHECKING:
    from tests.integration.api.conftest import Household

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

OTHERS = SimpleNamespace(job=SimpleNamespace(id="x", owner_id="x"), path=None)
CHAT = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1}
# By permission: what needs it, and the answer to who has it.
NEEDS: dict[str, list[tuple[str, str, Any, int]]] = {
    "chat": [
        ("POST", "/api/conversations", None, 201),
        ("POST", "/v1/chat/completions", CHAT, 200),
        ("POST", "/v1/embeddings", {"input": "x"}, 200),
    ],
    "api_keys": [("POST", "/api/keys", {"name": "x"}, 201)],
    "sharing": [("POST", "/api/shares", {"conversation_id": "x", "everybody": True}, 404)],
    "download_models": [("POST", "/api/models/starter", None, 409)],
    "load_models": [
        ("POST", "/api/models/load", {"model_id": "nothing.gguf"}, 404),
        ("POST", "/api/models/cancel", None, 202),
        ("POST", "/api/models/unload", None, 202),  # last: then nobody can chat
    ],
}
USUAL = {"chat", "load_models", "api_keys", "sharing"}
# Role, own setting, groups, default of users, and what they may.
CASES: list[tuple[str, list[str] | None, list[list[str]], list[str] | None, set[str]]] = [
    ("user", None, [], None, USUAL),
    ("user", None, [["download_models"], []], None, USUAL | {"download_models"}),
    ("user", [], [["download_models"]], None, set()),
    ("user", ["api_keys"], [["download_models"]], ["chat"], {"api_keys"}),
    ("user", None, [["load_models"]], ["chat"], {"chat", "load_models"}),
    ("guest", None, [], ["load_models"], {"chat"}),
    ("guest", None, [["load_models"], ["api_keys"]], None, USUAL - {"sharing"}),
]


@pytest.mark.parametrize(("role", "own", "groups", "default", "may"), CASES)
async def test_routes_open_by_role_groups_and_own_setting(
    household: Household,
    role: str,
    own: list[str] | None,
    groups: list[list[str]],
    default: list[str] | None,
    may: set[str],
) -> None:
    household.runtime.models._starter._running = OTHERS
    ann, bob = household.clients["Ann"], household.ids["Bob"]
    await ann.patch(f"/api/users/{bob}", json={"role": role, "permissions": own})
    await ann.put("/api/defaults", json={"role": "user", "permissions": default})
    for n, permissions in enumerate(groups):
        group = {"name": f"Group {n}", "permissions": permissions, "member_ids": [bob]}
        assert (await ann.post("/api/groups", json=group)).status_code == 201
    me = (await household.clients["Bob"].get("/api/me")).json()["user"]
    assert set(me["permissions"]) == may
    (listed,) = [u for u in (await ann.get("/api/users")).json()["users"] if u["id"] == bob]
    assert set(listed["permissions"]) == may
    for permission, calls in NEEDS.items():
        for method, path, body, status in calls:
            got = await status_of(household, "Bob", method, path, body)
            assert got == (status if permission in may else 403), (permission, path)


async def test_nobody_but_administrators_changes_what_groups_allow(household: Household) -> None:
    ann = household.clients["Ann"]
    made = await ann.post("/api/groups", json={"name": "x", "member_ids": [household.ids["Bob"]]})
    path = f"/api/groups/{made.json()['group']['id']}"
    for name in ("Bob", "Cid", "Gus"):
        for body in ({"permissions": ["download_models"]}, {"joining_ids": [household.ids[name]]}):
            assert (await household.clients[name].patch(path, json=body)).status_code == 403
    (group,) = (await ann.get("/api/groups")).json()["groups"]
    assert (group["permissions"], group["member_ids"]) == ([], [household.ids["Bob"]])
    assert (await ann.patch(path, json={"permissions": ["administer"]})).status_code == 422


async def test_limits_of_everybody_tell_from_where_they_come(household: Household) -> None:
    ann, bob = household.clients["Ann"], household.ids["Bob"]
    limits = {"tokens_per_day": 7}
    await ann.post("/api/groups", json={"name": "Few", "limits": limits, "member_ids": [bob]})
    people = (await ann.get("/api/limits/all")).json()["people"]
    assert {one["user_id"] for one in people} == set(household.ids.values())
    (found,) = [one for one in people if one["user_id"] == bob]
    assert found["effective"]["tokens_per_day"] == 7
    assert found["sources"]["tokens_per_day"] == {"kind": "group", "group": "Few"}
