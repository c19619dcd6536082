"""The made-up engine obeys the contract and says what the page must be able to draw."""

import asyncio

import pytest

from tests.unit.engine.contract import EngineContract, collect, make_request, text_of
from webui.engine.fake import FakeEngine
from webui.engine.interface import FinishReason, Queued
from webui.errors import Busy
from webui.messages import Message, Role

FAST = 100_000


class TestFakeEngineContract(EngineContract):
    @pytest.fixture
    async def engine(self):
        engine = FakeEngine(2000, context_length=512, num_slots=2)
        yield engine
        await engine.close()


async def test_answer_has_everything_to_draw_and_is_deterministic():
    engine = FakeEngine(FAST)
    first, second = [
        text_of(await collect(engine, make_request("draw something"))) for _ in range(2)
    ]
    assert first == second
    for mark in ("## ", "```python", "| Quantity |", "$$", "- a list", "👩‍👩‍👧", "日本語", "> "):
        assert mark in first


async def test_echo_answers_verbatim():
    text = "a  b\n\n```x\n  y\n```  🦀 ü"
    assert text_of(await collect(FakeEngine(FAST), make_request(f"echo {text}"))) == text


async def test_think_puts_reasoning_first():
    text = text_of(await collect(FakeEngine(FAST), make_request("think echo yes")))
    assert text.startswith("<think>\n")
    assert text.endswith("\n</think>\n\nyes")


async def test_long_answers_with_so_many_words():
    deltas = await collect(FakeEngine(FAST), make_request("long 130"))
    assert len(text_of(deltas).split()) == 130
    assert deltas[-1].usage.completion_tokens == 130
    assert deltas[-1].reason is FinishReason.STOP


async def test_continue_gives_exactly_the_rest():
    engine = FakeEngine(FAST)
    whole = text_of(await collect(engine, make_request("think long 40")))
    begun = whole[: len(whole) // 2].rstrip()
    said = (Message(Role.USER, "think long 40"), Message(Role.ASSISTANT, begun))
    rest = await collect(engine, make_request("", messages=said, continue_last=True))
    assert begun + text_of(rest) == whole


async def test_full_queue_is_busy_and_places_fall():
    engine = FakeEngine(200, num_slots=1, max_waiting=2)
    tasks = [asyncio.create_task(collect(engine, make_request("long 9"))) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(Busy) as caught:
        await collect(engine, make_request("echo no"))
    with pytest.raises(Busy):
        engine.check_room("bob")
    assert caught.value.retry_after_s > 0
    replies = [await task for task in tasks]
    places = [[d.place for d in deltas if isinstance(d, Queued)] for deltas in replies]
    assert places == [[], [1], [2, 1]]
    engine.check_room("bob")


async def test_rate_is_kept():
    deltas = await collect(FakeEngine(400), make_request("long 80"))
    assert 0.15 < deltas[-1].timings.decode_s < 1.0
