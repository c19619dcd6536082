"""Grammars that wait for a trigger, on the runner itself and through a real worker."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING

import msgspec
import pytest

from tests.integration.loaders.conftest import SAYS, opened, request_of, text_of
from tests.tiny_gguf import write_tiny_gguf
from webui.engine.interface import FinishReason, GrammarTrigger
from webui.engine.runner import Row, Sampled
from webui.errors import InvalidRequest, NothingAllowed
from webui.loaders.llama_cpp import LlamaCppOptions, lazy_grammar
from webui.loaders.llama_cpp.runner import LlamaCppRunner
from webui.sampling_params import SamplingParams

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from webui.engine.interface import GenerateRequest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

GREEDY = SamplingParams(temperature=0)
WHOLE = b"".join(SAYS).decode()


def _lazy(request: GenerateRequest, *words: str, grammar: str) -> GenerateRequest:
    triggers = tuple(GrammarTrigger(word) for word in words)
    return msgspec.structs.replace(request, grammar=grammar, grammar_triggers=triggers)


@pytest.fixture(scope="module")
def runner(noise: Path) -> Iterator[LlamaCppRunner]:
    options = LlamaCppOptions(context_length=128, slots=2, threads=1)
    runner = LlamaCppRunner(noise, "noise", options, lambda _: None)
    yield runner
    runner.close()


def _write(
    runner: LlamaCppRunner,
    num: int,
    *,
    bias: dict[int, float],
    grammar: str,
    triggers: tuple[GrammarTrigger, ...],
    reopen_at: int = -1,
) -> list[int]:
    """Write tokens behind a prompt that is nothing but a trigger; return them."""
    tokens = [*b"{"]
    params = GREEDY.model_copy(update={"logit_bias": bias})
    runner.forget(0, 0)
    runner.open_sampler(0, params, tokens, grammar=grammar, triggers=triggers)
    num_read = 0
    while len(tokens) <= num:
        if len(tokens) - 1 == reopen_at:
            runner.open_sampler(
                0,
                params,
                tokens,
                num_reply=len(tokens) - 1,
                grammar=grammar,
                triggers=triggers,
            )
        (result,) = runner.forward([Row(0, tokens[num_read:], num_read, sample=True)])
        assert isinstance(result, Sampled)
        num_read = len(tokens)
        if runner.is_eog(result.token):
            break
        tokens.append(result.token)
    runner.close_sampler(0)
    return tokens[1:]


@pytest.mark.parametrize("reopen_at", [-1, 0, 1, 2, 3, 4, 5])
def test_grammar_begins_in_the_middle_of_a_token(runner: LlamaCppRunner, reopen_at: int) -> None:
    # "he" is one token; the word begins in its second letter and ends with the next "he".
    (he,) = runner.tokenize("he", special=False)
    said = _write(
        runner,
        6,
        bias={he: 100.0},
        grammar='root ::= "ehe" [xy] "z"',
        triggers=(GrammarTrigger("eh"),),
        reopen_at=reopen_at,
    )
    text = b"".join(map(runner.token_bytes, said))
    assert re.fullmatch(rb"hehe[xy]z", text)


def test_prompt_triggers_nothing_and_a_free_reply_is_as_without_grammar(
    runner: LlamaCppRunner,
) -> None:
    lazy = _write(runner, 20, bias={}, grammar='root ::= "{}"', triggers=(GrammarTrigger("{}"),))
    free = _write(runner, 20, bias={}, grammar="", triggers=())
    assert lazy == free
    assert b"{}" not in b"".join(map(runner.token_bytes, free))


def test_token_that_goes_on_wrongly_behind_a_trigger_is_not_chosen(
    runner: LlamaCppRunner,
) -> None:
    (he,) = runner.tokenize("he", special=False)
    triggers = (GrammarTrigger("h"),)
    # The likeliest token says "he", the next likeliest "h"; the grammar has no "e".
    bias = {he: 100.0, ord("h"): 90.0, ord("k"): 80.0}
    said = _write(runner, 3, bias=bias, grammar='root ::= "hkk"', triggers=triggers)
    assert b"".join(map(runner.token_bytes, said)) == b"hkk"


def test_control_token_triggers_by_its_id_and_by_its_name(runner: LlamaCppRunner) -> None:
    (start,) = runner.tokenize("<|im_start|>", special=True)
    for trigger in (GrammarTrigger(token=start), GrammarTrigger("<|im_start|>")):
        said = _write(
            runner,
            5,
            bias={start: 100.0},
            grammar='root ::= "<|im_start|>" "ok"',
            triggers=(trigger,),
        )
        assert said == [start, *b"ok"]


@pytest.mark.parametrize(
    ("trigger", "words"),
    [
        (GrammarTrigger("b"), "cannot begin with 'b'"),
        (GrammarTrigger("ab\n"), "cannot begin with"),
        (GrammarTrigger(token=ord("b")), "cannot begin with token 98"),
        (GrammarTrigger(token=1 << 30), "has no token"),
    ],
)
def test_trigger_that_the_grammar_does_not_begin_with_is_refused(
    runner: LlamaCppRunner, trigger: GrammarTrigger, words: str
) -> None:
    with pytest.raises(InvalidRequest, match=words) as caught:
        runner.open_sampler(0, GREEDY, [0], grammar='root ::= "ab" "c"', triggers=(trigger,))
    assert caught.value.field == "grammar_triggers"
    runner.close_sampler(0)


def test_triggers_that_take_too_long_to_check_are_refused(
    runner: LlamaCppRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each letter goes on in all of these rules.
    num = 1300
    rules = "\n".join(f'r{i} ::= "a"* "{i}"' for i in range(num))
    grammar = f"root ::= {' | '.join(f'r{i}' for i in range(num))}\n{rules}"
    triggers = (GrammarTrigger("a" * 64),) * 32
    runner.open_sampler(0, GREEDY, [0], grammar=grammar, triggers=triggers)
    runner.close_sampler(0)
    monkeypatch.setattr(lazy_grammar, "MAX_CHECK_S", 0.0)
    with pytest.raises(InvalidRequest, match="takes too long"):
        runner.open_sampler(0, GREEDY, [0], grammar=grammar, triggers=triggers)
    runner.close_sampler(0)


@pytest.mark.parametrize("place", [1, 5, WHOLE.index("🙂") - 1, WHOLE.index("🙂"), 20, 24])
async def test_trigger_at_any_place_of_a_reply_turns_it(parrot: Path, place: int) -> None:
    word = WHOLE[place : place + 2]
    grammar = f'root ::= {json.dumps(word, ensure_ascii=False)} [^`]{{0,9}} "`?"'
    async with opened(parrot) as engine:
        request = request_of("hi", temperature=0, max_tokens=60)
        said, finish = await text_of(engine, _lazy(request, word, grammar=grammar))
    assert re.fullmatch(re.escape(WHOLE[: place + 2]) + "[^`]{0,9}`\\?", said, re.DOTALL)
    assert finish.reason is FinishReason.STOP


async def test_several_lazy_replies_are_those_they_are_alone(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "noise.gguf", is_quantized=True)
    async with opened(path, slots=4, threads=1, batch_size=48) as engine:
        requests = [
            _lazy(
                request_of(f"go {i}", f"r{i}", seed=i, temperature=1.2, banned_strings=("qx",)),
                *"aeiou",
                grammar='root ::= [aeiou] ("-" [0-9]){3}',
            )
            for i in range(8)
        ]
        alone = [await text_of(engine, request) for request in requests]
        beside = await asyncio.gather(*(text_of(engine, request) for request in requests))
    assert [said for said, _ in beside] == [said for said, _ in alone]
    kept = r"[^aeiou]*(?P<turned>[aeiou](-[0-9]){0,3}-?)?"
    found = [re.fullmatch(kept, said) for said, _ in alone]
    assert all(found)
    assert any(match and match["turned"] for match in found), "no reply said a trigger"


async def test_schema_waits_for_its_brace(noise: Path) -> None:
    request = request_of("hi", seed=1, temperature=1, logit_bias={ord("{"): 20.0})
    schema = json.dumps({"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"]})
    request = msgspec.structs.replace(
        request, json_schema=schema, grammar_triggers=(GrammarTrigger("{"),)
    )
    async with opened(noise) as engine:
        said, finish = await text_of(engine, request)
    assert json.loads(said[said.index("{") :])["a"] == 1
    assert finish.reason is FinishReason.STOP


async def test_reply_that_cannot_go_on_behind_its_trigger_fails_alone(noise: Path) -> None:
    request = _lazy(
        request_of("hi", temperature=0, logit_bias={ord("a"): 100.0}, banned_strings=("b",)),
        "a",
        grammar='root ::= "ab"',
    )
    async with opened(noise) as engine:
        with pytest.raises(NothingAllowed, match="allows here is banned"):
            await text_of(engine, request)
        assert (await text_of(engine, request_of("hi", temperature=0)))[0]
