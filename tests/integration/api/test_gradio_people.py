"""Every event of the real page as everybody, and whose Gradio's sessions are.

An event is sent as the browser sends it, with values that change something: what it changed, and
for whom, is looked up where it is kept.
"""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from argon2 import PasswordHasher

from tests.integration.api.conftest import PEOPLE, Household
from tests.integration.api.test_gradio_behind_gate import served
from tests.tiny_gguf import write_tiny_gguf
from webui.accounts import passwords
from webui.actor import Actor, Permission, local_actor
from webui.loaders.llama_cpp import LlamaCppOptions
from webui.sampling_params import SamplingParams
from webui.ui.fields import REST_NAME, Kind, fields_of
from webui.ui.gradio_import import gradio_import

if TYPE_CHECKING:
    from pathlib import Path

    from fastapi import FastAPI
    from starlette.applications import Starlette

    from webui.runtime import Runtime
    from webui.settings import Settings
    from webui.ui.fields import FormField

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(120),
    pytest.mark.filterwarnings("default"),  # Gradio's own
]

PREDICT = "/gradio_api/run/predict"
MODEL = "tiny.gguf"
LINE = {"message": "", "tone": "", "field": ""}
# What each has saved before an event; by the first the answers tell whose it is.
SAVED = {
    name: SamplingParams(top_k=top_k, seed=5) for top_k, name in enumerate(sorted(PEOPLE), start=11)
}
OPTIONS = LlamaCppOptions(slots=2)
# What the script of the page says with an event of its own.
SAID = {
    ("params-state", "reset"): {"field": "seed"},
    ("options-state", "reset"): {"field": "slots"},
    ("modelhtml", "load"): {"model_id": MODEL},
    ("modelhtml", "status"): {"model_id": MODEL},
}
LOADS = {("modelhtml", "load"), ("options-apply", "click")}
MAY_NOT_LOAD = "Gus"  # the guest


def another(field: FormField) -> object:
    """Return what a control sends where it was set to something new."""
    match field.kind:
        case Kind.CHECKBOX:
            return not field.default
        case Kind.CHOICE:
            return next(one for one in field.choices if one != field.default)
        case Kind.SLIDER | Kind.NUMBER:
            return field.minimum if field.default == field.maximum else field.maximum
        case Kind.PAIRS:
            return "7: 1"
        case Kind.ROWS:
            return "adapter.gguf: 0.5"
        case _:
            return "temperature" if field.name == "sampler_order" else "7"


VALUES: dict[str, object] = {
    **{f"params-{one.name}": another(one) for one in fields_of(SamplingParams)},
    **{f"options-{one.name}": another(one) for one in fields_of(LlamaCppOptions)},
    f"options-{REST_NAME}": "check_tensors = true",
    "params-state": LINE,
    "options-state": LINE,
    "options-of": MODEL,
    "usage-days": 7,
}


class Event:
    """One event of the page.

    Attributes:
        source: Id of the element and name of the event; of the page itself the first is empty.
        outputs: Ids of the elements that it changes.
    """

    def __init__(self, dependency: dict[str, Any], elements: dict[int, str]) -> None:
        (target,) = dependency["targets"]
        self.source = (elements.get(target[0], ""), str(target[1]))
        self.outputs = [elements[one] for one in dependency["outputs"]]
        self._body = {
            "fn_index": dependency["id"],
            "trigger_id": target[0],
            "event_data": SAID.get(self.source, {}),
            "data": [VALUES[elements[one]] for one in dependency["inputs"]],
        }

    @property
    def changes(self) -> str:
        """Return what it changes: own parameters, options, what is loaded, or nothing."""
        elem, name = self.source
        if self.source in LOADS:
            return "loads"
        if elem.startswith("params-"):
            return "parameters"
        is_option = elem.startswith("options-") and (elem, name) != ("options-of", "input")
        return "options" if is_option else ""

    def sent(self, session: str = "same") -> dict[str, Any]:
        """Return what the browser sends, in a session of Gradio that it names by itself."""
        return {**self._body, "session_hash": session}


