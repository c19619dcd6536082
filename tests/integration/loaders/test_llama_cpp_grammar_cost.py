"""What a grammar costs: how many tokens llama.cpp is asked about, and what that takes."""

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
from webui.loaders.llama_cpp.grammar import GrammarSampler
from webui.loaders.llama_cpp.runner import LlamaCppRunner
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


class Asked:
    """Counts the tokens in each call of a grammar."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, runner: LlamaCppRunner) -> None:
        self.sizes: list[int] = []
        self._runner = runner
        self._apply = llama_cpp.llama_sampler_apply
        monkeypatch.setattr(llama_cpp, "llama_sampler_apply", self)

    def __call__(self, handle: Any, array: Any) -> None:
        keeper = self._runner._samplers[0].grammar
        grammar = getattr(keeper, "_begun", None) or keeper
        if handle == getattr(grammar, "_handle", None):
            self.sizes.append(array._obj.size)
        self._apply(handle, array)


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


def test_only_a_refused_token_asks_about_others_that_begin_as_the_grammar_allows(
    runner: LlamaCppRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Asked(monkeypatch, runner)
    size = runner._vocabulary.size
    assert size > LARGE
    _write(runner, 5, grammar='root ::= "a"+', bias={ord("a"): 100.0})
    assert asked.sizes == [1] * 5
    asked.sizes.clear()
    _write(runner, 5, grammar='root ::= "b"+', bias={ord("a"): 100.0})
    num_with_b = sum(runner.token_bytes(token)[:1] == b"b" for token in range(size))
    num_ends = len(runner._vocabulary.eog)
    assert num_with_b < size / 5
    assert asked.sizes == [1, 256, num_with_b + num_ends, 1] * 5
    asked.sizes.clear()
    _write(runner, 5, grammar='root ::= "b"+ <|im_end|>', bias={ord("a"): 100.0})
    assert asked.sizes == [1, size, 1] * 5, "tokens that are named are not found by their bytes"
    asked.sizes.clear()
    _write(runner, 5, grammar='root ::= "{}"', triggers=WAITS, bias={ord("a"): 100.0})
    assert asked.sizes == []


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


@pytest.mark.parametrize("reply", ["", "b", "bé", "b🔥", 'b"', "b\\", "b1"])
@pytest.mark.parametrize(
    "grammar",
    [
        'root ::= "b" [^"\\\\]* "\\"" [0-9]*',
        'root ::= "b" ("é" | "🔥" | "\\\\" | "1" | "\\"") [a-z🔥-🔧]* | "b"',
        'root ::= "b" .*',
    ],
)
def test_what_is_ruled_out_by_its_first_byte_is_never_allowed(
    runner: LlamaCppRunner, grammar: str, reply: str
) -> None:
    vocab = runner._grammar_vocab
    for num in range(len(reply.encode()) + 1):
        keeper = GrammarSampler(vocab, grammar, ())
        for byte in reply.encode()[:num]:
            token = runner._vocabulary.letters[byte]
            if not keeper.allows(token):
                break
            keeper.accept(token)
        everything = np.arange(runner._vocabulary.size, dtype=np.int32)
        allowed = set(everything[keeper._allowed(everything)].tolist()) - runner._vocabulary.silent
        kept = set(vocab.first_bytes.candidates(keeper._allowed).tolist())
        assert allowed <= kept
        assert len(kept) < len(everything)
        keeper.close()
