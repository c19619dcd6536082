"""What every engine owes its callers, whatever runs behind it.

A test module makes a subclass with an async fixture `engine`; the questions fit any model.

    class TestMine(EngineContract):
        @pytest.fixture
        async def engine(self): ...
"""

from __future__ import annotations

import asyncio
import itertools
from array import array
from contextlib import aclosing

import pytest

from webui.engine.interface import (
    EmbedRequest,
    EngineState,
    Finish,
    FinishReason,
    GenerateRequest,
    Pooling,
    Prefill,
    Priority,
    Queued,
    Text,
)
from webui.errors import Conflict, ContextLengthExceeded, EngineDied, InvalidRequest
from webui.messages import Message, Role
from webui.sampling_params import SamplingParams

_numbers = itertools.count()
QUESTIONS = ("What is a hearth?", "Name three rivers.", "Why is the sky blue?", "Count to ten.")


# However fast a model is: its context is shifted on and on.
ENDLESS = {"max_tokens": 100_000, "ignore_eos": True, "context_overflow": "shift"}


def make_request(text, *, owner="ann", messages=None, **fields) -> GenerateRequest:
    """Return a request for a reply; sampling fields and request fields may be mixed."""
    names = SamplingParams.model_fields.keys()
    params = {name: fields.pop(name) for name in list(fields) if name in names}
    said = (Message(Role.USER, text),) if messages is None else messages
    defaults = {
        "request_id": f"r{next(_numbers)}",
        "owner": owner,
        "conversation_id": None,
        "priority": Priority.CHAT,
        "messages": tuple(said),
        "params": SamplingParams(**{"temperature": 0.0} | params),
    }
    return GenerateRequest(**defaults | fields)


def make_embed(*inputs, **fields) -> EmbedRequest:
    """Return a request for vectors."""
    defaults = {"request_id": f"r{next(_numbers)}", "owner": "ann", "priority": Priority.API}
    return EmbedRequest(inputs=tuple(inputs), **defaults | fields)


async def collect(engine, request, timeout_s=60.0) -> list:
    """Return all deltas of a request."""
    async with asyncio.timeout(timeout_s), aclosing(engine.generate(request)) as deltas:
        return [delta async for delta in deltas]


def text_of(deltas) -> str:
    """Return the text of a reply."""
    return "".join(delta.text for delta in deltas if isinstance(delta, Text))


async def first_text(deltas) -> Text:
    """Read up to the first text."""
    async for delta in deltas:
        if isinstance(delta, Text):
            return delta
    raise AssertionError("the reply ended before it began")


async def stopped(engine, request) -> None:
    """Stop a reply once it has begun."""
    async with aclosing(engine.generate(request)) as deltas:
        await first_text(deltas)


async def drain(deltas) -> None:
    """Read to the end."""
    async for _ in deltas:
        pass


