"""The page as it is served: how Gradio is set, and that events reach use cases on our loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from webui.accounts.identity import Identity, Source
from webui.actor import local_actor
from webui.sampling_params import SamplingParams

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.applications import Starlette

    from tests.integration.ui.conftest import FakeRuntime

pytestmark = pytest.mark.integration

MAX_LISTED = 4
MAX_PAGE_BYTES = 120_000


@pytest.fixture
async def client(page_app: Starlette) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the page, whose lifespan runs on the loop of the test."""

    async def as_the_local_user(scope: Any, receive: Any, send: Any) -> None:
        identity = Identity(actor=local_actor(), source=Source.LOCAL)
        await page_app({**scope, "state": {"identity": identity}}, receive, send)

    transport = httpx.ASGITransport(as_the_local_user)
    async with (
        page_app.router.lifespan_context(page_app),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:7860") as client,
    ):
        yield client


@pytest.fixture
async def config(client: httpx.AsyncClient) -> dict[str, Any]:
    answer: dict[str, Any] = (await client.get("/config")).json()
    return answer


async def send(client: httpx.AsyncClient, fn_index: int, *values: object) -> dict[str, Any]:
    """Send an event as the browser does and return what came back."""
    body = {"data": values, "fn_index": fn_index, "session_hash": "s", "event_data": None}
    answer = await client.post("/gradio_api/run/predict", json=body)
    answer.raise_for_status()
    done: dict[str, Any] = answer.json()
    return done


def event_of(config: dict[str, Any], elem_id: str, name: str) -> int:
    """Return the number of the handler of an event."""
    component = next(c["id"] for c in config["components"] if c["props"].get("elem_id") == elem_id)
    found: int = next(d["id"] for d in config["dependencies"] if [component, name] in d["targets"])
    return found


async def test_every_event_is_private_unlimited_and_short(config: dict[str, Any]) -> None:
    assert len(config["dependencies"]) > 20
    form_events = {"load", "select", "reset", "click", "input"}
    for event in config["dependencies"]:
        assert event["api_visibility"] == "private"
        assert event["show_progress"] == "hidden"
        assert event["queue"] is False  # of the queue an answer may never come
        if len(event["inputs"]) > MAX_LISTED or len(event["outputs"]) > MAX_LISTED:
            assert {name for _, name in event["targets"]} <= form_events


async def test_no_event_waits_for_another_one(page_app: Starlette) -> None:
    blocks = page_app.routes[-1].app.get_blocks()
    assert not any(fn.queue for fn in blocks.fns.values())
    assert blocks.max_threads > 40
    assert blocks.state_session_capacity <= 1000


async def test_page_is_drawn_and_small(client: httpx.AsyncClient) -> None:
    answer = await client.get("/")
    assert answer.status_code == 200
    assert len(answer.content) < MAX_PAGE_BYTES
    for elem_id in (
        "sidehtml",
        "chathtml",
        "modelhtml",
        "params-temperature",
        "serverprompthtml",
        "options-of",
        "usage-own",
    ):
        assert f'"{elem_id}"' in answer.text


async def test_no_template_is_filled_with_what_people_or_files_say(config: dict[str, Any]) -> None:
    """Gradio (6.31) runs what it filled a template with; `${value}` alone is set as HTML."""
    drawn = {one["id"]: one["props"] for one in config["components"] if one["type"] == "html"}
    templates = {props["html_template"] for props in drawn.values()}
    assert "${value}" in templates
    assert not [one for one in templates - {"${value}"} if set(one) & set("${}`")]
    assert not [props for props in drawn.values() if props.get("css_template")]
    as_html = {one for one, props in drawn.items() if props["html_template"] == "${value}"}
    changed = {one for event in config["dependencies"] for one in event["outputs"]}
    # A table of numbers; whatever else is set as HTML stands in the catalogue of texts.
    assert [drawn[one]["elem_id"] for one in as_html & changed] == ["usage-limits"]


async def test_foreign_origin_gets_no_leave_to_read(client: httpx.AsyncClient) -> None:
    headers = {"origin": "http://evil.example", "host": "box.lan"}
    for path in ("/", "/config"):
        answer = await client.get(path, headers=headers)
        assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["/openapi.json", "/docs", "/redoc", "/monitoring/summary"])
async def test_what_nobody_needs_is_shut(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code >= 400


async def test_page_names_nobody_outside(config: dict[str, Any], client: httpx.AsyncClient) -> None:
    assert config["footer_links"] == []
    assert not config["analytics_enabled"]
    css = (await client.get("/theme.css")).text
    assert "http" not in css.replace("http://www.w3.org/2000/svg", "")
    assert "Inter Variable" in css


async def test_event_reaches_the_use_case_on_the_loop_of_the_server(
    client: httpx.AsyncClient, config: dict[str, Any], runtime: FakeRuntime
) -> None:
    done = await send(client, event_of(config, "params-temperature", "input"), 0.25)
    assert done["data"] == [{"message": "Saved", "tone": "ok", "field": "temperature"}]
    assert runtime.parameters.saved == SamplingParams(temperature=0.25)
    assert runtime.parameters.loops == {asyncio.get_running_loop()}


async def test_value_beyond_the_slider_is_taken_and_beyond_the_bound_refused(
    client: httpx.AsyncClient, config: dict[str, Any], runtime: FakeRuntime
) -> None:
    top_k = event_of(config, "params-top_k", "input")
    assert (await send(client, top_k, 900))["data"][0]["tone"] == "ok"
    done = await send(client, top_k, 10**9)
    assert "Top-k must be at most 100000" in done["data"][0]["message"]
    assert runtime.parameters.saved == SamplingParams(top_k=900)
