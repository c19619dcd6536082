"""llama.cpp's samplers on a tiny model: each does its work, and none looks at its neighbours."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any

import pytest

from tests.tiny_gguf import write_tiny_gguf
from webui.engine.generation_loop import Announced, GenerationLoop, Prepared
from webui.engine.interface import Finish, GenerateRequest, Priority, Text
from webui.engine.ipc import Outputs, RequestError
from webui.engine.prefill_budget import PrefillBudget
from webui.loaders.llama_cpp import LlamaCppOptions
from webui.loaders.llama_cpp.runner import LlamaCppRunner
from webui.messages import Message, Role
from webui.sampling_params import SAMPLER_ORDER, SamplingParams

if TYPE_CHECKING:
    from collections.abc import Iterator

    from webui.engine.token_logprob import TokenLogprob

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

NUM_COMBINATIONS = 30
PROMPTS = ("The quick brown fox", "aaaa bbbb aaaa", "x", "Once upon a time there was " * 4)
# llama.cpp's attention sums up in another order where 64 tokens of a sequence are read at once.
OPTIONS = LlamaCppOptions(context_length=256, slots=5, batch_size=48, threads=1)
NO_LETTERS = (*range(32), *range(127, 259))  # of the tiny model: what is not printable ASCII


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaCppRunner]:
    path = write_tiny_gguf(tmp_path_factory.mktemp("noise") / "noise.gguf", is_quantized=True)
    runner = LlamaCppRunner(path, "noise", OPTIONS, lambda _: None)
    yield runner
    runner.close()


class Reply:
    """What one request was told."""

    def __init__(self) -> None:
        self.text = ""
        self.tokens: list[TokenLogprob] = []
        self.finish: Finish | None = None
        self.error: RequestError | None = None

    def known(self) -> tuple[object, ...]:
        """Return all that may not depend on who else is there."""
        assert self.finish is not None
        usage = self.finish.usage
        return self.text, self.tokens, self.finish.reason, usage.completion_tokens


def generate(
    runner: LlamaCppRunner, asked: list[tuple[str, SamplingParams]], *, together: bool = True
) -> list[Reply]:
    """Answer all requests with one loop, at once or one after the other."""
    loop = GenerationLoop(runner, PrefillBudget(runner.max_batch_tokens, 0.001), lambda: 0.0)
    replies = [Reply() for _ in asked]
    for index, (text, params) in enumerate(asked):
        name = str(index)
        request = GenerateRequest(
            request_id=name,
            owner=f"owner {name if together else 'alone'}",
            conversation_id=None,
            priority=Priority.CHAT,
            messages=(Message(Role.USER, text),),
            params=params,
        )
        loop.take(Announced(name))
        loop.take(Prepared(request, runner.tokenize(text, special=False), 0.0))
        if not together or index == len(asked) - 1:
            while loop.has_work:
                _note(replies, loop.step())
    return replies


def _note(replies: list[Reply], messages: list[Any]) -> None:
    for message in messages:
        if isinstance(message, RequestError):
            replies[int(message.request_id)].error = message
        else:
            assert isinstance(message, Outputs)
            for output in message.items:
                reply = replies[int(output.request_id)]
                if isinstance(output.delta, Text):
                    reply.text += output.delta.text
                    reply.tokens += output.delta.logprobs
                    assert len(output.delta.logprobs) == output.delta.num_tokens
                elif isinstance(output.delta, Finish):
                    reply.finish = output.delta


def write(runner: LlamaCppRunner, **fields: Any) -> Reply:
    """Answer one request alone; greedy for 24 tokens where nothing else is said."""
    given = {"temperature": 0, "max_tokens": 24, "ignore_eos": True, "logprobs": True, **fields}
    (reply,) = generate(runner, [(PROMPTS[0], SamplingParams.model_validate(given))])
    return reply


def ids(reply: Reply) -> list[int]:
    """Return the tokens of a reply of the tiny model, whose first tokens are the bytes."""
    return [token.data[0] for token in reply.tokens if len(token.data) == 1]


def combination(number: int) -> tuple[str, SamplingParams]:
    """Return a prompt and parameters with a random choice of samplers switched on."""
    dice = random.Random(number)

    def some(off: Any, *values: Any) -> Any:
        return dice.choice([off, *values])

    order = list(SAMPLER_ORDER)
    dice.shuffle(order)
    return dice.choice(PROMPTS), SamplingParams(
        seed=dice.randrange(2**32 - 1),
        temperature=some(0, 0.4, 1.0, 1.6),
        dynatemp_range=some(0, 0.3),
        dynatemp_exponent=some(1, 1.5),
        top_k=some(0, 5, 40),
        top_p=some(1, 0.8),
        min_p=some(0, 0.1),
        typical_p=some(1, 0.7),
        top_n_sigma=some(0, 1.5),
        xtc_probability=some(0, 0.5),
        xtc_threshold=some(0.1, 0.02),
        repeat_penalty=some(1, 1.3),
        repeat_last_n=some(64, 8),
        frequency_penalty=some(0, 0.5),
        presence_penalty=some(0, -0.5),
        dry_multiplier=some(0, 0.8),
        dry_penalty_last_n=some(-1, 16),
        dry_sequence_breakers=some(("\n",), ()),
        mirostat=some(0, 0, 0, 1, 2),
        mirostat_tau=some(5, 2),
        adaptive_target=some(0, 0, 0.4),
        logit_bias=some({}, {101: 3.5, 32: -4}),
        banned_tokens=some((), tuple(range(0, 256, 3))),
        banned_strings=some((), ("e", "th"), tuple("abcdefgh")),
        sampler_order=tuple(dice.choice([order, order[: dice.randrange(10)]])),
        stop=some((), ("~", "qz")),
        min_tokens=some(0, 6),
        ignore_eos=some(False, True),
        max_tokens=32,
        logprobs=True,
        top_logprobs=dice.randrange(21),
    )


def test_any_samplers_say_the_same_together_as_alone(runner: LlamaCppRunner) -> None:
    asked = [combination(number) for number in range(NUM_COMBINATIONS)]
    alone = [generate(runner, [one])[0] for one in asked]
    in_turn = generate(runner, asked, together=False)
    together = generate(runner, asked)
    backwards = generate(runner, asked[::-1])[::-1]
    for several in (in_turn, together, backwards):
        assert [reply.known() for reply in several] == [reply.known() for reply in alone]
    for (_, params), reply in zip(asked, alone, strict=True):
        assert not any(string in reply.text for string in params.banned_strings)
        assert not set(params.banned_tokens) & set(ids(reply))
        if params.ignore_eos and not params.stop:
            assert len(reply.tokens) == params.max_tokens


def test_many_of_the_combinations_differ(runner: LlamaCppRunner) -> None:
    replies = [generate(runner, [combination(i)])[0] for i in range(NUM_COMBINATIONS)]
    assert len({reply.text for reply in replies}) > NUM_COMBINATIONS * 0.9


@pytest.mark.parametrize(
    "fields",
    [
        {"dynatemp_range": 0.7},
        {"typical_p": 0.3},
        {"top_n_sigma": 0.3},
        {"xtc_probability": 1, "xtc_threshold": 0.01},
        {"repeat_penalty": 2},
        {"frequency_penalty": 2},
        {"presence_penalty": 2},
        {"dry_multiplier": 5, "dry_allowed_length": 1, "dry_base": 4},
        {"mirostat": 1, "mirostat_tau": 1},
        {"mirostat": 2, "mirostat_tau": 1},
        {"adaptive_target": 0.2},
        {"logit_bias": {101: 100}},
        {"banned_tokens": tuple(range(97, 123))},
        {"top_p": 0.3},
        {"min_p": 0.5},
        {"top_k": 2},
    ],
    ids=str,
)
def test_sampler_changes_what_is_said(runner: LlamaCppRunner, fields: dict[str, Any]) -> None:
    plain = {"temperature": 1.2, "seed": 3, "top_k": 0, "top_p": 1, "min_p": 0, "max_tokens": 48}
    assert write(runner, **plain).text != write(runner, **{**plain, **fields}).text


def test_order_matters(runner: LlamaCppRunner) -> None:
    fields = {"temperature": 2, "top_k": 0, "top_p": 1, "min_p": 0.3, "seed": 1}
    first = write(runner, **fields, sampler_order=("temperature", "min_p"))
    last = write(runner, **fields, sampler_order=("min_p", "temperature"))
    assert first.text != last.text


def test_bias_of_100_is_as_good_as_a_command(runner: LlamaCppRunner) -> None:
    assert set(ids(write(runner, logit_bias={101: 100}))) == {101}


def test_dry_breaks_a_loop_that_it_sees_in_the_prompt(runner: LlamaCppRunner) -> None:
    prompt, loop = "abcabcabcabcabc", {97: 20, 98: 20, 99: 20}
    given = {"temperature": 0, "max_tokens": 1, "logprobs": True, "logit_bias": loop}
    (plain,) = generate(runner, [(prompt, SamplingParams.model_validate(given))])
    follower = {**loop, plain.tokens[0].data[0]: 20.5}
    given |= {"logit_bias": follower}
    for breakers, is_broken in (((), True), (("b",), False)):
        dry = SamplingParams.model_validate(
            given
            | {"dry_multiplier": 5, "dry_base": 4, "dry_sequence_breakers": breakers}
            | {"logit_bias": {97: 90, 98: 20}}
        )
        (reply,) = generate(runner, [(prompt, dry)])
        assert (reply.text != "a") == is_broken


def test_reply_is_not_ended_before_the_least_length(runner: LlamaCppRunner) -> None:
    (end,) = runner.tokenize("<|im_end|>", special=True)
    ends = {"logit_bias": {end: 100}, "ignore_eos": False}
    assert write(runner, **ends).tokens == []
    assert len(write(runner, **ends, min_tokens=7).tokens) == 7
    assert len(write(runner, logit_bias={end: 100}).tokens) == 24


def test_reply_with_every_token_banned_fails_alone(runner: LlamaCppRunner) -> None:
    everything = tuple(range(runner._vocabulary.size))
    bad, good = generate(
        runner,
        [
            (PROMPTS[0], SamplingParams(banned_tokens=everything, seed=1)),
            (PROMPTS[1], SamplingParams(max_tokens=5, seed=1, logprobs=True, ignore_eos=True)),
        ],
    )
    assert bad.error is not None
    assert (bad.error.code, bad.error.message[:10]) == ("nothing_allowed", "All tokens")
    assert len(good.tokens) == 5


def test_reply_whose_every_token_was_taken_back_fails(runner: LlamaCppRunner) -> None:
    others = tuple(set(range(runner.vocabulary.size)) - set(b"abc"))
    reply = write(runner, banned_strings=tuple("abc"), banned_tokens=others)
    assert reply.error is not None
    assert (reply.error.code, reply.text) == ("nothing_allowed", "")


def test_typical_p_is_not_misled_by_tokens_without_a_chance(runner: LlamaCppRunner) -> None:
    off = {"top_k": 0, "top_p": 1, "min_p": 0, "ignore_eos": False, "max_tokens": 1}
    wide = off | {"temperature": 1.5, "typical_p": 0.9}
    free = [write(runner, **wide, seed=seed).tokens for seed in range(20)]
    said = {token.data for tokens in free for token in tokens}
    assert len(said) > 5
    never = next(token for token in range(256) if bytes([token]) not in said)
    bans = {"banned_tokens": (never,)}
    assert [write(runner, **wide, **bans, seed=seed).tokens for seed in range(20)] == free


def test_xtc_leaves_a_token_that_has_a_chance(runner: LlamaCppRunner) -> None:
    off = {"temperature": 1, "top_k": 0, "top_p": 1, "min_p": 0, "seed": 1}
    xtc = {"xtc_probability": 1, "xtc_threshold": 0}
    for hides in ({"banned_tokens": (5, 6)}, {"top_n_sigma": 0.5}, {"ignore_eos": True}):
        reply = write(runner, **off, **xtc, **hides, max_tokens=3)
        assert (reply.error, len(reply.tokens)) == (None, 3)


def test_token_of_another_model_is_refused_alone(runner: LlamaCppRunner) -> None:
    reply = write(runner, banned_tokens=(10_000_000,))
    assert reply.error is not None
    assert reply.error.code == "invalid_request"
    assert write(runner).finish is not None


def test_banned_string_is_never_said_and_the_rest_goes_on(runner: LlamaCppRunner) -> None:
    fields = {"max_tokens": 40, "banned_tokens": NO_LETTERS}
    plain = write(runner, **fields).text
    for start in range(2, 30, 7):
        banned = plain[start : start + 3]
        reply = write(runner, **fields, banned_strings=(banned,))
        assert banned not in reply.text
        assert reply.text.startswith(plain[: plain.index(banned)])
        assert len(reply.tokens) == 40


def test_log_probabilities_do_not_change_what_is_said(runner: LlamaCppRunner) -> None:
    fields = {"temperature": 1.3, "seed": 8, "repeat_penalty": 1.2}
    told = write(runner, **fields, top_logprobs=20)
    assert write(runner, **fields).text == told.text
    for token in told.tokens:
        assert math.isclose(token.top[0][1], max(chance for _, chance in token.top))
        assert token.logprob <= token.top[0][1] <= 0
