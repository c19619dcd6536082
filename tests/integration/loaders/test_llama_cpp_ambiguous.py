"""Grammars that can be kept in many ways at once: nobody else waits for them, and none ends."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from typing import TYPE_CHECKING

import msgspec
import pytest

from tests.integration.loaders.conftest import opened, request_of, text_of
from webui.engine.interface import FinishReason, Text
from webui.engine.runner import Row, RowFailed, Sampled
from webui.errors import GrammarTooAmbiguous, NothingAllowed
from webui.loaders.llama_cpp import LlamaCppOptions
from webui.loaders.llama_cpp.grammar import MAX_WORK, GrammarSampler
from webui.loaders.llama_cpp.runner import LlamaCppRunner
from webui.sampling_params import SamplingParams

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from webui.engine.interface import GenerateRequest
    from webui.engine.process import LocalEngine
    from webui.engine.runner import RowResult
    from webui.loaders.llama_cpp.chain import Chain

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

# llama.cpp follows each way by itself: 20 s for the fifteenth letter.
DOUBLING = 'root ::= "a" root "b" | "a" root "c" | "d"'
# Few ways at once, but two to the power of a token's letters in llama.cpp's look at that token.
SPACES = 'root ::= (" " | s)* "z"\ns ::= " "'
SCHEMA = {
    "$ref": "#/$defs/S",
    "$defs": {
        "S": {
            "anyOf": [
                {
                    "type": "object",
                    "properties": {"l": {"$ref": "#/$defs/S"}, "op": {"const": op}},
                    "required": ["l", "op"],
                }
                for op in "+-"
            ]
        }
    },
}
MAX_GAP_S = 5  # on a machine that does other things; the watchdog waits for 60


async def _longest_gap(engine: LocalEngine, request: GenerateRequest) -> tuple[int, float]:
    num, longest_s, last_s = 0, 0.0, time.monotonic()
    async for delta in engine.generate(request):
        if isinstance(delta, Text):
            longest_s = max(longest_s, time.monotonic() - last_s) if num else 0.0
            last_s = time.monotonic()
            num += delta.num_tokens
    return num, longest_s


@pytest.mark.parametrize(
    ("form", "wish"),
    [
        ({"grammar": DOUBLING}, {"logit_bias": {ord("a"): 100.0}}),
        ({"grammar": SPACES}, {"logit_bias": {ord(" "): 100.0}}),
        ({"json_schema": json.dumps(SCHEMA)}, {"banned_strings": [" ", "\n"]}),
    ],
    ids=["doubling", "spaces", "schema"],
)
async def test_reply_beside_an_ambiguous_grammar_goes_on(
    noise: Path, form: dict[str, str], wish: dict[str, object]
) -> None:
    bad = request_of("hi", "bad", max_tokens=200, temperature=0, **wish)
    bad = msgspec.structs.replace(bad, **form)
    good = request_of("tell", "good", seed=1, temperature=1, ignore_eos=True, max_tokens=200)
    async with opened(noise, slots=2) as engine:
        pid = engine.pid
        (num, gap_s), (said, finish) = await asyncio.gather(
            _longest_gap(engine, good), text_of(engine, bad)
        )
        assert engine.pid == pid
    assert num == 200
    assert gap_s < MAX_GAP_S
    assert finish.reason is FinishReason.LENGTH
    assert len(said) >= 200


async def test_grammar_that_is_dear_for_good_is_refused_before_the_reply(noise: Path) -> None:
    schema = {"type": "string", "pattern": "^(.{0,95}a){20}$"}
    bad = msgspec.structs.replace(request_of("hi"), json_schema=json.dumps(schema))
    async with opened(noise) as engine:
        pid = engine.pid
        with pytest.raises(GrammarTooAmbiguous, match="too many ways"):
            await text_of(engine, bad)
        assert (await text_of(engine, request_of("hi")))[1].usage.completion_tokens > 0
        assert engine.pid == pid


BANNED = SamplingParams(temperature=0, banned_tokens=(ord("b"),))
WAYS = 'root ::= ("a" | "x") "b"'


def _rows_of_two(runner: LlamaCppRunner) -> tuple[RowResult, RowResult]:
    """Return what a reply to which nothing is left gets, and the one beside it."""
    for slot in (0, 1):
        runner.forget(slot, 0)
    runner.open_sampler(0, BANNED, [*b"ha"], num_reply=1, grammar=WAYS)
    runner.open_sampler(1, BANNED, [*b"ho"])
    rows = [Row(0, [*b"ha"], 0, sample=True), Row(1, [*b"ho"], 0, sample=True)]
    bad, good = runner.forward(rows)
    return bad, good


def test_reply_whose_refusal_turns_out_dear_fails_alone(
    noise: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusal(_keeper: GrammarSampler) -> None:
        raise GrammarTooAmbiguous("Too many ways")

    options = LlamaCppOptions(context_length=64, slots=2, threads=1)
    runner = LlamaCppRunner(noise, "noise", options, lambda _: None)
    monkeypatch.setattr(GrammarSampler, "refusal", refusal)
    try:
        bad, good = _rows_of_two(runner)
        assert isinstance(bad, RowFailed)
        assert isinstance(bad.error, GrammarTooAmbiguous)
        assert isinstance(good, Sampled)
    finally:
        runner.close()


def test_why_nothing_is_left_is_told_though_no_work_is_left(
    noise: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was found out may be forgotten meanwhile, and is then too dear to be found again."""
    choose = GrammarSampler.sample

    def sample(keeper: GrammarSampler, chain: Chain, logits: NDArray[np.float32]) -> int | None:
        token = choose(keeper, chain, logits)
        keeper._left = 0
        keeper._grammar.automaton.forget()
        return token

    options = LlamaCppOptions(context_length=64, slots=2, threads=1)
    runner = LlamaCppRunner(noise, "noise", options, lambda _: None)
    monkeypatch.setattr(GrammarSampler, "sample", sample)
    try:
        bad, good = _rows_of_two(runner)
        assert isinstance(bad, RowFailed)
        assert isinstance(bad.error, NothingAllowed)
        assert "allows here is banned" in bad.error.message
        assert isinstance(good, Sampled)
    finally:
        runner.close()


def test_reply_whose_grammar_turns_out_dear_ends_alone(noise: Path) -> None:
    options = LlamaCppOptions(context_length=64, slots=1, threads=1)
    runner = LlamaCppRunner(noise, "noise", options, lambda _: None)
    try:
        # Not seen before the reply, as nobody probed it.
        grammar = runner._grammars.get('root ::= s "z"\ns ::= "a" s s | "a" s | "a"')
        keeper = GrammarSampler(grammar, ())
        with pytest.raises(GrammarTooAmbiguous):
            deque(map(keeper.accept, [ord("a")] * 5000))
        assert keeper._left < MAX_WORK
        other = GrammarSampler(runner._grammars.get(DOUBLING), [ord("a")] * 5000)
        assert other.allows(ord("d"))
    finally:
        runner.close()