async def events_of(client: httpx.AsyncClient) -> list[Event]:
    text = (await client.get("/")).text
    config = json.loads(re.search(r"window\.gradio_config = (\{.*?\});</script>", text)[1])
    elements = {one["id"]: one["props"].get("elem_id") or "" for one in config["components"]}
    return [Event(one, elements) for one in config["dependencies"] if one["backend_fn"]]


class Kept:
    """What there is to be changed, and how it was before."""

    def __init__(self, household: Household) -> None:
        self.runtime = household.runtime
        self.loads: list[str] = []
        permissions = frozenset(Permission)
        self.actors = {name: Actor(household.ids[name], name, permissions) for name in PEOPLE}

    async def put_back(self) -> None:
        for name, actor in self.actors.items():
            await self.runtime.parameters.save(actor, SAVED[name])
        await self.runtime.models.update_options(local_actor(), MODEL, lambda _: OPTIONS)
        self.loads.clear()

    async def changed(self) -> set[str]:
        """Return what is no more as it was put."""
        found = {
            f"parameters of {name}"
            for name, actor in self.actors.items()
            if await self.runtime.parameters.get(actor) != SAVED[name]
        }
        if await self.runtime.models.options_for(local_actor(), MODEL) != OPTIONS:
            found.add("options")
        return found | ({"loads"} if self.loads == [MODEL] else set(self.loads))

    async def load(self, spec: Any, *, force: bool) -> None:
        """Take the place of the pool's: what would be loaded is noted."""
        self.loads.append(spec.model_id)


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(passwords, "PasswordHasher", lambda **_: hasher)


async def moved_in(app: FastAPI) -> Household:
    """Return the people of a house, of whom Bob has said something."""
    household = Household(app)
    await household.fill()
    await household.talk("Bob", "Hello")
    return household


def line_of(answer: httpx.Response) -> dict[str, Any]:
    """Return what the page is told about how it went; empty where the line stays as it is."""
    line = answer.json()["data"][-1]
    assert isinstance(line, dict)
    return {} if line == {"__type__": "update"} else line


async def test_every_event_changes_what_its_sender_may_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny_gguf(tmp_path / MODEL)
    async with served(tmp_path) as (client, app):
        events = await events_of(client)
        household = await moved_in(app)
        kept = Kept(household)
        monkeypatch.setattr(app.state.runtime.pool, "load", kept.load)
        assert {event.changes for event in events} == {"", "parameters", "options", "loads"}
        assert {event.source for event in events} > LOADS
        await kept.put_back()
        for event in events:
            for name in ("", *PEOPLE):
                where = (event.source, name or "stranger")
                answer = await household.clients[name].post(PREDICT, json=event.sent())
                changed = await kept.changed()
                if not name:
                    assert (answer.status_code, changed) == (401, set()), where
                    continue
                assert answer.status_code == 200, where
                line = line_of(answer)
                if name == MAY_NOT_LOAD and event.changes in {"options", "loads"}:
                    assert "may not do this" in line["alert"], where
                    assert (line["tone"], changed) == ("bad", set()), where
                    continue
                whose = f" of {name}" if event.changes == "parameters" else ""
                wanted = {event.changes + whose} - {""}
                assert (line.get("tone") != "bad", changed) == (True, wanted), (where, line)
                if changed:
                    await kept.put_back()
        await _check_shown(household, events)
        await _check_lost_permission(household, events, kept)


