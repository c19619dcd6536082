"""Replies that keep to a grammar or a schema, through a real worker and on the runner itself."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any

import llama_cpp
import msgspec
import numpy as np
import pytest

from tests.integration.loaders.conftest import opened, request_of, text_of
from tests.tiny_gguf import write_tiny_gguf
from webui.engine.grammar import check_grammar
from webui.engine.interface import FinishReason, Text
from webui.engine.runner import Row, Sampled
from webui.errors import InvalidRequest, NothingAllowed
from webui.loaders.llama_cpp import LlamaCppOptions
from webui.loaders.llama_cpp.runner import LlamaCppRunner
from webui.sampling_params import SamplingParams

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from webui.engine.interface import GenerateRequest
    from webui.engine.process import LocalEngine
    from webui.engine.token_logprob import TokenLogprob

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "pattern": "^[A-Za-z ]{1,12}$"},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "colours": {"type": "array", "items": {"enum": ["red", "blue"]}, "maxItems": 3},
    },
    "required": ["name", "age", "colours"],
    "additionalProperties": False,
}
PERSON = "Describe a person as JSON with name, age and colours."
GREEDY = SamplingParams(temperature=0)


def _form(request: GenerateRequest, **form: str) -> GenerateRequest:
    return msgspec.structs.replace(request, **form)


async def _written(engine: LocalEngine, text: str, form: dict[str, str], **params: Any) -> Any:
    said, finish = await text_of(engine, _form(request_of(text, **params), **form))
    return said, finish


def _obeys(value: Any) -> bool:
    return (
        set(value) == {"name", "age", "colours"}
        and re.fullmatch("[A-Za-z ]{1,12}", value["name"]) is not None
        and 0 <= value["age"] <= 150
        and len(value["colours"]) <= 3
        and set(value["colours"]) <= {"red", "blue"}
    )


async def test_answer_obeys_its_schema_and_is_the_same_twice(best_model: Path) -> None:
    form = {"json_schema": json.dumps(SCHEMA)}
    async with opened(best_model) as engine:
        wishes: list[dict[str, Any]] = [{"temperature": 0}, {"temperature": 0}]
        wishes += [{"temperature": 1.5, "top_k": 0, "seed": seed} for seed in range(4)]
        written = [
            await _written(engine, PERSON, form, max_tokens=400, repeat_penalty=1.2, **wish)
            for wish in wishes
        ]
    assert [finish.reason for _, finish in written] == [FinishReason.STOP] * len(wishes)
    assert [said for said, _ in written if not _obeys(json.loads(said))] == []
    assert written[0][0] == written[1][0]


async def test_answer_is_one_of_those_the_grammar_has(best_model: Path) -> None:
    form = {"grammar": 'root ::= "yes" | "no" | "maybe so"'}
    async with opened(best_model) as engine:
        for seed in range(3):
            said, finish = await _written(engine, "Is it?", form, seed=seed, temperature=1)
            assert said in {"yes", "no", "maybe so"}
            assert finish.reason is FinishReason.STOP


@pytest.mark.parametrize(
    "wish", [{"ignore_eos": True}, {"min_tokens": 20}, {"banned_strings": ("b",)}]
)
async def test_end_of_the_grammar_ends_the_reply_whatever_else_is_asked(
    noise: Path, wish: dict[str, Any]
) -> None:
    form = {"grammar": "root ::= [abc] [abc] [abc]"}
    async with opened(noise) as engine:
        said, finish = await _written(engine, "hi", form, temperature=1, seed=1, **wish)
    assert len(said) == 3
    assert set(said) <= set("abc") - set(wish.get("banned_strings", ()))
    assert finish.reason is FinishReason.STOP


async def test_reply_whose_every_choice_is_banned_fails_alone(noise: Path) -> None:
    async with opened(noise) as engine:
        with pytest.raises(NothingAllowed, match="banned_strings: all that keeps to"):
            await _written(engine, "hi", {"grammar": 'root ::= "b"'}, banned_strings=("b",))
        with pytest.raises(NothingAllowed, match="allows here is banned"):
            await _written(engine, "hi", {"grammar": 'root ::= "b"'}, banned_tokens=(ord("b"),))
        # It could be kept, but not behind the letter that is chosen first.
        form = {"grammar": 'root ::= "a" ("x" | "y") | "b"'}
        first = {"temperature": 0, "logit_bias": {ord("a"): 100}}
        with pytest.raises(NothingAllowed, match="allows here is banned"):
            await _written(engine, "hi", form, banned_strings=("x", "y"), **first)
        said, _ = await _written(engine, "hi", {"grammar": 'root ::= "b"'})
    assert said == "b"


async def test_reply_that_cannot_go_on_keeps_its_text_and_harms_nobody(noise: Path) -> None:
    form = {"grammar": 'root ::= "xyz" ("b" | "c")'}
    bad = _form(request_of("hi", "bad", banned_tokens=(ord("b"), ord("c"))), **form)
    good = request_of("tell", "good", seed=1, temperature=1, ignore_eos=True)
    told: list[str] = []
    async with opened(noise, slots=2) as engine:
        alone, _ = await text_of(engine, good)
        beside = asyncio.create_task(text_of(engine, good))
        with pytest.raises(NothingAllowed, match="allows here is banned"):
            await _listen(engine, bad, told)
        assert (await beside)[0] == alone
    assert "".join(told) == "xyz"


async def _listen(engine: LocalEngine, request: GenerateRequest, told: list[str]) -> None:
    async for delta in engine.generate(request):
        told += [delta.text] if isinstance(delta, Text) else []


async def test_token_that_is_never_written_is_named_as_the_cause(noise: Path) -> None:
    async with opened(noise) as engine:
        with pytest.raises(NothingAllowed, match="No token of this model"):
            await _written(engine, "hi", {"grammar": "root ::= <|im_start|>"})


async def test_token_that_no_model_has_is_refused(noise: Path) -> None:
    async with opened(noise) as engine:
        with pytest.raises(InvalidRequest, match="grammar"):
            await _written(engine, "hi", {"grammar": "root ::= <no such token here>"})
        assert (await _written(engine, "hi", {"grammar": 'root ::= "x"'}))[0] == "x"


async def test_name_of_a_control_token_is_written_in_letters(noise: Path) -> None:
    async with opened(noise) as engine:
        said, _ = await _written(engine, "hi", {"grammar": 'root ::= "<s>ok"'})
    assert said == "<s>ok"


@pytest.mark.parametrize("seed", range(4))
async def test_grammar_goes_on_where_a_banned_string_was_taken_back(noise: Path, seed: int) -> None:
    form = {"grammar": 'root ::= "x" [abc]{12} "y"'}
    wish = {"banned_strings": ("ab",), "temperature": 1.5, "top_k": 0, "seed": seed}
    async with opened(noise) as engine:
        said, _ = await _written(engine, "hi", form, **wish)
    assert re.fullmatch("x(?!.*ab)[abc]{12}y", said)


async def test_rows_beside_a_grammar_are_those_they_are_alone(tmp_path: Path) -> None:
    # Whole numbers add up to the same in every order, other than 64 tokens of a sequence at once.
    path = write_tiny_gguf(tmp_path / "noise.gguf", is_quantized=True)
    async with opened(path, slots=4, threads=1, batch_size=48) as engine:
        plain = [
            request_of(f"tell {i}", f"plain {i}", seed=i, temperature=1, logprobs=True)
            for i in range(2)
        ]
        kept = [
            _form(
                request_of(f"list {i}", f"kept {i}", seed=i, temperature=1, logprobs=True),
                grammar='root ::= ("yes " | "no ")+',
            )
            for i in range(2)
        ]
        alone = [await _tokens(engine, request) for request in (*plain, *kept)]
        beside = await asyncio.gather(*(_tokens(engine, request) for request in (*plain, *kept)))
    assert beside == alone
    assert len(alone[0]) == 40
    assert re.fullmatch(rb"((yes|no) )+(y|ye|yes|n|no)?", b"".join(t.data for t in alone[2]))


async def _tokens(engine: LocalEngine, request: GenerateRequest) -> list[TokenLogprob]:
    deltas = [delta async for delta in engine.generate(request)]
    return [token for delta in deltas if isinstance(delta, Text) for token in delta.logprobs]


@pytest.fixture(scope="module")
def runner(noise: Path) -> Iterator[LlamaCppRunner]:
    options = LlamaCppOptions(context_length=64, slots=1, threads=1)
    runner = LlamaCppRunner(noise, "noise", options, lambda _: None)
    yield runner
    runner.close()


def test_contradiction_is_seen_before_the_prompt_is_read(runner: LlamaCppRunner) -> None:
    ends = frozenset(runner.vocabulary.eog)
    banned = SamplingParams(banned_tokens=tuple(b"ab"), ignore_eos=True)
    with pytest.raises(NothingAllowed, match="allows here is banned"):
        runner.open_sampler(0, banned, [0], grammar="root ::= [ab]+")
    for grammar in ("root ::= [abc]+", "root ::= [ab]*", "root ::= [^ab]", 'root ::= "ä"'):
        runner.open_sampler(0, banned, [0], grammar=grammar)
    # Within a reply it is the step's to say: the tokens before were chosen already.
    runner.open_sampler(0, banned, [0, ord("c")], num_reply=1, grammar='root ::= "c" [ab]+')
    everything = tuple(frozenset(range(runner.vocabulary.size)) - ends)
    with pytest.raises(NothingAllowed, match="All tokens"):
        runner.open_sampler(0, banned.model_copy(update={"banned_tokens": everything}), [0])
    runner.close_sampler(0)


@pytest.mark.parametrize("wish", [{}, {"ignore_eos": True}, {"min_tokens": 9}])
@pytest.mark.parametrize("typical_p", [0.1, 0.5, 0.9])
def test_every_sampler_finds_what_the_grammar_allows(
    runner: LlamaCppRunner, wish: dict[str, Any], typical_p: float
) -> None:
    off = {"top_k": 0, "top_p": 1, "min_p": 0, "typical_p": typical_p}
    for more in (
        {},
        {"top_n_sigma": 0.5},
        {"mirostat": 1},
        {"mirostat": 2},
        {"xtc_probability": 1},
    ):
        params = SamplingParams.model_validate({"seed": 1, "temperature": 2} | off | more | wish)
        runner.forget(0, 0)
        runner.open_sampler(0, params, [0], grammar="root ::= [xyz]{3}")
        (result,) = runner.forward([Row(0, [0], 0, sample=True)])
        assert isinstance(result, Sampled)
        assert result.token in b"xyz"
    runner.close_sampler(0)


def test_mirostat_1_chooses_among_what_the_grammar_allows(runner: LlamaCppRunner) -> None:
    said = set()
    for seed in range(30):
        params = SamplingParams(seed=seed, mirostat=1, temperature=2)
        runner.forget(0, 0)
        runner.open_sampler(0, params, [0], grammar="root ::= [a-h]")
        (result,) = runner.forward([Row(0, [0], 0, sample=True)])
        assert isinstance(result, Sampled)
        said.add(result.token)
    runner.close_sampler(0)
    assert len(said) > 3


@pytest.mark.parametrize(
    "wish",
    [
        {},
        {"dynatemp_range": 1.5},
        {"top_n_sigma": 0.5},
        {"typical_p": 0.5},
        {"top_k": 3},
        {"mirostat": 1},
        {"mirostat": 2},
        {"xtc_probability": 1, "xtc_threshold": 0},
        {"adaptive_target": 0.3},
        {"min_tokens": 9},
        {"temperature": 0},
    ],
)
def test_ban_of_what_the_grammar_refuses_changes_no_choice(
    runner: LlamaCppRunner, wish: dict[str, Any]
) -> None:
    """Samplers are shown what is allowed and nothing beside it, whatever is banned or biased."""
    off = {"top_k": 0, "top_p": 1, "min_p": 0, "temperature": 1.6}
    logits = np.random.default_rng(1).normal(size=runner.vocabulary.size).astype(np.float32)
    allowed = np.arange(ord("a"), ord("q"), dtype=np.int32)
    candidates = runner._grammars._vocab.candidates
    chosen: list[tuple[int | None, int | None]] = []
    for seed in range(20):
        alone = SamplingParams.model_validate({"seed": seed} | off | wish)
        more = {"banned_tokens": tuple(b"ABC"), "logit_bias": {ord("1"): 100.0, ord("2"): -1.0}}
        candidates.fill(logits)
        candidates.keep(allowed)
        runner.open_sampler(0, alone, [0])
        plain = runner._samplers[0].chain.choose(candidates)
        candidates.fill(logits)
        runner.open_sampler(0, alone.model_copy(update=more), [0])
        chosen.append((plain, runner._samplers[0].chain.choose_among(candidates, allowed)))
    runner.close_sampler(0)
    assert [pair for pair in chosen if pair[0] != pair[1]] == []
    assert {token for token, _ in chosen} <= set(allowed.tolist())


@pytest.mark.parametrize(("num_reply", "said"), [(0, b"a"), (1, b"b"), (2, b"c")])
def test_grammar_is_shown_the_reply_and_never_the_prompt(
    runner: LlamaCppRunner, num_reply: int, said: bytes
) -> None:
    tokens = [*b"abc: ", *b"ab"[:num_reply]]
    runner.forget(0, 0)
    runner.open_sampler(0, GREEDY, tokens, num_reply=num_reply, grammar='root ::= "abc"')
    (result,) = runner.forward([Row(0, tokens, 0, sample=True)])
    assert isinstance(result, Sampled)
    assert runner.token_bytes(result.token) == said
    runner.close_sampler(0)


def test_token_of_many_letters_is_chosen_where_the_grammar_has_them(runner: LlamaCppRunner) -> None:
    (he,) = runner.tokenize("he", special=False)
    runner.forget(0, 0)
    params = GREEDY.model_copy(update={"logit_bias": {he: 100.0}})
    runner.open_sampler(0, params, [0], grammar="root ::= [^x] [^x]")
    (result,) = runner.forward([Row(0, [0], 0, sample=True)])
    assert result == Sampled(he)
    runner.close_sampler(0)


ESCAPES = [
    *(f"\\{chr(code)}" for code in range(0x20, 0x7F)),
    *(rf"\{kind}{digits}" for kind in "xuU" for digits in ("1", "4g", "41")),
    *(
        r"\u0041",
        r"\U00000041",
        r"\u004",
        r"\U0000004",
        r"\x414",
        r"\XFF",
        r"\xE4",
        r"\u00e4",
        r"\uFFFF",
        r"\U0010FFFF",
        r"\U0001F600",
        r"\U0001F60",
        "\\",
    ),
]
OF_NO_CHARACTER = (r"\uD800", r"\uDFFF", r"\U0000D83D", r"\U00110000", r"\UFFFFFFFF", r"\x00")


@pytest.mark.parametrize("form", ['root ::= "a{}"', "root ::= [a{}]", "root ::= [^{}-z]"])
def test_escapes_are_those_of_llama_cpp(runner: LlamaCppRunner, form: str) -> None:
    ours = [escape for escape in ESCAPES if _is_read(form.format(escape))]
    theirs = [escape for escape in ESCAPES if _is_read_natively(runner, form.format(escape))]
    backward = {r"\U0001F600", r"\U0010FFFF", r"\uFFFF", r"\u00e4", r"\xE4"}  # before z
    assert set(theirs) - set(ours) <= (backward if "-z" in form else set())
    assert set(ours) <= set(theirs)
    assert len(ours) > 10


@pytest.mark.parametrize("escape", OF_NO_CHARACTER)
def test_escape_of_no_character_is_refused_though_llama_cpp_takes_it(
    runner: LlamaCppRunner, escape: str
) -> None:
    grammar = f'root ::= "{escape}"'
    assert _is_read_natively(runner, grammar)
    assert not _is_read(grammar)


def _is_read(grammar: str) -> bool:
    try:
        check_grammar(grammar)
    except InvalidRequest:
        return False
    return True


def _is_read_natively(runner: LlamaCppRunner, grammar: str) -> bool:
    vocab = runner.vocabulary.handle
    sampler = llama_cpp.llama_sampler_init_grammar(vocab, grammar.encode(), b"root")
    if sampler:
        llama_cpp.llama_sampler_free(sampler)
    return bool(sampler)
