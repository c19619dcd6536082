"""Hostile texts to the tokenizer of a real vocabulary: each ends soon, and the worker lives on."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING

import pytest

from tests.integration.api.test_hostile_texts import TEXTS
from tests.integration.loaders.conftest import opened, request_of, text_of
from webui.errors import InvalidRequest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
PATIENCE_S = 60


async def test_hostile_texts_end_and_the_worker_lives_on(best_model: Path) -> None:
    async with opened(best_model, context_length=512) as engine:
        pid = engine.pid
        num_answered = 0
        for text in TEXTS.values():
            said = json.loads(text)
            async with asyncio.timeout(PATIENCE_S):
                # What cannot be read is refused in words; anything else fails this test.
                with contextlib.suppress(InvalidRequest):
                    _, finish = await text_of(engine, request_of(said, max_tokens=2))
                    assert finish.usage.prompt_tokens <= 512
                    num_answered += 1
        assert (await text_of(engine, request_of("hi", max_tokens=2)))[1]
        assert engine.pid == pid
        assert num_answered >= 5
