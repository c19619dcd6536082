"""What takes long when a sampler is made is done on a thread of its own, not between steps."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import llama_cpp
import pytest

from webui.errors import GrammarTooAmbiguous, InvalidRequest
from webui.loaders.llama_cpp import LlamaCppOptions, dry, grammar, grammars
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


@pytest.mark.parametrize(
    ("params", "text"),
    [
        (SamplingParams(dry_multiplier=0.5), ""),
        (SamplingParams(banned_strings=("e",)), ""),
        (SamplingParams(), GRAMMAR),
        (DEAR, GRAMMAR),
    ],
    ids=["DRY", "banned", "grammar", "all"],
)
def test_it_is_known_whose_sampler_is_still_to_be_made(
    runner: LlamaCppRunner, params: SamplingParams, text: str
) -> None:
    assert runner.is_sampler_prepared(SamplingParams(), "")
    assert not runner.is_sampler_prepared(params, text)
    runner.prepare_sampler(params, text)
    assert runner.is_sampler_prepared(params, text)
    runner.open_sampler(0, params, [0], grammar=text)
    assert runner.is_sampler_prepared(params, text)


@pytest.mark.parametrize(
    ("bound", "words"),
    [("MAX_BEGUN", "begin where [0-9,]+ tokens"), ("MAX_HELD", "stand in [0-9,]+ tokens")],
)
def test_breakers_that_meet_too_many_tokens_are_refused_before_anything_is_made(
    runner: LlamaCppRunner, monkeypatch: pytest.MonkeyPatch, bound: str, words: str
) -> None:
    made_by: list[int] = []
    _note(monkeypatch, llama_cpp, "llama_sampler_init_dry", made_by)
    monkeypatch.setattr(dry, bound, 1)
    params = SamplingParams(dry_multiplier=0.5, dry_sequence_breakers=("e", "t", "a", "ox", "xo"))
    with pytest.raises(InvalidRequest, match=f"these {words} of this model") as caught:
        runner.prepare_sampler(params, "")
    assert caught.value.field == "dry_sequence_breakers"
    assert caught.value.hint
    assert not made_by
    assert not runner.is_sampler_prepared(params, "")
    monkeypatch.undo()
    runner.prepare_sampler(params, "")


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
