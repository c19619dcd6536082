"""The page over fakes of the use cases; Gradio is imported here, once."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from webui.accounts.views import LimitView, UsageRowView
from webui.actor import Permission
from webui.chat.views import ModelStatus
from webui.errors import Conflict, NotFound
from webui.loaders.llama_cpp import LlamaCppOptions
from webui.sampling_params import SamplingParams
from webui.settings import Settings
from webui.ui.gradio_import import ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.applications import Starlette

    from webui.actor import Actor

os.environ.update(ENVIRONMENT)


@dataclass
class FakeParameters:
    """Keeps one person's parameters; remembers on which loop it was asked."""

    saved: SamplingParams = field(default_factory=SamplingParams)
    loops: set[Any] = field(default_factory=set)

    async def get(self, actor: Actor) -> SamplingParams:
        self.loops.add(asyncio.get_running_loop())
        await asyncio.sleep(0)
        return self.saved

    async def update(
        self, actor: Actor, change: Callable[[SamplingParams], SamplingParams]
    ) -> SamplingParams:
        self.loops.add(asyncio.get_running_loop())
        await asyncio.sleep(0)
        self.saved = change(self.saved)
        return self.saved


@dataclass
class FakeModels:
    """Two files and a broken one; `busy` says that a load runs."""

    options: dict[str, LlamaCppOptions] = field(default_factory=dict)
    loads: list[str] = field(default_factory=list)
    loaded: str | None = None
    status: ModelStatus = field(default_factory=lambda: ModelStatus(state="none"))
    busy: bool = False

    async def list(self, actor: Actor) -> SimpleNamespace:
        cards = [("one.gguf", "One", None), ("two.gguf", "Two", None), ("bad", "Bad", "no GGUF")]
        models = [SimpleNamespace(id=i, name=name, error=error) for i, name, error in cards]
        return SimpleNamespace(models=models, status=SimpleNamespace(model_id=self.loaded))

    async def load(self, actor: Actor, model_id: str) -> None:
        if self.busy:
            raise Conflict("<b>One</b> is being loaded", "Wait.")
        if model_id not in {"one.gguf", "two.gguf"}:
            raise NotFound(f"there is no model {model_id}")
        self.loads.append(model_id)

    async def options_for(self, actor: Actor, model_id: str) -> LlamaCppOptions:
        await asyncio.sleep(0)
        return self.options.get(model_id, LlamaCppOptions())

    async def update_options(
        self,
        actor: Actor,
        model_id: str,
        change: Callable[[LlamaCppOptions], LlamaCppOptions],
    ) -> LlamaCppOptions:
        await asyncio.sleep(0)
        options = self.options[model_id] = change(self.options.get(model_id, LlamaCppOptions()))
        return options


class FakeUsage:
    """Ann's usage and Bob's, of which each sees their own."""

    def __init__(self) -> None:
        self.limited = [
            LimitView(name="tokens_per_day", limit=100, used=30, remaining=70, resets_at=None),
            LimitView(name="context_tokens", limit=50, used=None, remaining=50, resets_at=None),
            LimitView(name="storage_bytes", limit=None, used=None, remaining=None, resets_at=None),
        ]

    async def list(self, actor: Actor, days: int) -> list[UsageRowView]:
        return [_used("ann", "Ann", 30)]

    async def list_all(self, actor: Actor, days: int) -> list[UsageRowView]:
        actor.require(Permission.ADMINISTER)
        return [_used("ann", "Ann", 30), _used("bob", "Bob <b>", 5)]

    async def limits(self, actor: Actor) -> list[LimitView]:
        return self.limited


def _used(user_id: str, name: str, tokens: int) -> UsageRowView:
    return UsageRowView(
        user_id=user_id,
        user=name,
        day=datetime.now(UTC).date(),
        model="Tiny",
        requests=1,
        prompt_tokens=tokens,
        completion_tokens=0,
        cached_tokens=0,
        counted_tokens=tokens,
    )


@dataclass
class FakeRuntime:
    usage: FakeUsage = field(default_factory=FakeUsage)
    parameters: FakeParameters = field(default_factory=FakeParameters)
    models: FakeModels = field(default_factory=FakeModels)


@pytest.fixture
def runtime() -> FakeRuntime:
    return FakeRuntime()


@pytest.fixture
def page_app(runtime: FakeRuntime) -> Starlette:
    """The app of the page, drawn in a thread without a loop as `app` does it."""
    from concurrent.futures import ThreadPoolExecutor

    from webui.ui.page import create_page_app

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(create_page_app, runtime, Settings()).result()
