"""One cache of llama.cpp that all replies share, smaller than they would like it."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from typing import TYPE_CHECKING

import pytest

from tests.integration.loaders.conftest import opened, request_of, text_of
from tests.integration.loaders.watched_runner import abort, ask, is_finished, send, step
from webui.engine.generation_loop import GenerationLoop
from webui.engine.interface import FinishReason
from webui.engine.prefill_budget import PrefillBudget
from webui.errors import ContextLengthExceeded
from webui.loaders.llama_cpp import LlamaCppOptions
from webui.loaders.llama_cpp.runner import LlamaCppRunner

if TYPE_CHECKING:
    from pathlib import Path

    from webui.engine.interface import Delta

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

POOL = {"kv_unified": True, "kv_cells": 512, "context_length": 256, "slots": 8, "threads": 1}


def test_pool_takes_the_memory_of_its_cells(best_model: Path) -> None:
    taken = []
    for options in (POOL, {**POOL, "kv_cells": 0}):
        runner = LlamaCppRunner(
            best_model, "best", LlamaCppOptions.model_validate(options), lambda _: None
        )
        taken.append((runner.info.kv_cells, runner.info.context_length))
        taken.append(runner.info.memory.kv_bytes)
        runner.close()
    assert taken[0::2] == [(512, 256), (2048, 256)]
    assert taken[3] / taken[1] == pytest.approx(4, rel=0.05)  # llama.cpp says it in 0.01 MiB


async def test_replies_wait_for_room_and_all_come_to_their_end(best_model: Path) -> None:
    """Of eight prompts of some 140 bytes, tokens of the tiny model, three fit at a time."""
    texts = [f"{number} " + "sun moon " * 12 for number in range(8)]
    async with opened(best_model, **POOL) as engine:
        asked = [
            request_of(text, f"r{place}", max_tokens=20, temperature=0, ignore_eos=True)
            for place, text in enumerate(texts)
        ]
        got = await asyncio.gather(*(text_of(engine, one) for one in asked))
        assert engine.stats.num_deaths == 0
    for _, end in got:
        assert (end.reason, end.usage.completion_tokens) == (FinishReason.LENGTH, 20)


async def test_prompt_that_no_pool_holds_is_refused_before(best_model: Path) -> None:
    async with opened(best_model, **{**POOL, "context_length": 0}) as engine:
        assert engine.info.context_length <= 512
        with pytest.raises(ContextLengthExceeded):
            await text_of(engine, request_of("sun moon star tree " * 300))


def test_any_load_ends_and_leaves_nothing(best_model: Path, soak: bool) -> None:
    """Random prompts, ends and aborts in a pool for two of six: llama.cpp finds room for all."""
    options = LlamaCppOptions.model_validate({**POOL, "slots": 6, "batch_size": 64})
    runner = LlamaCppRunner(best_model, "best", options, lambda _: None)
    budget = PrefillBudget(runner.max_batch_tokens, first_token_s=0.05)
    loop = GenerationLoop(runner, budget, time.monotonic)
    chance, numbers = random.Random(7), itertools.count()
    got: dict[str, list[Delta]] = {}
    running: set[str] = set()
    end_s = time.monotonic() + (120 if soak else 8)
    try:
        while time.monotonic() < end_s or running:
            while len(running) < 8 and time.monotonic() < end_s:
                name = f"r{next(numbers)}"
                length = chance.choice([1, 20, 200])
                asked = ask(name, f"owner {chance.randrange(3)}", max_tokens=length)
                send(
                    loop, asked, [chance.randrange(3, 60) for _ in range(chance.randrange(1, 240))]
                )
                running.add(name)
            if chance.random() < 0.02:
                gone = chance.choice(sorted(running))
                abort(loop, gone)
                running.discard(gone)
            step(loop, got)
            running -= {name for name, deltas in got.items() if is_finished(deltas)}
        scheduler = loop._scheduler
        assert (scheduler.num_running, scheduler.num_waiting, runner._samplers) == (0, 0, {})
        assert scheduler._cells.num_held_cells <= 512
        assert next(numbers) > 16
    finally:
        runner.close()
