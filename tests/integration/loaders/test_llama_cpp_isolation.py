"""Proofs on the real runner: nobody changes a bit of what another one gets, nothing is left over.

The model is quantised to Q4_1 and computed by one thread, where llama.cpp's logits do not depend
on who else is in the batch. `WEBUI_TEST_MODEL` names a larger one than the tiny.
"""

from __future__ import annotations

import ctypes
import os
import random
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import psutil
import pytest

from tests.integration.loaders.conftest import TEST_MODEL
from tests.integration.loaders.watched_runner import (
    CANARIES,
    WORDS,
    WatchedRunner,
    abort,
    ask,
    finish,
    is_finished,
    send,
    step,
    text_of,
)
from tests.tiny_gguf import write_tiny_gguf
from webui.engine.interface import Finish, GrammarTrigger, Priority, Shifted
from webui.engine.mail import Purged
from webui.engine.prompt import PromptMaker
from webui.engine.runner import Row
from webui.engine.states import SHARED_OWNER
from webui.loaders.llama_cpp import LlamaCppOptions
from webui.loaders.llama_cpp.runner import LlamaCppRunner
from webui.messages import Message, Role
from webui.sampling_params import SamplingParams

if TYPE_CHECKING:
    from collections.abc import Iterator

    from webui.engine.interface import Delta, GenerateRequest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]

