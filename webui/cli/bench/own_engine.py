"""Hearthside's engine without HTTP, where each request names its owner.

For what cannot be asked over HTTP. These requests take the same path from `LocalEngine` on: queue,
scheduler, prefix cache and worker process are the server's.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Literal

from webui.cli.bench.scenario import SAMPLING
from webui.cli.bench.streams import Reply
from webui.engine.interface import Finish, GenerateRequest, Priority, Text
from webui.engine.loader import ModelSpec
from webui.engine.process import LocalEngine
from webui.errors import EngineError
from webui.loaders.llama_cpp import LOADER, LlamaCppOptions
from webui.messages import Message, Role
from webui.sampling_params import SamplingParams

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from webui.cli.bench.peers import Shape
    from webui.engine.interface import Engine

_numbers = itertools.count(1)


@contextlib.asynccontextmanager
async def own_engine(
    model: Path,
    shape: Shape,
    *,
    speculation: Literal["auto", "ngram", "off"] = "auto",
    draft: Path | None = None,
) -> AsyncIterator[LocalEngine]:
    """Load a model and unload it.

    Args:
        model: Its file.
        shape: How it is loaded.
        speculation: How tokens are guessed.
        draft: File of a draft model; None has none.

    Raises:
        LoadFailed: The model cannot be opened so.
    """
    options = LlamaCppOptions(
        **shape.load_options(), speculation=speculation, draft_model=str(draft or "")
    )
    spec = ModelSpec(model.name, model.stem, model, LOADER, options)
    engine = await LocalEngine.open(spec, lambda _fraction: None)
    try:
        yield engine
    finally:
        await engine.close()


async def ask_as(
    engine: Engine,
    owner: str,
    text: str,
    max_tokens: int,
    *,
    system: str = "",
    on_text: Callable[[], None] = lambda: None,
) -> Reply:
    """Ask for one reply as an owner and time it as `streams.Stream` does.

    Args:
        engine: Who is asked.
        owner: Who asks.
        text: The question.
        max_tokens: Length of the reply.
        system: A system message before it, the administrator's.
        on_text: Called at each piece of text.

    Raises:
        WebuiError: The engine refused or broke off.
    """
    return await time_reply(engine, request_as(owner, text, max_tokens, system=system), on_text)


def request_as(
    owner: str, text: str, max_tokens: int, *, system: str = "", grammar: str = ""
) -> GenerateRequest:
    """Return a request of an owner.

    Args:
        owner: Who asks.
        text: The question.
        max_tokens: Length of the reply.
        system: A system message before it, the administrator's.
        grammar: What the reply keeps to.
    """
    before = (Message(Role.SYSTEM, system),) if system else ()
    number = next(_numbers)
    return GenerateRequest(
        request_id=f"bench-{number}",
        owner=owner,
        conversation_id=None,
        priority=Priority.API,
        messages=(*before, Message(Role.USER, text)),
        num_shared_messages=len(before),
        params=SamplingParams(max_tokens=max_tokens, seed=number, ignore_eos=True, **SAMPLING),
        grammar=grammar,
    )


async def time_reply(
    engine: Engine, request: GenerateRequest, on_text: Callable[[], None] = lambda: None
) -> Reply:
    """Have one reply written and time it as `streams.Stream` does.

    Args:
        engine: Who is asked.
        request: What.
        on_text: Called at each piece of text.

    Raises:
        WebuiError: The engine refused or broke off.
    """
    started_s = time.perf_counter()
    stamps_s: list[float] = []
    async with aclosing(engine.generate(request)) as deltas:
        async for delta in deltas:
            if isinstance(delta, Text) and delta.text:
                stamps_s.append(time.perf_counter())
                on_text()
            elif isinstance(delta, Finish):
                counts = delta.usage
                return Reply(
                    started_s,
                    tuple(stamps_s),
                    prompt_tokens=counts.prompt_tokens,
                    completion_tokens=counts.completion_tokens,
                    cached_tokens=counts.cached_tokens,
                )
    raise EngineError("the engine ended a reply without saying why")


async def ask_behind(
    engine: Engine, owners: list[str], texts: list[str], max_tokens: int, system: str
) -> list[Reply]:
    """Ask as the first owner, and as all others at once as soon as its first text is there."""
    begun = asyncio.Event()

    async def ask_later(owner: str, text: str) -> Reply:
        await begun.wait()
        return await ask_as(engine, owner, text, max_tokens, system=system)

    first = ask_as(engine, owners[0], texts[0], max_tokens, system=system, on_text=begun.set)
    later = map(ask_later, owners[1:], texts[1:])
    return list(await asyncio.gather(first, *later))
