"""Handlers of the tabs, called as Gradio calls them but without a browser."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import pytest
from starlette.requests import Request

from webui.accounts.identity import Identity, Source
from webui.actor import Actor, Permission, local_actor
from webui.chat.views import ModelErrorView, ModelStatus
from webui.errors import Conflict, InvalidRequest, NotFound
from webui.loaders.llama_cpp import LlamaCppOptions
from webui.sampling_params import SamplingParams
from webui.ui.strings import Strings

if TYPE_CHECKING:
    from tests.integration.ui.conftest import FakeRuntime

pytestmark = pytest.mark.integration

ACTOR = local_actor()
SHOWN = {"message": "", "tone": "", "field": ""}


@pytest.fixture
def drawn(runtime: FakeRuntime) -> dict[str, Any]:
    """All tabs of a page, by id."""
    import gradio as gr

    from webui.ui.tabs import TABS

    async def draw() -> dict[str, Any]:
        tabs = {kind.id: kind(runtime, Strings.read()) for kind in TABS}
        with gr.Blocks(analytics_enabled=False):
            for tab in tabs.values():
                tab.build()
        return tabs

    return asyncio.run(draw())


def field_of(tab: Any, name: str) -> Any:
    return next(field for field in tab.form.fields if field.name == name)


async def save(tab: Any, name: str, *values: object) -> dict[str, str]:
    state: dict[str, str] = await tab.save(field_of(tab, name), ACTOR, {}, *values)
    return state


async def test_parameter_is_saved_and_the_others_stay(
    drawn: dict[str, Any], runtime: FakeRuntime
) -> None:
    runtime.parameters.saved = SamplingParams(top_k=7)
    assert (await save(drawn["parameters"], "temperature", 0))["tone"] == "ok"
    assert runtime.parameters.saved == SamplingParams(top_k=7, temperature=0)


async def test_fields_changed_at_the_same_time_are_all_saved(
    drawn: dict[str, Any], runtime: FakeRuntime
) -> None:
    tab = drawn["parameters"]
    await asyncio.gather(
        save(tab, "temperature", 1.5), save(tab, "top_k", 900), save(tab, "stop", "###\n\\n")
    )
    wanted = SamplingParams(temperature=1.5, top_k=900, stop=("###", "\n"))
    assert runtime.parameters.saved == wanted


async def test_wrong_parameter_is_not_saved_and_the_line_says_why(
    drawn: dict[str, Any], runtime: FakeRuntime
) -> None:
    state = await save(drawn["parameters"], "temperature", 5)  # no toast: it would be a warning
    assert state == {
        "message": "Not saved. Temperature must be at most 2.",
        "tone": "bad",
        "field": "temperature",
    }
    assert runtime.parameters.saved == SamplingParams()


async def test_reset_puts_back_one_field_or_all(
    drawn: dict[str, Any], runtime: FakeRuntime
) -> None:
    tab = drawn["parameters"]
    runtime.parameters.saved = SamplingParams(temperature=1, stop=("a", "b"))
    *shown, _ = await tab.reset(ACTOR, {"field": "temperature"})
    assert runtime.parameters.saved == SamplingParams(stop=("a", "b"))
    assert "a\nb" in shown
    await tab.reset(ACTOR, {})
    assert runtime.parameters.saved == SamplingParams()
    with pytest.raises(NotFound):
        await tab.reset(ACTOR, {"field": "__class__"})


async def test_options_belong_to_the_chosen_model(
    drawn: dict[str, Any], runtime: FakeRuntime
) -> None:
    tab = drawn["model"]
    await save(tab, "context_length", "two.gguf", 131072)
    assert runtime.models.options == {"two.gguf": LlamaCppOptions(context_length=131072)}
    shown = await tab.show_saved(ACTOR, {}, "two.gguf")
    assert 131072 in shown
    assert 131072 not in await tab.show_saved(ACTOR, {}, "one.gguf")


@pytest.mark.parametrize(
    ("asked", "loaded", "chosen"),
    [
        (None, None, "one.gguf"),
        (None, "two.gguf", "two.gguf"),
        ("one.gguf", "two.gguf", "one.gguf"),
        ("gone.gguf", None, "one.gguf"),
        ("bad", "two.gguf", "two.gguf"),
    ],
)
async def test_form_shows_the_chosen_model_else_the_loaded_one(
    drawn: dict[str, Any],
    runtime: FakeRuntime,
    asked: str | None,
    loaded: str | None,
    chosen: str,
) -> None:
    runtime.models.loaded = loaded
    choices, *_ = await drawn["model"].show_saved(ACTOR, {}, asked)
    assert choices["value"] == chosen
    assert choices["choices"] == [("One", "one.gguf"), ("Two", "two.gguf")]


async def test_refresh_leaves_the_options_of_a_model_that_is_still_there_alone(
    drawn: dict[str, Any],
) -> None:
    choices, *rest = await drawn["model"].refresh(ACTOR, {}, "two.gguf", SHOWN)
    assert choices["value"] == "two.gguf"
    assert all(update == {"__type__": "update"} for update in rest)
    choices, *rest = await drawn["model"].refresh(ACTOR, {}, "gone.gguf", SHOWN)
    assert choices["value"] == "one.gguf"
    assert LlamaCppOptions().slots in rest
    waiting = {"message": "", "tone": "wait", "field": ""}
    choices, *rest = await drawn["model"].refresh(ACTOR, {}, None, waiting)
    assert choices["value"] == "one.gguf"
    assert all(update == {"__type__": "update"} for update in rest)


async def test_form_that_could_not_be_filled_is_released_and_says_what_to_do(
    drawn: dict[str, Any], runtime: FakeRuntime
) -> None:
    from webui.ui.tab import _run

    async def broken(*_: object) -> None:
        raise NotFound("gone")

    form = drawn["parameters"].form
    not_shown = Strings.read()("form.not_shown")
    run = _run(broken, Strings.read(), len(form.controls) + 1, not_shown)
    *controls, line = await run(_request(), _event(None))
    assert line["alert"] == "gone"
    assert all(update == {"__type__": "update"} for update in controls)
    assert line["tone"] == "bad"
    assert "Load this page anew" in line["message"]


async def test_page_that_opens_loads_no_model(drawn: dict[str, Any], runtime: FakeRuntime) -> None:
    runtime.models.loaded = "one.gguf"
    await drawn["model"].load(ACTOR, {})
    assert runtime.models.loads == []


async def test_card_loads_its_model_and_shows_its_options(
    drawn: dict[str, Any], runtime: FakeRuntime
) -> None:
    choices, *_ = await drawn["model"].load(ACTOR, {"model_id": "two.gguf"})
    assert runtime.models.loads == ["two.gguf"]
    assert choices["value"] == "two.gguf"
    await drawn["model"].load_chosen(ACTOR, {}, "one.gguf")
    assert runtime.models.loads == ["two.gguf", "one.gguf"]


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (ModelStatus(state="loading", model_id="two.gguf", name="Two"), "Two is being loaded"),
        (
            ModelStatus(state="ready", model_id="two.gguf", name="Two", outcome="loaded"),
            "Two is loaded",
        ),
        (
            ModelStatus(state="ready", model_id="two.gguf", name="Two", outcome="cancelled"),
            "was cancelled",
        ),
        (ModelStatus(state="failed", error=ModelErrorView("No", "")), "did not succeed"),
        (
            ModelStatus(state="ready", model_id="one.gguf", error=ModelErrorView("No", "")),
            "did not succeed",
        ),
        (
            ModelStatus(state="ready", model_id="one.gguf", name="One", outcome="cancelled"),
            "was cancelled",
        ),
        (ModelStatus(state="none"), "was cancelled"),
    ],
)
async def test_line_follows_the_load(
    drawn: dict[str, Any], runtime: FakeRuntime, status: ModelStatus, said: str
) -> None:
    runtime.models.status = status
    line = await drawn["model"].follow_load(ACTOR, {"model_id": "two.gguf"}, SHOWN)
    assert said in line["message"]
    for tone in ("wait", "bad"):
        skipped = await drawn["model"].follow_load(ACTOR, {}, SHOWN | {"tone": tone})
        assert skipped == {"__type__": "update"}


async def test_usage_is_shown_by_day_and_model_and_everybodys_to_administrators_alone(
    drawn: dict[str, Any], runtime: FakeRuntime
) -> None:
    user = Actor("u", "U", frozenset({Permission.CHAT}))
    limits, own, everybody, line = await drawn["usage"].show(user, {}, 7)
    assert "70 left of 100" in limits
    assert ">50<" in limits
    assert "Bytes" not in limits
    assert len(own["data"]) == 7
    noon_ms, tokens, model = own["data"][-1]
    assert (noon_ms % 86_400_000, tokens, model) == (43_200_000, 30, "Tiny")
    assert everybody == {"__type__": "update"}
    assert line["message"] == ""
    _, _, everybody, _ = await drawn["usage"].show(ACTOR, {}, 7)
    assert everybody["visible"] is True
    names = {row[2] for row in everybody["value"]["data"]}
    assert names == {"Ann", "Bob <b>"}
    runtime.usage.limited = []
    limits, *_ = await drawn["usage"].show(user, {}, 365)
    assert "no limits" in limits
    with pytest.raises(InvalidRequest):
        await drawn["usage"].show(user, {}, 10**9)


async def test_no_model_is_said_plainly(drawn: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="no model"):
        await drawn["model"].load_chosen(ACTOR, {}, None)


async def test_error_is_said_in_the_line_and_in_a_toast_and_nothing_changes(
    drawn: dict[str, Any], runtime: FakeRuntime
) -> None:
    from webui.ui.tab import _run

    runtime.models.busy = True
    with pytest.raises(Conflict):
        await drawn["model"].load_chosen(ACTOR, {}, "one.gguf")
    run = _run(drawn["model"].load_chosen, Strings.read(), 3)
    *others, line = await run(_request(), _event(None), "one.gguf")
    assert others == [{"__type__": "update"}] * 2
    assert line["tone"] == "bad"
    assert line["message"] == line["alert"]
    assert re.search(r"<b>One</b> is being loaded.*\. Wait", line["alert"])
    run = _run(drawn["model"].load_chosen, Strings.read(), 1, "Load the page anew.")
    only = await run(_request(), _event(None), "one.gguf")
    assert only.pop("id") != line.pop("id")
    assert only == line | {"message": "Load the page anew."}


async def test_bug_is_logged_and_shown_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    from webui.ui.tab import _run

    async def broken(*_: object) -> None:
        raise ValueError("secret")

    _, line = await _run(broken, Strings.read(), 2)(_request(), _event({}))
    assert "secret" not in line["alert"]
    error_id = line["alert"].split("number ")[1].rstrip(".")
    assert error_id in caplog.text
    assert "secret" in caplog.text


def _request() -> Any:
    import gradio as gr

    identity = Identity(actor=ACTOR, source=Source.LOCAL)
    return gr.Request(Request({"type": "http", "state": {"identity": identity}}))


def _event(data: object) -> Any:
    import gradio as gr

    return gr.EventData(None, data)
