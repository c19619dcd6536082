"""What takes long when a sampler is made is done on the template thread, not between steps."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import llama_cpp
import pytest

from tests.integration.loaders.conftest import request_of
from webui.engine.prompt import PromptMaker
from webui.errors import GrammarTooAmbiguous
from webui.loaders.llama_cpp import LlamaCppOptions, grammar, grammars
from webui.loaders.llama_cpp.runner import LlamaCppRunner
from webui.sampling_params import SamplingParams

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

DEAR = SamplingParams(
    dry_multiplier=0.8,
    dry_sequence_breakers=tuple(letter * 40 for letter in "etaoinshrdlucmfw"),
    banned_strings=("e", "the"),
)
GRAMMAR = 'root ::= "a"{3} [b-z]*'


@pytest.fixture
def runner(noise: Path) -> Iterator[LlamaCppRunner]:
    options = LlamaCppOptions(context_length=64, slots=1, threads=1)
    runner = LlamaCppRunner(noise, "noise", options, lambda _: None)
    yield runner
    runner.close()


def _note(monkeypatch: pytest.MonkeyPatch, place: Any, name: str, made_by: list[int]) -> None:
    made = getattr(place, name)

    def noting(*args: Any) -> Any:
        made_by.append(threading.get_ident())
        return made(*args)

    monkeypatch.setattr(place, name, noting)


def test_opening_a_sampler_makes_nothing_that_takes_long(
    runner: LlamaCppRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_by: list[int] = []
    _note(monkeypatch, llama_cpp, "llama_sampler_init_dry", made_by)
    _note(monkeypatch, grammars, "Grammar", made_by)
    _note(monkeypatch, grammar, "Automaton", made_by)
    thread = threading.Thread(target=lambda: runner.prepare_sampler(DEAR, GRAMMAR))
    thread.start()
    thread.join()
    assert len(made_by) == 3
    for _ in range(3):
        runner.open_sampler(0, DEAR, [0], grammar=GRAMMAR)
    assert len(made_by) == 3
    assert threading.get_ident() not in made_by


def test_every_request_is_prepared_before_the_loop_has_it(
    runner: LlamaCppRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared: list[tuple[SamplingParams, str]] = []
    monkeypatch.setattr(runner, "prepare_sampler", lambda *args: prepared.append(args))
    request = request_of("hi", dry_multiplier=0.5)
    PromptMaker(runner).make(request)
    assert prepared == [(request.params, "")]


def test_grammar_that_is_refused_is_refused_each_time(runner: LlamaCppRunner) -> None:
    dear = 'root ::= s "z"\ns ::= "a" s s | "a" s | "a"'
    for _ in range(2):
        with pytest.raises(GrammarTooAmbiguous):
            runner.prepare_sampler(SamplingParams(), dear)


def test_tokens_that_hold_a_banned_string_are_banned_from_the_start(runner: LlamaCppRunner) -> None:
    runner.open_sampler(0, DEAR, [0])
    size = runner.vocabulary.size
    expected = {t for t in range(size) if b"e" in runner.token_bytes(t)} - runner.vocabulary.eog
    assert len(expected) > 1
    assert runner._samplers[0].chain.banned == expected
