"""What a grammar costs: how often all tokens are looked at, and what that takes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import llama_cpp
import numpy as np
import pytest

from tests.tiny_gguf import write_tiny_gguf
from webui.engine.interface import GrammarTrigger
from webui.engine.runner import Row, Sampled
from webui.loaders.llama_cpp import LlamaCppOptions
from webui.loaders.llama_cpp.grammar import Candidates
from webui.loaders.llama_cpp.runner import LlamaCppRunner
from webui.loaders.llama_cpp.token_trie import TokenMasks
from webui.sampling_params import SamplingParams

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

LARGE = 150_000
WAITS = (GrammarTrigger("{"),)


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaCppRunner]:
    path = tmp_path_factory.mktemp("large") / "large.gguf"
    write_tiny_gguf(path, num_words=LARGE, is_quantized=True)
    options = LlamaCppOptions(context_length=256, slots=1, threads=1)
    runner = LlamaCppRunner(path, "large", options, lambda _: None)
    yield runner
    runner.close()


def _write(runner: LlamaCppRunner, num: int, **grammar: Any) -> tuple[list[int], float]:
    """Return the tokens of a reply, and the processor's seconds that choosing each took."""
    bias = grammar.pop("bias", {})
    tokens = [*b"hello"]
    runner.forget(0, 0)
    params = SamplingParams(temperature=0, logit_bias=bias)
    runner.open_sampler(0, params, tokens, **grammar)
    rows = [Row(0, tokens, 0, sample=True)]
    spent_s = 0.0
    choose = runner._sample

    def timed(slot: int, index: int) -> Any:
        nonlocal spent_s
        begun_s = time.thread_time()
        result = choose(slot, index)
        spent_s += time.thread_time() - begun_s
        return result

    runner._sample = timed
    try:
        for _ in range(num):
            (result,) = runner.forward(rows)
            assert isinstance(result, Sampled)
            rows = [Row(0, [result.token], len(tokens), sample=True)]
            tokens.append(result.token)
    finally:
        runner._sample = choose
        runner.close_sampler(0)
    return tokens[5:], spent_s / num


def test_vocabulary_is_asked_once_for_each_place_where_a_token_was_refused(
    runner: LlamaCppRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    find = TokenMasks._find
    monkeypatch.setattr(TokenMasks, "_find", lambda self, at: asked.append(at) or find(self, at))
    size = runner._vocabulary.size
    assert size > LARGE
    _write(runner, 5, grammar='root ::= "a"+', bias={ord("a"): 100.0})
    assert len(asked) == 1, "whether it can begin at all"
    asked.clear()
    for _ in range(2):
        _write(runner, 5, grammar='root ::= "b"+', bias={ord("a"): 100.0})
    assert len(asked) == 2, "before a letter and behind one"
    asked.clear()
    _write(runner, 5, grammar='root ::= "{}"', triggers=WAITS, bias={ord("a"): 100.0})
    assert asked == []


def test_biases_meet_each_token_at_its_place(
    runner: LlamaCppRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elsewhere llama.cpp looks for each: every token that is allowed times every bias."""
    are_placed: dict[bytes, bool] = {}
    apply = Candidates.apply

    def watched(candidates: Candidates, sampler: Any) -> None:
        name = llama_cpp.llama_sampler_name(sampler)
        ids = candidates._part["id"]
        is_placed = np.array_equal(ids, np.arange(runner.vocabulary.size))
        are_placed[name] = are_placed.get(name, True) and is_placed
        apply(candidates, sampler)

    monkeypatch.setattr(Candidates, "apply", watched)
    bias = {ord("a"): 100.0} | dict.fromkeys(range(1000, 2000), -1.0)
    _write(runner, 5, grammar="root ::= ([b-z] [a-z]*)+", bias=bias)
    assert are_placed[b"chain"], "it begins with the biases"
    assert are_placed == {b"chain": True, b"logit-bias": True, b"greedy": False}


@pytest.mark.bench
def test_what_choosing_costs_with_a_large_vocabulary(
    runner: LlamaCppRunner, capsys: pytest.CaptureFixture[str]
) -> None:
    ways: dict[str, dict[str, Any]] = {
        "free": {},
        "grammar, first choice allowed": {"grammar": 'root ::= "a"+', "bias": {ord("a"): 100.0}},
        "grammar, first choice refused": {"grammar": 'root ::= "b"+', "bias": {ord("a"): 100.0}},
        "any word, first choice refused": {
            "grammar": "root ::= ([b-z] [a-z]*)+",
            "bias": {ord("a"): 100.0},
        },
        "lazy grammar that waits": {"grammar": 'root ::= "{}"', "triggers": WAITS},
    }
    for grammar in ways.values():
        _write(runner, 20, **grammar)
    with capsys.disabled():
        for name, grammar in ways.items():
            print(f"{name:32} {_write(runner, 100, **grammar)[1] * 1000:8.3f} ms a token")  # noqa: T201 - a bench prints its figures
