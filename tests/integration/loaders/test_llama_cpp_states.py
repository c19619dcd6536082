"""States of llama.cpp: copied, restored, kept over restarts, and what may not happen to them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from tests.integration.loaders.conftest import request_of, spec_of, text_of
from tests.tiny_gguf import write_tiny_gguf
from webui.engine.ipc import CacheSpec
from webui.engine.process import Limits, LocalEngine
from webui.engine.runner import Row
from webui.engine.states import SHARED_OWNER
from webui.loaders.llama_cpp import LlamaCppOptions
from webui.loaders.llama_cpp.runner import LlamaCppRunner
from webui.loaders.llama_cpp.state_key import state_key
from webui.messages import Message, Role
from webui.sampling_params import SamplingParams

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

# From 64 tokens on llama.cpp computes attention by tiles, which moves the last bits.
OPTIONS = LlamaCppOptions(context_length=512, slots=3, batch_size=32, threads=1)
QUESTION = "Tell me a long story about the sea, the wind and an old ship. " * 4


@pytest.fixture(scope="module")
def runner(best_model: Path) -> Iterator[LlamaCppRunner]:
    runner = LlamaCppRunner(best_model, "best", OPTIONS, lambda _: None)
    yield runner
    runner.close()


def tokens_of(runner: LlamaCppRunner, text: str, num: int) -> list[int]:
    tokens = runner.tokenize(text, special=False)
    return (tokens * num)[:num]


def read(runner: LlamaCppRunner, slot: int, tokens: list[int], start: int = 0) -> None:
    for begin in range(start, len(tokens), 31):
        runner.forward([Row(slot, tokens[begin : begin + 31], begin, sample=False)])


def logits_after(
    runner: LlamaCppRunner, slot: int, token: int, position: int
) -> NDArray[np.float32]:
    runner.open_sampler(slot, SamplingParams(temperature=0), [token])
    runner.forward([Row(slot, [token], position, sample=True)])
    logits = runner._logits(0).copy()
    runner.close_sampler(slot)
    return logits


def test_restored_slot_gives_the_same_logits_to_the_bit(runner: LlamaCppRunner) -> None:
    tokens = tokens_of(runner, QUESTION, 200)
    other = tokens_of(runner, "Quite another text. ", 150)
    read(runner, 0, tokens)
    state = runner.save_state(0)
    assert state is not None
    expected = logits_after(runner, 0, tokens[5], len(tokens))
    read(runner, 1, other)  # what lay there before must not matter
    assert runner.load_state(1, state, len(tokens))
    assert np.array_equal(logits_after(runner, 1, tokens[5], len(tokens)), expected)
    for slot in range(3):
        runner.forget(slot, 0)


def test_tail_of_a_restored_slot_can_be_dropped(runner: LlamaCppRunner) -> None:
    tokens = tokens_of(runner, QUESTION, 120)
    read(runner, 0, tokens[:80])
    expected = logits_after(runner, 0, tokens[3], 80)
    runner.forget(0, 0)
    read(runner, 0, tokens)
    state = runner.save_state(0)
    assert state is not None
    assert runner.load_state(2, state, len(tokens))
    assert runner.forget(2, 80)
    assert np.array_equal(logits_after(runner, 2, tokens[3], 80), expected)
    for slot in range(3):
        runner.forget(slot, 0)


def test_state_of_other_many_tokens_is_refused(runner: LlamaCppRunner) -> None:
    tokens = tokens_of(runner, QUESTION, 60)
    read(runner, 0, tokens)
    state = runner.save_state(0)
    assert state is not None
    assert not runner.load_state(1, state, 61)
    assert not runner.load_state(1, state, 59)
    assert runner.load_state(1, state, 60)
    for slot in range(2):
        runner.forget(slot, 0)


def test_state_of_a_longer_context_is_refused_and_the_slot_goes_on(
    best_model: Path, runner: LlamaCppRunner
) -> None:
    tokens = tokens_of(runner, QUESTION, 400)
    read(runner, 0, tokens)
    state = runner.save_state(0)
    assert state is not None
    small = LlamaCppRunner(
        best_model, "small", OPTIONS.model_copy(update={"context_length": 256}), lambda _: None
    )
    try:
        assert not small.load_state(0, state, len(tokens))
        small.forget(0, 0)
        read(small, 0, tokens[:100])
    finally:
        small.close()
    runner.forget(0, 0)


@pytest.mark.parametrize("is_pooled", [False, True])
def test_state_of_another_number_of_slots_has_the_same_key_only_where_it_is_taken(
    noise: Path, *, is_pooled: bool
) -> None:
    found = []
    state = None
    for slots in (2, 3):
        options = OPTIONS.model_copy(update={"slots": slots, "kv_unified": is_pooled})
        one = LlamaCppRunner(noise, "one", options, lambda _: None)
        try:
            tokens = tokens_of(one, QUESTION, 64)
            is_taken = state is not None and one.load_state(0, state, len(tokens))
            found.append((one.info.state_key, is_taken))
            one.forget(0, 0)
            read(one, 0, tokens)
            state = one.save_state(0)
        finally:
            one.close()
    (first, _), (second, is_taken) = found
    assert (first == second) is is_taken is is_pooled


@pytest.mark.parametrize("has_long_rope", [False, True])
@pytest.mark.parametrize("is_pooled", [False, True])
def test_key_differs_where_the_length_of_a_slot_turns_positions_otherwise(
    tmp_path: Path, *, is_pooled: bool, has_long_rope: bool
) -> None:
    border = {"llama.rope.scaling.original_context_length": 512} if has_long_rope else None
    path = write_tiny_gguf(tmp_path / "a.gguf", has_long_rope=has_long_rope, metadata=border)
    found = set()
    for num in (1, 2, 4, 8):
        # In one pool a slot is as long as all together.
        lengths = (
            {"context_length": 256, "slots": num, "kv_unified": True}
            if is_pooled
            else {"context_length": 256 * num}
        )
        one = LlamaCppRunner(path, "one", OPTIONS.model_copy(update=lengths), lambda _: None)
        try:
            tokens = tokens_of(one, QUESTION, 64)
            read(one, 0, tokens)
            found.add((one.info.state_key, logits_after(one, 0, tokens[5], 64).tobytes()))
        finally:
            one.close()
    keys, logits = zip(*found, strict=True)
    assert len(found) == len(set(keys)) == len(set(logits)) == 1 + has_long_rope


def test_key_tells_files_and_options_apart(noise: Path, parrot: Path, tmp_path: Path) -> None:
    keys = {
        state_key(noise, OPTIONS),
        state_key(parrot, OPTIONS),
        state_key(noise, OPTIONS.model_copy(update={"cache_type_k": "f32"})),
    }
    assert len(keys) == 3
    harmless = {"threads": 2, "context_length": 64, "gpu_layers": 0}
    assert state_key(noise, OPTIONS.model_copy(update=harmless)) in keys
    whole = noise.read_bytes()
    changed = tmp_path / noise.name
    changed.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert state_key(changed, OPTIONS) not in keys


@asynccontextmanager
async def opened(path: Path, folder: Path, **options: int) -> AsyncIterator[LocalEngine]:
    limits = Limits(
        backoff_s=(0.05,),
        cache=CacheSpec(ram_bytes=1 << 26, disk_bytes=1 << 28, folder=str(folder)),
    )
    spec = spec_of(path, **{"threads": 1, "batch_size": 32, **options})
    engine = await LocalEngine.open(spec, lambda _: None, limits=limits)
    try:
        yield engine
    finally:
        await engine.close()


def files(folder: Path) -> list[Path]:
    return list(folder.glob("*/*"))


def chat(*texts: str, owner: str = "ann", conversation_id: str | None = "c1") -> object:
    roles = [Role.USER, Role.ASSISTANT] * len(texts)
    messages = tuple(Message(role, text) for role, text in zip(roles, texts, strict=False))
    return msgspec.structs.replace(
        request_of("", temperature=0, max_tokens=8),
        owner=owner,
        conversation_id=conversation_id,
        messages=messages,
    )


async def test_second_turn_after_a_restart_is_hardly_read(best_model: Path, tmp_path: Path) -> None:
    async with opened(best_model, tmp_path) as engine:
        said, _ = await text_of(engine, chat(QUESTION))
        second = chat(QUESTION, said, "And then?")
        expected, finish = await text_of(engine, msgspec.structs.replace(second, owner="bob"))
        assert finish.usage.cached_tokens == 0
    async with opened(best_model, tmp_path) as engine:
        again, finish = await text_of(engine, second)
        assert again == expected
        assert finish.usage.cached_tokens / finish.usage.prompt_tokens > 0.6
        _, finish = await text_of(engine, chat(QUESTION, owner="eve"))
        assert finish.usage.cached_tokens == 0


async def test_purged_conversation_is_nowhere_after_a_restart(
    best_model: Path, tmp_path: Path
) -> None:
    async with opened(best_model, tmp_path) as engine:
        await text_of(engine, chat(QUESTION, conversation_id="c1"))
        await text_of(engine, chat("Other. " + QUESTION, conversation_id="c2"))
        await engine.purge("ann", "c1")
    assert len(files(tmp_path)) == 1
    async with opened(best_model, tmp_path) as engine:
        _, finish = await text_of(engine, chat(QUESTION))
        assert finish.usage.cached_tokens <= 8
        _, finish = await text_of(engine, chat("Other. " + QUESTION))
        assert finish.usage.cached_tokens > 40


async def test_what_belongs_to_no_conversation_goes_with_its_age_while_the_model_is_loaded(
    best_model: Path, tmp_path: Path
) -> None:
    async with opened(best_model, tmp_path) as engine:
        await text_of(engine, chat(QUESTION, conversation_id=None))
        await text_of(engine, chat("Other. " + QUESTION, conversation_id="c2"))
        await engine.expire(time.time_ns())
        _, finish = await text_of(engine, chat(QUESTION))
        assert finish.usage.cached_tokens <= 8
        await engine.purge("ann", "c1")
    assert len(files(tmp_path)) == 1
    async with opened(best_model, tmp_path) as engine:
        _, finish = await text_of(engine, chat(QUESTION))
        assert finish.usage.cached_tokens <= 8
        _, finish = await text_of(engine, chat("Other. " + QUESTION))
        assert finish.usage.cached_tokens > 40


async def test_killed_worker_leaves_files_that_are_whole_or_ignored(
    best_model: Path, tmp_path: Path
) -> None:
    for number in range(4):
        async with opened(best_model, tmp_path, slots=1) as engine:
            for turn in range(3):
                await text_of(
                    engine, chat(f"{number} {turn} {QUESTION}", conversation_id=f"{turn}")
                )
            closing = asyncio.create_task(engine.close())
            await asyncio.sleep(0.003 * number)
            with contextlib.suppress(ProcessLookupError):  # it was quicker
                os.kill(engine.pid, signal.SIGKILL)
            await closing
    async with opened(best_model, tmp_path, slots=1) as engine:
        for turn in range(3):
            said, _ = await text_of(engine, chat(f"3 {turn} {QUESTION}"))
            fresh, _ = await text_of(engine, chat(f"3 {turn} {QUESTION}", owner=f"fresh {turn}"))
            assert said == fresh


async def test_damaged_files_are_read_past(best_model: Path, tmp_path: Path) -> None:
    async with opened(best_model, tmp_path) as engine:
        expected, _ = await text_of(engine, chat(QUESTION))
    (file,) = files(tmp_path)
    spoilt = bytearray(file.read_bytes())
    spoilt[len(spoilt) // 2] ^= 1
    file.write_bytes(spoilt)
    async with opened(best_model, tmp_path) as engine:
        pid = engine.pid
        said, finish = await text_of(engine, chat(QUESTION))
        assert (said, finish.usage.cached_tokens) == (expected, 0)
        assert engine.pid == pid


async def test_administrators_prompt_is_read_once_for_all(best_model: Path, tmp_path: Path) -> None:
    system = "You are a kind teacher. " * 12

    def ask(owner: str, text: str) -> object:
        return msgspec.structs.replace(
            request_of("", request_id=owner, temperature=0, max_tokens=8),
            owner=owner,
            messages=(Message(Role.SYSTEM, system), Message(Role.USER, text)),
            num_shared_messages=1,
        )

    async with opened(best_model, tmp_path) as engine:
        replies = await asyncio.gather(
            *(text_of(engine, ask(f"owner{i}", f"Question {i}")) for i in range(3))
        )
        late, finish = await text_of(engine, ask("late", "Question 1"))
        cached = sorted(finish.usage.cached_tokens for _, finish in replies)
        assert cached[0] == 0
        assert cached[1] == cached[2] == finish.usage.cached_tokens > 48
        assert late == replies[1][0]


async def test_administrators_prompt_is_read_once_whatever_ones_own_is(
    best_model: Path, tmp_path: Path
) -> None:
    server = ("You are a kind teacher. " * 10).strip()

    def ask(owner: str, own: str) -> object:
        head = {"num_shared_chars": len(server)} if own else {"num_shared_messages": 1}
        system = Message(Role.SYSTEM, f"{server}\n\n{own}" if own else server)
        return msgspec.structs.replace(
            request_of("", request_id=owner, temperature=0, max_tokens=8),
            owner=owner,
            messages=(system, Message(Role.USER, "Question")),
            **head,
        )

    own = "My word is zebrafinch, and I say it at every hour of the day and of the night."
    usage, said = {}, {}
    async with opened(best_model, tmp_path) as engine:
        for owner, words in (("ann", own), ("bob", "My sign is quagmire."), ("cid", own)):
            said[owner], finish = await text_of(engine, ask(owner, words))
            usage[owner] = finish.usage
        _, finish = await text_of(engine, ask("dan", ""))
        usage["dan"] = finish.usage
        said["eve"], finish = await text_of(engine, ask("eve", own))
        usage["eve"] = finish.usage
    assert usage["ann"].cached_tokens == 0
    shared = usage["bob"].cached_tokens
    assert 48 <= shared <= usage["dan"].cached_tokens
    assert usage["dan"].prompt_tokens - shared < 40, "all that stands before the question"
    # Who says what somebody else said before gets no more than others.
    assert usage["cid"].cached_tokens == usage["eve"].cached_tokens == shared
    assert said["cid"] == said["eve"] == said["ann"]
    async with opened(best_model, tmp_path) as engine:
        _, finish = await text_of(engine, ask("fay", own))
        assert finish.usage.cached_tokens == shared, "it outlives the worker"
        await engine.purge(SHARED_OWNER, None)
        _, finish = await text_of(engine, ask("gus", own))
        assert finish.usage.cached_tokens == 0
