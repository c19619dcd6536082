"""What our grammars allow is what those of llama.cpp allow, token by token."""

from __future__ import annotations

import ctypes
import json
from random import Random
from typing import TYPE_CHECKING

import llama_cpp
import numpy as np
import pytest

from webui.engine.answer_grammar import answer_grammar
from webui.loaders.llama_cpp import LlamaCppOptions
from webui.loaders.llama_cpp.grammar import TOKEN_DATA, GrammarSampler
from webui.loaders.llama_cpp.runner import LlamaCppRunner

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "pattern": "^[A-Za-zé ]{1,12}$"},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "more": {"anyOf": [{"$ref": "#"}, {"type": "null"}, {"type": "array"}]},
    },
    "required": ["name"],
}
GRAMMARS = {
    "any JSON": answer_grammar("", "true"),
    "a schema": answer_grammar("", json.dumps(SCHEMA)),
    "words": 'root ::= word (" " word)* [.!?]?\nword ::= [a-z]+ | [A-Z] [a-z]*',
    "ways that begin alike": 'root ::= "a" root "b" | "a" root "c" | "d" | [a-z ]{0,9} "!"',
    "sums": 'root ::= term ([-+*/] term)*\nterm ::= [0-9]+ ("." [0-9]+)? | "(" root ")"',
    "all but some": 'root ::= [^ <>"]{3,40} "\\n" .*',
    "scripts": 'root ::= ([à-ÿ] | [\\u0430-\\u044f] | [一-龥] | "🔥" | " " | [a-m])*',
    "tokens": 'root ::= (<[5]> | !<[6]> | "the" [a-z]*)+ "."',
}


@pytest.fixture(scope="module")
def runner(best_model: Path) -> Iterator[LlamaCppRunner]:
    options = LlamaCppOptions(context_length=128, slots=1, threads=1)
    runner = LlamaCppRunner(best_model, "model", options, lambda _: None)
    yield runner
    runner.close()


class Native:
    """The same grammar in llama.cpp."""

    def __init__(self, runner: LlamaCppRunner, grammar: str) -> None:
        handle = runner.vocabulary.handle
        self._size = runner.vocabulary.size
        self._sampler = llama_cpp.llama_sampler_init_grammar(handle, grammar.encode(), b"root")
        assert self._sampler

    def mask(self) -> NDArray[np.bool_]:
        data = np.zeros(self._size, TOKEN_DATA)
        data["id"] = np.arange(self._size)
        array = llama_cpp.llama_token_data_array(
            data=data.ctypes.data_as(llama_cpp.llama_token_data_p),
            size=self._size,
            selected=-1,
            sorted=False,
        )
        llama_cpp.llama_sampler_apply(self._sampler, ctypes.byref(array))
        return np.asarray(data["logit"] == 0)

    def accept(self, token: int) -> None:
        llama_cpp.llama_sampler_accept(self._sampler, token)

    def close(self) -> None:
        llama_cpp.llama_sampler_free(self._sampler)


@pytest.mark.parametrize("name", GRAMMARS)
def test_same_tokens_are_allowed_along_random_replies(runner: LlamaCppRunner, name: str) -> None:
    grammar = GRAMMARS[name]
    silent = np.fromiter(runner.vocabulary.silent, np.int32)
    rng = Random(name)
    num_compared = 0
    for _ in range(4):
        ours = GrammarSampler(runner._grammars.get(grammar), ())
        native = Native(runner, grammar)
        for _ in range(25):
            allowed, expected = ours._mask(), native.mask()
            expected[silent] = False
            differing = np.flatnonzero(allowed != expected).tolist()
            assert [t for t in differing if not _is_odd(runner, t, allowed[t])] == []
            num_compared += 1
            both = np.flatnonzero(allowed & expected)
            going_on = [t for t in both.tolist() if not runner.is_eog(t)]
            if not going_on:
                break
            letters = [t for t in going_on if len(runner.token_bytes(t)) == 1]
            token = rng.choice(letters if letters and rng.random() < 0.3 else going_on)
            assert ours.allows(token)
            ours.accept(token)
            native.accept(token)
        native.close()
    assert num_compared > 10


def _is_odd(runner: LlamaCppRunner, token: int, is_ours: bool) -> bool:
    """Return whether llama.cpp errs: bytes that are no UTF-8, or the front of a character.

    It takes overlong forms and halves of surrogate pairs, refuses the front of a character where a
    negated set holds any that begins so, and takes a token in the middle of another.
    """
    data = runner.vocabulary.piece(token)
    try:
        data.decode()
    except UnicodeDecodeError:
        return True
    return not is_ours and f"<[{token}]>" in GRAMMARS["tokens"]