async def _check_shown(household: Household, events: list[Event]) -> None:
    """Each is shown their own, and the administrator alone what everybody used."""
    by_source = {event.source: event for event in events}
    opened, usage = by_source["", "load"], by_source["usage-days", "input"]
    for name in PEOPLE:
        client = household.clients[name]
        shown = (await client.post(PREDICT, json=opened.sent())).json()["data"]
        assert shown[opened.outputs.index("params-top_k")] == SAVED[name].top_k, name
        used = str((await client.post(PREDICT, json=usage.sent())).json()["data"])
        assert ("Bob" in used) == (name == "Ann"), name
        assert ("Made-up model" in used) == (name == "Bob"), name


async def _check_lost_permission(household: Household, events: list[Event], kept: Kept) -> None:
    """A permission that is taken away counts from the next event on."""
    await kept.put_back()
    path = f"/api/users/{household.ids['Cid']}"
    await household.clients["Ann"].patch(path, json={"permissions": ["chat"]})
    refused = [event for event in events if event.changes in {"options", "loads"}]
    for event in refused:
        answer = await household.clients["Cid"].post(PREDICT, json=event.sent())
        assert "may not do this" in line_of(answer)["alert"], event.source
    assert await kept.changed() == set()


def sessions_of(app: FastAPI) -> Any:
    """Return where Gradio keeps its sessions, by the word they have there."""
    return app.state.page._drawn.routes[-1].app.state_holder.session_data


async def test_what_gradio_keeps_of_a_page_is_out_of_reach_for_others(tmp_path: Path) -> None:
    """The real page: Gradio keeps in a session what a person was shown last."""
    async with served(tmp_path) as (client, app):
        events = await events_of(client)
        (show,) = [event for event in events if event.source == ("usage-days", "input")]
        household = await moved_in(app)
        sessions = sessions_of(app)
        sessions.clear()
        await household.clients["Ann"].post(PREDICT, json=show.sent())
        (hers,) = sessions
        assert "Bob" in str(sessions[hers].config_values), "else there is nothing to be had"
        before = sessions[hers]
        for named in ("same", hers):
            await household.clients["Cid"].post(PREDICT, json=show.sent(named))
        his = sessions.keys() - {hers}
        assert len(his) == 2
        assert not [word for word in his if "Bob" in str(sessions[word].config_values)]
        await household.clients["Ann"].post(PREDICT, json=show.sent())
        assert sessions.keys() == {hers, *his}
        assert sessions[hers] is before


def draw_with_state(_runtime: Runtime, settings: Settings) -> Starlette:
    """Draw what our page has not: a value that Gradio keeps for a session, and tells it again."""

    async def draw() -> Starlette:
        import gradio as gr

        from webui.ui.page import _app

        with gr.Blocks(analytics_enabled=False) as blocks:
            kept, box = gr.State(""), gr.Textbox()
            keep, tell = gr.Button(), gr.Button()
            keep.click(lambda text: text, box, kept, queue=False)
            tell.click(lambda text: text, kept, box, queue=False)
        return _app(blocks, "")

    with gradio_import(settings.data_dir / "tmp" / "gradio"):
        return asyncio.run(draw())


async def test_state_of_a_session_is_told_to_nobody_else(tmp_path: Path) -> None:
    async with served(tmp_path, draw_with_state) as (_, app):
        household = await moved_in(app)

        async def ask(client: httpx.AsyncClient, number: int, text: str, session: str) -> str:
            body = {"fn_index": number, "data": [text], "session_hash": session, "trigger_id": 1}
            answer = await client.post(PREDICT, json=body)
            assert answer.status_code == 200, answer.text
            return str(answer.json()["data"][0])

        ann, cid = household.clients["Ann"], household.clients["Cid"]
        await ask(ann, 0, "canary", "same")
        (hers,) = sessions_of(app)
        assert await ask(ann, 1, "", "same") == "canary"
        for named in ("same", hers):
            assert await ask(cid, 1, "", named) == ""
        transport = httpx.ASGITransport(app.state.page._drawn)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as bare:
            # Without the gate it is had by who names the session: it does matter.
            assert await ask(bare, 1, "", hers) == "canary"
