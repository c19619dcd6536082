"""`webui load`, `unload`, `models` and `ps`: what is said of how it went."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from webui.administration.administration import RunningView
from webui.api.control.messages import (
    GetStatus,
    ListModels,
    ListRunning,
    LoadModel,
    Running,
    UnloadModel,
)
from webui.chat.views import ModelCard, ModelErrorView, ModelList, ModelStatus, StarterView
from webui.cli import models as models_module
from webui.cli import ps as ps_module
from webui.cli.commands import commands
from webui.errors import Conflict, LoadFailed, WebuiError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Say = Callable[..., str]

LOADING = ModelStatus(state="loading", model_id="a.gguf", name="A", fraction=0.5)
STALLED = ModelStatus(state="loading", model_id="a.gguf", name="A", stalled_s=70)
LOADED = ModelStatus(state="ready", model_id="a.gguf", name="A\x1b[2J", outcome="loaded")
OTHER = ModelStatus(state="ready", model_id="b.gguf", name="B", outcome="loaded")
NONE = ModelStatus(state="none")
WHY = ModelErrorView("too little memory", "Take a smaller one.")


class Script:
    """A server that answers as written, one answer after the other."""

    def __init__(self) -> None:
        self.answers: list[object] = []
        self.asked: list[object] = []

    def ask(self, command: object, kind: type) -> object:
        self.asked.append(command)
        answer = self.answers.pop(0)
        assert isinstance(answer, kind)
        return answer


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    script = Script()

    @contextmanager
    def connected(_data_dir: object) -> Iterator[Script]:
        yield script

    for module in (models_module, ps_module):
        monkeypatch.setattr(module, "connected", connected)
    monkeypatch.setattr(models_module.time, "sleep", lambda _seconds: None)
    return script


def say(script: Script, *line: str, answers: list[object]) -> str:
    script.answers = answers
    result = CliRunner().invoke(commands, list(line))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert script.answers == []
    return result.stdout


def test_load_waits_until_the_model_is_there(script: Script) -> None:
    words = say(script, "load", "a", "--force", answers=[LOADING, STALLED, LOADING, LOADED])
    assert words == "A\\x1b[2J is loaded.\n"
    assert script.asked == [LoadModel("a", force=True), GetStatus(), GetStatus(), GetStatus()]


@pytest.mark.parametrize(
    ("end", "kind", "said", "hint"),
    [
        (
            ModelStatus(state="failed", model_id="a.gguf", outcome="failed", error=WHY),
            LoadFailed,
            "a was not loaded: too little memory",
            "Take a smaller one.",
        ),
        (
            ModelStatus(state="ready", model_id="b", name="B", outcome="failed", error=WHY),
            LoadFailed,
            "a was not loaded: too little memory",
            "Take a smaller one.",
        ),
        (
            ModelStatus(state="ready", model_id="b", name="B", outcome="cancelled"),
            Conflict,
            "the load of a was cancelled",
            "B is loaded.",
        ),
        (
            ModelStatus(state="none", outcome="cancelled"),
            Conflict,
            "the load of a was cancelled",
            "No model is loaded.",
        ),
        (OTHER, Conflict, "a was loaded, but is no more", "B is loaded."),
        (NONE, Conflict, "a was loaded, but is no more", "No model is loaded."),
    ],
)
def test_load_that_came_to_nothing_says_why(
    script: Script, end: ModelStatus, kind: type[WebuiError], said: str, hint: str
) -> None:
    with pytest.raises(kind) as caught:
        say(script, "load", "a", answers=[LOADING, end])
    assert (caught.value.message, caught.value.hint) == (said, hint)


@pytest.mark.parametrize("end", [NONE, OTHER])
def test_unload_waits_for_the_end_of_replies(script: Script, end: ModelStatus) -> None:
    words = say(script, "unload", answers=[LOADED, LOADED, LOADED, end])
    assert words == "A\\x1b[2J is unloaded.\n"
    assert script.asked == [GetStatus(), UnloadModel(), GetStatus(), GetStatus()]


def test_unload_of_nothing_says_so(script: Script) -> None:
    assert say(script, "unload", answers=[NONE]) == "No model is loaded.\n"


def card(name: str, error: str | None = None) -> ModelCard:
    return ModelCard(
        id=name,
        name=name,
        size_bytes=5000,
        quantization="Q4_0",
        parameters=None,
        context_length=None,
        architecture=None,
        error=error,
    )


def test_models_are_a_table(script: Script) -> None:
    cards = [card("a.gguf"), card("\x1b[2J.gguf"), card("c.gguf", "damaged")]
    found = ModelList(cards, LOADED, StarterView(available=False, size_bytes=1))
    lines = say(script, "models", answers=[found]).splitlines()
    assert [line.split() for line in lines] == [
        ["NAME", "SIZE", "KIND", "STATE"],
        ["a.gguf", "5", "kB", "Q4_0", "loaded"],
        ["\\x1b[2J.gguf", "5", "kB", "Q4_0"],
        ["c.gguf", "5", "kB", "Q4_0", "cannot", "be", "loaded:", "damaged"],
    ]
    none = ModelList([], NONE, StarterView(available=True, size_bytes=1))
    assert say(script, "models", answers=[none]) == "There are no model files yet.\n"
    assert script.asked == [ListModels()] * 2


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (NONE, "No model is loaded."),
        (LOADING, "A is being loaded: 50%."),
        (LOADED, "A\\x1b[2J is loaded."),
        (
            ModelStatus(state="unloading", name="A"),
            "A is being unloaded once its replies have ended.",
        ),
        (ModelStatus(state="restarting", name="A"), "A died and is being started again."),
        (ModelStatus(state="failed", name="A", error=WHY), "A failed: too little memory."),
    ],
)
def test_ps_tells_of_the_model_first(script: Script, status: ModelStatus, said: str) -> None:
    assert say(script, "ps", answers=[Running(status, [])]) == f"{said}\nNobody waits.\n"


def test_ps_tells_who_waits(script: Script) -> None:
    reply = RunningView(
        "Ann", is_api=True, doing="writing", num_tokens=1234, since_s=5.5, task="reply"
    )
    texts = RunningView(
        "Bob", is_api=True, doing="waiting", num_tokens=0, since_s=0.5, task="embed"
    )
    lines = say(script, "ps", answers=[Running(LOADED, [reply, texts])]).splitlines()
    assert lines[1].split() == ["WHO", "BY", "TASK", "STATE", "TOKENS", "TIME"]
    assert lines[2].split() == ["Ann", "api", "reply", "writing", "1,234", "5.5", "s"]
    assert lines[3].split() == ["Bob", "api", "embed", "waiting", "0", "0.5", "s"]
    assert script.asked == [ListRunning()]
