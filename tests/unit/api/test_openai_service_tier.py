"""How urgent a request is, in OpenAI's words, and what clients that wait are told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.api.fakes import FINISH
from webui.engine.interface import Queued, Text

ROUTES = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "hi"}]},
    "/v1/completions": {"prompt": "hi"},
}
TIERS = [
    (None, False, None),
    ("auto", False, "default"),
    ("default", False, "default"),
    ("priority", False, "default"),
    ("flex", True, "flex"),
]


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(("tier", "is_background", "told"), TIERS)
async def test_flex_is_background_work_and_told_so(
    client: Any, runtime: Any, route: str, tier: str | None, *, is_background: bool, told: Any
) -> None:
    body = ROUTES[route] | {"service_tier": tier, "n": 2}
    answer = (await client.post(route, json=body)).json()
    asked = [more["is_background"] for _, _, more in runtime.generations.asked]
    assert asked == [is_background] * 2
    assert answer.get("service_tier") == told
    assert ("service_tier" in answer) is (told is not None)


async def test_every_chunk_tells_the_tier(client: Any) -> None:
    body = ROUTES["/v1/chat/completions"] | {"service_tier": "flex", "stream": True}
    answer = await client.post("/v1/chat/completions", json=body)
    *chunks, done = [part for part in answer.text.split("\n\n") if part]
    assert done == "data: [DONE]"
    tiers = {json.loads(chunk.removeprefix("data: "))["service_tier"] for chunk in chunks}
    assert tiers == {"flex"}


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("tier", ["", "fast", "Flex", "scale", 1, True, ["flex"]], ids=str)
async def test_unknown_tier_is_refused(client: Any, runtime: Any, route: str, tier: Any) -> None:
    answer = await client.post(route, json=ROUTES[route] | {"service_tier": tier})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, "service_tier")
    assert "'flex'" in error["message"]
    assert runtime.generations.asked == []


async def stream_of(client: Any, **body: Any) -> list[str]:
    asked = ROUTES["/v1/chat/completions"] | {"stream": True, **body}
    answer = await client.post("/v1/chat/completions", json=asked)
    assert answer.status_code == 200
    return [part for part in answer.text.split("\n\n") if part]


async def test_place_in_the_queue_is_told_in_comments(client: Any, runtime: Any) -> None:
    places = [Queued(3), Queued(2, 12.5), Queued(1, 4.0)]
    runtime.generations.script = [*places, Text("Hello", 1), FINISH]
    parts = await stream_of(client)
    assert parts[1:4] == [
        ": queued place=3",
        ": queued place=2 eta_s=12.5",
        ": queued place=1 eta_s=4",
    ]
    assert [part[:6] for part in (parts[0], *parts[4:])] == ["data: "] * 4
    assert "Hello" in parts[4]


async def test_place_says_of_which_of_several_replies_it_is(client: Any, runtime: Any) -> None:
    runtime.generations.script = [Queued(5, 60.0), Text("Hello", 1), FINISH]
    parts = await stream_of(client, n=2)
    comments = sorted(part for part in parts if part.startswith(":"))
    assert comments == [f": queued index={index} place=5 eta_s=60" for index in (0, 1)]


async def test_reply_that_gives_way_in_the_middle_tells_its_place_and_goes_on(
    client: Any, runtime: Any
) -> None:
    runtime.generations.script = [Text("Hel", 1), Queued(1), Text("lo", 1), FINISH]
    parts = await stream_of(client)
    assert parts[2] == ": queued place=1"
    texts = [
        json.loads(part.removeprefix("data: "))["choices"][0]["delta"].get("content")
        for part in parts
        if part.startswith("data: {")
    ]
    assert texts == ["", "Hel", "lo", None]


async def test_whole_answer_has_no_comments(client: Any, runtime: Any) -> None:
    runtime.generations.script = [Queued(1, 2.0), Text("Hello", 1), FINISH]
    answer = await client.post("/v1/chat/completions", json=ROUTES["/v1/chat/completions"])
    assert answer.json()["choices"][0]["message"]["content"] == "Hello"