VOWELS = 'root ::= [aeiou]+ "."'
SHAPES: tuple[dict[str, Any], ...] = (
    {},
    {},
    {"temperature": 0.0},
    {"grammar": VOWELS},
    {"grammar": VOWELS, "grammar_triggers": (GrammarTrigger("a"), GrammarTrigger("e"))},
    {"banned_strings": ("e", "an", " ")},
    {"repeat_penalty": 1.3, "top_k": 20, "min_p": 0.05},
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if named := os.environ.get(TEST_MODEL):
        return Path(named)
    return write_tiny_gguf(tmp_path_factory.mktemp("model") / "noise.gguf", is_quantized=True)


@pytest.fixture(params=["off", "on"])
def runner(model: Path, request: pytest.FixtureRequest) -> Iterator[WatchedRunner]:
    runner = WatchedRunner(model, flash_attn=request.param)
    yield runner
    runner.close()


@dataclass(frozen=True)
class Job:
    """A request of a random load; `leaves` None stays to its end."""

    request: GenerateRequest
    prompt: list[int]
    arrives: int
    leaves: int | None


def _load(runner: WatchedRunner, number: int) -> list[Job]:
    chance = random.Random(number)
    begin = " ".join(chance.choices(WORDS, k=8))
    jobs = []
    for index in range(chance.randint(4, 9)):
        said = " ".join(chance.choices(WORDS, k=chance.randint(1, 16)))
        text = f"{begin} {said}" if chance.random() < 0.5 else said
        request = ask(
            f"{index}",
            chance.choice(("ann", "bob", "cid")),
            seed=chance.randrange(1000),
            max_tokens=chance.randint(1, 20),
            priority=chance.choice(list(Priority)),
            **chance.choice(SHAPES),
        )
        leaves = chance.randrange(12) if chance.random() < 0.25 else None
        jobs.append(
            Job(request, runner.tokenize(text, special=False), chance.randrange(10), leaves)
        )
    return jobs


def _play(runner: WatchedRunner, jobs: list[Job]) -> dict[str, list[Delta]]:
    loop, got = runner.new_loop(), {}
    for now in range(30):
        for job in jobs:
            if job.arrives == now:
                send(loop, job.request, job.prompt)
            if job.leaves is not None and job.arrives + job.leaves == now:
                abort(loop, job.request.request_id)
        if loop.has_work:
            step(loop, got)
    finish(loop, got)
    runner.check_nothing_is_left()
    return got


def _play_alone(runner: WatchedRunner, job: Job) -> list[Delta]:
    loop, got = runner.new_loop(), {}
    send(loop, job.request, job.prompt)
    finish(loop, got)
    return got[job.request.request_id]


def test_logits_of_random_loads_are_those_of_one_at_a_time(
    runner: WatchedRunner, soak: bool
) -> None:
    num_compared = 0
    for number in range(30 if soak else 10):
        jobs = _load(runner, number)
        runner.seen = {}
        together = _play(runner, jobs)
        seen, runner.seen = runner.seen, {}
        for job in jobs:
            name = job.request.request_id
            alone = _play_alone(runner, job)
            noted = seen.get(name, {})
            assert noted.items() <= runner.seen[name].items(), (number, name)
            num_compared += len(noted)
            if job.leaves is None:
                assert is_finished(together[name])
                assert noted == runner.seen[name]
                assert text_of(together[name]) == text_of(alone)
    assert num_compared >= 100


@pytest.mark.parametrize("num_rows", [1, 2])
def test_chunk_of_more_than_is_computed_at_once_gives_the_bits_of_smaller_ones(
    model: Path, num_rows: int
) -> None:
    sizes = {"batch_size": 128, "ubatch_size": 33 * num_rows}
    options = LlamaCppOptions(context_length=256, slots=2, threads=1, flash_attn="off", **sizes)
    runner = LlamaCppRunner(model, "parts", options, lambda _: None)
    tokens = (runner.tokenize(" ".join(WORDS), special=False) * 4)[:35]
    seen = []
    # Left to itself, llama.cpp would compute 33 of 34 tokens and then the last one, whose bits are
    # others then in SmolLM2.
    for num in (34, 17):
        for slot in range(num_rows):
            runner.forget(slot, 0)
            runner.open_sampler(slot, SamplingParams(temperature=0), tokens)
        for begin in range(0, 34, num):
            part = tokens[begin : begin + num]
            runner.forward([Row(slot, part, begin, sample=False) for slot in range(num_rows)])
        runner.forward([Row(slot, tokens[34:], 34, sample=True) for slot in range(num_rows)])
        seen.append([runner._logits(slot).tobytes() for slot in range(num_rows)])
    assert seen[0] == seen[1]
    runner.close()


@pytest.mark.parametrize("flash_attn", ["off", "on"])
def test_logits_are_those_of_one_at_a_time_where_full_contexts_are_shifted(
    model: Path, flash_attn: Literal["off", "on"], soak: bool
) -> None:
    runner = WatchedRunner(model, context_length=64, flash_attn=flash_attn)
    for number in range(20 if soak else 4):
        jobs = [
            replace(job, request=_shifting(job.request, number + index), prompt=job.prompt[:50])
            for index, job in enumerate(_load(runner, number))
        ]
        runner.seen = {}
        together = _play(runner, jobs)
        seen = runner.seen
        for job in jobs:
            name, runner.seen = job.request.request_id, {}
            alone = _play_alone(runner, job)
            assert seen.get(name, {}).items() <= runner.seen[name].items(), (number, name)
            if job.leaves is None:
                assert text_of(together[name]) == text_of(alone)
                assert any(isinstance(delta, Shifted) for delta in alone) is _is_shifting(job)
    runner.close()


def _shifting(request: GenerateRequest, number: int) -> GenerateRequest:
    """Let two of three go on beyond the context, and the others be there."""
    fields: dict[str, Any] = {"ignore_eos": True, "temperature": 1.0}
    if number % 3:
        fields |= {"context_overflow": "shift", "max_tokens": 100 + number}
    params = request.params.model_copy(update=fields)
    return msgspec.structs.replace(request, params=params, grammar="", grammar_triggers=())


def _is_shifting(job: Job) -> bool:
    return job.request.params.context_overflow == "shift"


def test_prompt_that_another_owner_sent_is_read_anew(runner: WatchedRunner) -> None:
    prompt = runner.tokenize(f"{CANARIES[0]} {' '.join(WORDS)}", special=False)
    loop, got = runner.new_loop(), {}
    for name, owner in (("1", "ann"), ("2", "bob"), ("3", "cid"), ("4", "ann")):
        send(loop, ask(name, owner, max_tokens=2), prompt)
        finish(loop, got)
    cached = [end.usage.cached_tokens for name in got if isinstance(end := got[name][-1], Finish)]
    # Who is told that a part was kept learns what somebody else has asked.
    assert cached == [0, 0, 0, len(prompt) - 1]
    assert len({tuple(runner.seen[name].values()) for name in "1234"}) == 1


def test_nothing_of_ones_own_words_is_in_what_everybody_is_given(runner: WatchedRunner) -> None:
    server = "so be it " * 17 + "so be it"
    maker, loop, got = PromptMaker(runner), runner.new_loop(), {}

    def cached(name: str, own: str) -> int:
        head = {"num_shared_chars": len(server)} if own else {"num_shared_messages": 1}
        system = Message(Role.SYSTEM, f"{server}\n\n{own}" if own else server)
        messages = (system, Message(Role.USER, "hi"))
        request = ask(name, f"owner {name}", max_tokens=4, messages=messages, **head)
        request, prompt = maker.make(request)
        send(loop, request, prompt, maker.num_shared(request, prompt))
        finish(loop, got)
        end = got[name][-1]
        assert isinstance(end, Finish)
        return end.usage.cached_tokens

    own = f"My word is {CANARIES[0]}."
    told = [cached("1", own), cached("2", f"My sign is {CANARIES[1]}."), cached("3", own)]
    assert told[0] == 0
    assert told[1] == told[2] >= 48
    assert cached("4", "") >= told[1]
    assert cached("5", own) == told[1]
    assert runner.seen["1"] == runner.seen["3"] == runner.seen["5"]
    shared = [state.prefix for state in loop._cache.in_ram if state.prefix.owner == SHARED_OWNER]
    texts = [b"".join(map(runner.token_bytes, prefix.tokens)).decode() for prefix in shared]
    assert any(server in text for text in texts)
    for text in texts:
        assert not any(word in text for word in ("My", "word", "sign", "hi", *CANARIES))
    runner.check_nothing_is_left()


def test_cancel_at_every_step_frees_the_sequence(runner: WatchedRunner) -> None:
    prompt = runner.tokenize(" ".join(WORDS * 2), special=False)[:100]
    stay = Job(ask("stay", "bob", max_tokens=10), prompt[:20], 0, None)
    alone = _play_alone(runner, stay)
    clean = runner.seen.pop("stay")
    num_ended = 0
    for leaves in range(18):
        gone = Job(
            ask("gone", "ann", max_tokens=8, **SHAPES[leaves % len(SHAPES)]), prompt, 0, leaves
        )
        runner.seen = {}
        got = _play(runner, [gone, stay])
        assert text_of(got["stay"]) == text_of(alone)
        assert runner.seen["stay"] == clean
        num_ended += is_finished(got.get("gone", []))
    assert 0 < num_ended < 18, "it is to be cancelled before, while and after it writes"


def test_random_adds_and_aborts_leave_nothing_and_starve_nobody(
    runner: WatchedRunner, soak: bool
) -> None:
    chance = random.Random(1)
    process = psutil.Process()
    ends_s = time.monotonic() + (600 if soak else 0)
    loop, owners = runner.new_loop(), ("ann", "bob", "cid", "dan", "eve")
    rss = 0
    progress: Counter[str] = Counter()
    number = 0
    while number < 300 or time.monotonic() < ends_s:
        live: list[str] = []
        got: dict[str, list[Delta]] = {}
        for _ in range(100):
            number += 1
            if chance.random() < 0.5 and len(live) < 25:
                owner = chance.choice(owners)
                text = " ".join(chance.choices(WORDS, k=chance.randint(1, 20)))
                shape = chance.choice(SHAPES)
                name = f"{owner} {number}"
                request = ask(name, owner, seed=number, max_tokens=chance.randint(1, 24), **shape)
                send(loop, request, runner.tokenize(text, special=False))
                live.append(name)
            elif live and chance.random() < 0.5:
                abort(loop, live.pop(chance.randrange(len(live))))
            if loop.has_work:
                step(loop, got)
        finish(loop, got)
        runner.check_nothing_is_left()
        progress.update(name.split()[0] for name, deltas in got.items() if is_finished(deltas))
        runner.seen = {}
        if not rss:  # what grows once has grown in the first round
            rss, num_descriptors = process.memory_info().rss, process.num_fds()
    assert set(progress) == set(owners)
    assert min(progress.values()) * 4 > max(progress.values())
    assert process.num_fds() == num_descriptors
    for owner in owners:  # what was read is kept, bounded, until it is purged
        loop.take(Purged(owner, None))
    assert loop.present.cached_ram_bytes == 0
    ctypes.CDLL(None).malloc_trim(0)  # the C library keeps what is freed
    assert process.memory_info().rss - rss < 8 << 20
