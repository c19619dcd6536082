"""A reply that gives up its slot in the middle goes on as if it never had."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec
import pytest

from tests.integration.loaders.conftest import TEST_MODEL, opened, request_of, text_of
from webui.engine.interface import Finish, Priority, Text

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

# What each sampler remembers beside the tokens: its draws, its target, a place in a grammar.
MEMORIES = {
    "draws": {"temperature": 1.5, "seed": 11},
    "mirostat": {"temperature": 1.0, "seed": 5, "mirostat": 2},
    "xtc": {"temperature": 1.0, "seed": 7, "xtc_probability": 0.5, "xtc_threshold": 0.05},
}


@pytest.mark.parametrize("params", MEMORIES.values(), ids=MEMORIES)
@pytest.mark.parametrize("grammar", ["", 'root ::= ("a" | "b" | "c")+'])
async def test_seeded_reply_that_gave_up_its_slot_says_what_it_says_alone(
    best_model: Path, params: dict[str, float], grammar: str
) -> None:
    # The tiny model writes thousands of tokens a second, told in a few pieces.
    num_tokens = 60 if os.environ.get(TEST_MODEL) else 1900
    asked = msgspec.structs.replace(
        request_of("Tell me a story.", "long", max_tokens=num_tokens, ignore_eos=True, **params),
        priority=Priority.BACKGROUND,
        grammar=grammar,
    )
    async with opened(best_model, slots=1, threads=1, batch_size=32, context_length=2048) as engine:
        alone, _ = await text_of(engine, msgspec.structs.replace(asked, owner="first"))
        said, num_pieces, last = "", 0, None
        async for last in engine.generate(asked):
            if not isinstance(last, Text):
                continue
            said += last.text
            num_pieces += 1
            if num_pieces == 1:  # the one slot is given up to each of them
                for number in (1, 2):
                    other = request_of("Hello there.", f"chat {number}", max_tokens=2)
                    await text_of(engine, other)
    assert isinstance(last, Finish)
    assert num_pieces >= 2, "it had been written to its end before it could give way"
    assert said == alone