class EngineContract:
    """The suite; every test takes an open engine that is its own."""

    async def test_stats_count_what_was_done(self, engine):
        deltas = await collect(engine, make_request(QUESTIONS[0], max_tokens=5, ignore_eos=True))
        assert isinstance(deltas[-1], Finish)
        num_asked = 1
        # A small model may fill its context before it hears that nobody listens any more.
        while engine.stats.num_aborted == 0 and num_asked < 10:
            await stopped(engine, make_request(QUESTIONS[1], max_tokens=5000, ignore_eos=True))
            num_asked += 1
            async with asyncio.timeout(10):
                while engine.stats.num_full + engine.stats.num_aborted < num_asked:  # noqa: ASYNC110 - asks another process
                    await asyncio.sleep(0.02)
        stats = engine.stats
        ended = (stats.num_full, stats.num_aborted, stats.num_failed)
        assert ended == (num_asked - 1, 1, 0)
        assert stats.num_reply_tokens >= deltas[-1].usage.completion_tokens
        assert (stats.num_running, stats.num_waiting) == (0, 0)
        assert min(stats.decode_threads, stats.prompt_threads) >= 1

    async def test_reply_ends_with_one_finish_whose_figures_fit(self, engine):
        deltas = await collect(engine, make_request(QUESTIONS[0], max_tokens=24))
        assert [i for i, d in enumerate(deltas) if isinstance(d, Finish)] == [len(deltas) - 1]
        usage, timings = deltas[-1].usage, deltas[-1].timings
        assert 1 <= usage.completion_tokens <= 24
        assert usage.completion_tokens == sum(d.num_tokens for d in deltas if isinstance(d, Text))
        assert 0 <= usage.cached_tokens < usage.prompt_tokens
        assert min(timings.queued_s, timings.prefill_s, timings.decode_s) >= 0

    async def test_prefill_grows_to_the_whole_prompt_before_text(self, engine):
        deltas = await collect(engine, make_request(QUESTIONS[1], max_tokens=4))
        prefill = [d for d in deltas if isinstance(d, Prefill)]
        done = [d.done for d in prefill]
        assert done == sorted(set(done))
        assert prefill[-1].done == prefill[-1].total == deltas[-1].usage.prompt_tokens
        kinds = [type(d) for d in deltas]
        assert Text not in kinds or kinds.index(Text) > max(
            i for i, kind in enumerate(kinds) if kind is Prefill
        )

    @pytest.mark.parametrize("num", [1, 2, 13])
    async def test_max_tokens_is_exact(self, engine, num):
        request = make_request(QUESTIONS[0], max_tokens=num, ignore_eos=True)
        finish = (await collect(engine, request))[-1]
        assert finish.reason is FinishReason.LENGTH
        assert finish.usage.completion_tokens == num

    async def test_temperature_zero_gives_the_same_text_twice(self, engine):
        request = {"max_tokens": 20, "ignore_eos": True}
        texts = {
            text_of(await collect(engine, make_request(QUESTIONS[2], owner=owner, **request)))
            for owner in ("ann", "ann", "bob")
        }
        assert len(texts) == 1

    async def test_seed_gives_the_same_text_twice(self, engine):
        request = {"max_tokens": 20, "temperature": 1.0, "seed": 7}
        texts = {
            text_of(await collect(engine, make_request(QUESTIONS[3], **request))) for _ in "ab"
        }
        assert len(texts) == 1

    async def test_stop_string_ends_the_reply_before_it(self, engine):
        request = {"max_tokens": 30, "ignore_eos": True}
        whole = text_of(await collect(engine, make_request(QUESTIONS[0], **request)))
        middle = len(whole) // 2
        stop = whole[middle : middle + 3]
        deltas = await collect(engine, make_request(QUESTIONS[0], stop=(stop, "\x01"), **request))
        assert text_of(deltas) == whole[: whole.index(stop)]
        assert deltas[-1].reason is FinishReason.STOP

    async def test_prompt_over_the_context_names_both_numbers(self, engine):
        limit = engine.info.context_length
        with pytest.raises(ContextLengthExceeded) as caught:
            await collect(engine, make_request("word and " * (limit + 1)))
        numbers = [
            int(word) for word in caught.value.message.replace(",", " ").split() if word.isdigit()
        ]
        assert limit in numbers
        assert any(number > limit for number in numbers)
        assert caught.value.hint
        assert await collect(engine, make_request(QUESTIONS[0], max_tokens=2))

    async def test_full_context_ends_the_reply(self, engine):
        limit = engine.info.context_length
        if limit > 1024:
            pytest.skip("needs an engine with a small context")
        request = make_request(QUESTIONS[1], max_tokens=1_000_000, ignore_eos=True)
        finish = (await collect(engine, request))[-1]
        assert finish.reason is FinishReason.CONTEXT
        assert finish.usage.prompt_tokens + finish.usage.completion_tokens == limit

    async def test_together_equals_one_at_a_time(self, engine):
        def requests():
            return [
                make_request(q, owner=f"o{i % 2}", max_tokens=8 + 5 * i, ignore_eos=True)
                for i, q in enumerate(QUESTIONS)
            ]

        alone = [text_of(await collect(engine, request)) for request in requests()]
        together = await asyncio.gather(*(collect(engine, request) for request in requests()))
        assert [text_of(deltas) for deltas in together] == alone

    async def test_close_of_the_generator_frees_the_slot(self, engine):
        for _ in range(2):
            streams = [
                engine.generate(make_request(QUESTIONS[i % 4], **ENDLESS))
                for i in range(min(engine.info.num_slots, 8))
            ]
            await asyncio.gather(*(first_text(stream) for stream in streams))
            for stream in streams:
                await stream.aclose()
        deltas = await collect(engine, make_request(QUESTIONS[0], max_tokens=3), timeout_s=10)
        assert isinstance(deltas[-1], Finish)

    async def test_cancel_of_the_task_frees_the_slot(self, engine):
        tasks = [
            asyncio.create_task(collect(engine, make_request(QUESTIONS[0], **ENDLESS)))
            for _ in range(min(engine.info.num_slots, 8) + 1)
        ]
        await asyncio.sleep(0.02)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=5)
        assert all(task.cancelled() for task in tasks)
        assert await collect(engine, make_request(QUESTIONS[0], max_tokens=3), timeout_s=10)

    async def test_more_requests_than_slots_wait_in_line(self, engine):
        num = engine.info.num_slots
        if num > 8:
            pytest.skip("needs an engine with few slots")
        requests = [
            make_request(QUESTIONS[i % 4], max_tokens=30, ignore_eos=True) for i in range(num + 3)
        ]
        replies = await asyncio.gather(*(collect(engine, request) for request in requests))
        places = [[d.place for d in deltas if isinstance(d, Queued)] for deltas in replies]
        assert any(places)
        assert all(line == sorted(line, reverse=True) for line in places)
        assert all(isinstance(deltas[-1], Finish) for deltas in replies)

    async def test_continue_writes_on_at_the_end_of_the_last_message(self, engine):
        question = Message(Role.USER, QUESTIONS[0])
        begun = Message(Role.ASSISTANT, "A hearth is")
        request = make_request(
            "", messages=(question, begun), continue_last=True, max_tokens=6, ignore_eos=True
        )
        finish = (await collect(engine, request))[-1]
        assert finish.usage.completion_tokens == 6

    async def test_plain_text_needs_no_conversation(self, engine):
        request = make_request(
            "", messages=(), plain_text=QUESTIONS[1], max_tokens=6, ignore_eos=True
        )
        deltas = await collect(engine, request)
        assert deltas[-1].usage.completion_tokens == 6
        assert text_of(deltas)

    async def test_least_length_is_kept(self, engine):
        whole = await collect(engine, make_request(QUESTIONS[0], max_tokens=12, ignore_eos=True))
        stop = text_of(whole)[0]
        request = make_request(QUESTIONS[0], max_tokens=12, min_tokens=5, stop=(stop,))
        assert (await collect(engine, request))[-1].usage.completion_tokens >= 5

    async def test_lone_surrogate_is_refused(self, engine):
        with pytest.raises(InvalidRequest):
            await collect(engine, make_request("what is \ud800?"))

    @pytest.mark.parametrize(
        ("form", "field"),
        [
            ({"grammar": "root ::= ("}, "grammar"),
            ({"json_schema": '{"type": "nonsense"}'}, "json_schema"),
            ({"json_schema": "{"}, "json_schema"),
            ({"grammar": 'root ::= "a"', "json_schema": "{}"}, "grammar"),
        ],
    )
    async def test_form_that_cannot_be_kept_is_refused(self, engine, form, field):
        with pytest.raises(InvalidRequest, match=field) as caught:
            await collect(engine, make_request(QUESTIONS[0], **form))
        assert caught.value.field == field
        assert await collect(engine, make_request(QUESTIONS[0], grammar='root ::= [^"]*'))

    async def test_empty_conversation_is_refused(self, engine):
        with pytest.raises(InvalidRequest):
            await collect(engine, make_request("", messages=()))

    async def test_same_request_id_twice_is_a_conflict(self, engine):
        request = make_request(QUESTIONS[0], **ENDLESS)
        async with aclosing(engine.generate(request)) as deltas:
            await first_text(deltas)
            with pytest.raises(Conflict):
                await collect(engine, request)

    async def test_drain_waits_for_the_last_reply(self, engine):
        await asyncio.wait_for(engine.drain(), 5)
        request = make_request(QUESTIONS[0], **ENDLESS)
        async with aclosing(engine.generate(request)) as deltas:
            await first_text(deltas)
            draining = asyncio.create_task(engine.drain())
            await asyncio.sleep(0)
            assert not draining.done()
        await asyncio.wait_for(draining, 5)

    async def test_drain_waits_for_the_last_text(self, engine):
        embedding = asyncio.create_task(engine.embed(make_embed(*["word"] * 20)))
        await asyncio.sleep(0)
        draining = asyncio.create_task(engine.drain())
        await asyncio.sleep(0)
        assert not draining.done()
        await embedding
        await asyncio.wait_for(draining, 5)

    async def test_close_ends_running_replies_with_a_clear_error(self, engine):
        request = make_request(QUESTIONS[0], **ENDLESS)
        async with aclosing(engine.generate(request)) as deltas:
            await first_text(deltas)
            await asyncio.wait_for(engine.close(), 5)
            with pytest.raises(EngineDied) as caught:
                await asyncio.wait_for(drain(deltas), 5)
        assert caught.value.hint
        assert engine.state is EngineState.CLOSED
        await engine.close()
        with pytest.raises(EngineDied):
            await collect(engine, make_request(QUESTIONS[0]))

    async def test_every_text_gets_its_vector(self, engine):
        assert engine.info.can_embed
        texts = ("a hearth", "three rivers", "a hearth")
        result = await engine.embed(make_embed(*texts))
        assert {len(vector) for vector in result.vectors} == {4 * engine.info.embedding_size}
        assert result.num_tokens >= len(texts)
        first, other, again = (array("f", vector).tolist() for vector in result.vectors)
        assert again == pytest.approx(first, abs=1e-3)
        assert other != pytest.approx(first, abs=1e-3)
        alone = await engine.embed(make_embed(texts[1], owner="bob"))
        assert array("f", alone.vectors[0]).tolist() == pytest.approx(other, abs=1e-3)

    async def test_each_token_has_a_vector_with_pooling_none(self, engine):
        result = await engine.embed(make_embed("three old rivers", pooling=Pooling.NONE))
        size, (data,) = 4 * engine.info.embedding_size, result.vectors
        assert len(data) == size * result.num_tokens
        assert result.num_tokens > 1
        last = await engine.embed(make_embed("three old rivers", pooling=Pooling.LAST))
        assert {len(vector) for vector in last.vectors} == {size}

    async def test_vectors_come_while_a_reply_is_written(self, engine):
        request = make_request(QUESTIONS[0], **ENDLESS)
        async with aclosing(engine.generate(request)) as deltas:
            await first_text(deltas)
            result = await engine.embed(make_embed("one", "two"))
            await first_text(deltas)
        assert len(result.vectors) == 2

    async def test_too_long_a_text_names_both_numbers(self, engine):
        limit = engine.info.max_text_tokens
        with pytest.raises(ContextLengthExceeded, match=rf"Input 1 has .* {limit}\b"):
            await engine.embed(make_embed("a", "word " * (limit + 1)))
        result = await engine.embed(make_embed("word " * (limit + 1), truncate=True))
        assert result.num_tokens == limit

    async def test_what_is_no_text_is_refused(self, engine):
        for inputs in ((), ("what is \ud800?",)):
            with pytest.raises(InvalidRequest):
                await engine.embed(make_embed(*inputs))
        with pytest.raises(InvalidRequest, match="needs a query"):
            await engine.embed(make_embed("a", pooling=Pooling.RANK))

    async def test_closed_engine_makes_no_vectors(self, engine):
        await engine.close()
        with pytest.raises(EngineDied):
            await engine.embed(make_embed("a"))
