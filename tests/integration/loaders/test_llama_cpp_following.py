"""Prompts of one owner that begin alike, by llama.cpp: read once, and said as if alone."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import msgspec
import pytest

from tests.integration.loaders.conftest import opened, request_of, text_of
from webui.engine.interface import Prefill
from webui.messages import Message, Role

if TYPE_CHECKING:
    from pathlib import Path

    from webui.engine.interface import GenerateRequest
    from webui.engine.process import LocalEngine
    from webui.engine.stats import EngineStats

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

# From 64 tokens on llama.cpp computes attention by tiles, which moves the last bits.
OPTIONS = {"slots": 4, "batch_size": 32, "threads": 1, "context_length": 2048}
STORY = "Tell me a long story about the sea, the wind and an old ship. " * 12


def ask(owner: str, name: str, text: str = "", **params: object) -> GenerateRequest:
    params = {"max_tokens": 24, "ignore_eos": True} | params
    messages = (Message(Role.SYSTEM, STORY), Message(Role.USER, text or "Begin."))
    request = request_of("", name, **params)
    return msgspec.structs.replace(request, owner=owner, messages=messages)


async def figures(engine: LocalEngine, num_full: int) -> EngineStats:
    """Return the figures once so many replies are counted."""
    async with asyncio.timeout(20):
        while engine.stats.num_full < num_full:  # noqa: ASYNC110 - asks another process
            await asyncio.sleep(0.02)
    return engine.stats


@pytest.mark.parametrize("params", [{"temperature": 0}, {"temperature": 1.0, "top_k": 0}])
async def test_prompt_of_several_replies_is_read_once(
    best_model: Path, params: dict[str, object]
) -> None:
    async with opened(best_model, **OPTIONS) as engine:
        alone = [
            await text_of(engine, ask(f"alone {seed}", f"alone {seed}", seed=seed, **params))
            for seed in range(4)
        ]
        before = await figures(engine, 4)
        together = await asyncio.gather(
            *(text_of(engine, ask("ann", f"r{seed}", seed=seed, **params)) for seed in range(4))
        )
        after = await figures(engine, 8)
    assert [said for said, _ in together] == [said for said, _ in alone]
    assert all(finish.usage.cached_tokens == 0 for _, finish in alone)
    num_prompt = alone[0][1].usage.prompt_tokens
    assert num_prompt > 150
    cached = sorted(finish.usage.cached_tokens for _, finish in together)
    assert cached == [0] + [num_prompt - 1] * 3
    # Of each reply but the first only the last token of the prompt is read.
    assert before.num_prompt_tokens == 4 * num_prompt
    assert after.num_prompt_tokens - before.num_prompt_tokens == num_prompt + 3
    assert after.num_slot_tokens - before.num_slot_tokens == 3 * (num_prompt - 1)


async def test_common_beginning_of_different_prompts_is_read_once(best_model: Path) -> None:
    texts = ["Begin with a storm at night.", "Name all who are on board.", "What did they eat?"]
    async with opened(best_model, **OPTIONS) as engine:
        alone = [
            await text_of(engine, ask(f"alone {at}", f"alone {at}", text, temperature=0))
            for at, text in enumerate(texts)
        ]
        asked = [ask("ann", f"r{at}", text, temperature=0) for at, text in enumerate(texts)]
        together = await asyncio.gather(*(text_of(engine, request) for request in asked))
    assert [said for said, _ in together] == [said for said, _ in alone]
    cached = sorted(finish.usage.cached_tokens for _, finish in together)
    assert cached[0] == 0
    assert cached[1] == cached[2] > 128


async def test_reader_that_is_stopped_leaves_the_others_what_it_read(best_model: Path) -> None:
    async with opened(best_model, **OPTIONS) as engine:
        expected = [
            (await text_of(engine, ask(f"alone {seed}", f"alone {seed}", seed=seed)))[0]
            for seed in (1, 2)
        ]
        async with aclosing(engine.generate(ask("ann", "reader", seed=0))) as deltas:
            async for delta in deltas:
                if isinstance(delta, Prefill):
                    break
            others = [
                asyncio.create_task(text_of(engine, ask("ann", f"r{seed}", seed=seed)))
                for seed in (1, 2)
            ]
            await asyncio.sleep(0.05)
        assert [said for said, _ in await asyncio.gather(*others)] == expected
