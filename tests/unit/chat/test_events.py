"""The event log: numbers, merging, cursors, slow readers."""

import asyncio
import random
import tracemalloc
from contextlib import aclosing

import msgspec
import pytest

from webui.chat.event_log import EventLog
from webui.chat.events import (
    ConversationChanged,
    FiguresChanged,
    Hello,
    MeChanged,
    Notice,
    Reasoning,
    Reset,
    SharesChanged,
    Text,
    ToolCall,
)
from webui.chat.owner_log import EVENT_BYTES
from webui.chat.views import FiguresView


def text(piece, generation="g", kind=Text):
    return kind(generation_id=generation, conversation_id="c", message_id="m", seq=0, text=piece)


def log(**limits):
    return EventLog(**{"pace_s": 0} | limits)


async def read_until(subscription, n):
    entries = []
    async for batch in subscription:
        entries += batch
        if entries and entries[-1].n >= n:
            return entries
    return entries


def words(entries):
    return [e.event.text for e in entries if isinstance(e.event, Text | Reasoning)]


async def test_subscribe_begins_with_hello_at_the_end_of_the_log():
    events = log()
    events.append("a", text("x"))
    async with aclosing(events.subscribe("a")) as subscription:
        (entry,) = await anext(subscription)
    assert entry.event == Hello(f"{events.boot}:1")
    assert entry.n == 1
    assert msgspec.json.decode(msgspec.json.encode(entry.event)) == {
        "type": "hello",
        "cursor": f"{events.boot}:1",
    }


def test_tool_call_is_written_as_documented():
    event = ToolCall(
        generation_id="g",
        conversation_id="c",
        message_id="m",
        seq=3,
        call_id="call_1",
        name="get_time",
        arguments='{"zone": "UTC"}',
    )
    assert msgspec.json.decode(msgspec.json.encode(event)) == {
        "type": "tool_call",
        "generation_id": "g",
        "conversation_id": "c",
        "message_id": "m",
        "seq": 3,
        "call_id": "call_1",
        "name": "get_time",
        "arguments": '{"zone": "UTC"}',
    }


async def test_tool_calls_are_not_merged_and_count_with_their_arguments():
    def call(size):
        return ToolCall(
            generation_id="g",
            conversation_id="c",
            message_id="m",
            seq=0,
            call_id="1",
            name="f",
            arguments="x" * size,
        )

    events = log(max_bytes=2_000)
    for size in (10, 10, 1_900):
        events.append("o", call(size))
    async with aclosing(events.subscribe("o", f"{events.boot}:0")) as subscription:
        assert [type(e.event) for e in await anext(subscription)] == [Hello, Reset]
    events = log()
    for size in (1, 2):
        events.append("o", call(size))
    async with aclosing(events.subscribe("o", f"{events.boot}:0")) as subscription:
        entries = await read_until(subscription, 2)
    assert [e.event.arguments for e in entries[1:]] == ["x", "xx"]


async def test_text_of_one_generation_is_merged_and_takes_the_last_number():
    events = log()
    for piece in ("a", "b"):
        events.append("o", text(piece))
    events.append("o", text("c", kind=Reasoning))
    events.append("o", text("d", generation="h"))
    events.append("o", text("e", generation="h"))
    async with aclosing(events.subscribe("o", f"{events.boot}:0")) as subscription:
        entries = await read_until(subscription, 5)
    assert [(e.n, w) for e, w in zip(entries[1:], words(entries), strict=True)] == [
        (2, "ab"),
        (3, "c"),
        (5, "de"),
    ]


async def test_merging_never_reaches_across_a_cursor():
    events = log()
    events.append("o", text("a"))
    events.append("o", text("b"))
    assert events.cursor("o") == f"{events.boot}:2"
    events.append("o", text("c"))
    events.append("o", text("d"))
    async with aclosing(events.subscribe("o", f"{events.boot}:0")) as subscription:
        entries = await read_until(subscription, 4)
    assert [(e.n, e.event.text) for e in entries[1:]] == [(2, "ab"), (4, "cd")]


async def test_owners_do_not_hear_each_other_but_all_hear_a_broadcast():
    events = log()
    events.cursor("a")
    events.cursor("b")
    events.append("a", text("secret"))
    events.broadcast(ConversationChanged(deleted_id="x"))
    async with aclosing(events.subscribe("b", f"{events.boot}:0")) as subscription:
        entries = await read_until(subscription, 1)
    assert [type(e.event) for e in entries] == [Hello, ConversationChanged]


@pytest.mark.parametrize(
    "after",
    ["", "x", "other:0", "{boot}:-1", "{boot}:3", "{boot}:1_0", "{boot}:²", "{boot}:" + "9" * 40],
)
async def test_subscribe_from_an_unknown_place_is_told_to_reset(after):
    events = log()
    events.append("o", text("a"))
    after = after.format(boot=events.boot)
    async with aclosing(events.subscribe("o", after)) as subscription:
        batch = await anext(subscription)
        events.append("o", text("b"))
        (entry,) = await anext(subscription)
    assert [type(e.event) for e in batch] == [Hello, Reset]
    assert (entry.n, entry.event.text) == (2, "b")


async def test_slow_reader_falls_behind_the_ring_and_is_reset():
    events = log(max_events=10)
    async with aclosing(events.subscribe("o")) as subscription:
        await anext(subscription)
        for index in range(50):
            events.append("o", text(str(index), generation=str(index)))
        (entry,) = await anext(subscription)
        assert isinstance(entry.event, Reset)
        assert entry.n == 50
        events.append("o", text("next"))
        assert words(await anext(subscription)) == ["next"]


async def test_ring_is_bounded_by_bytes_and_keeps_the_latest():
    events = log(max_bytes=10_000)
    for _ in range(30):
        events.append("o", text("x" * 4_000))
    events.append("o", text("y" * 50_000))
    async with aclosing(events.subscribe("o", f"{events.boot}:30")) as subscription:
        entries = await read_until(subscription, 31)
    assert words(entries) == ["y" * 50_000]
    async with aclosing(events.subscribe("o", f"{events.boot}:28")) as subscription:
        assert isinstance((await anext(subscription))[-1].event, Reset)


async def test_reader_waits_and_is_woken():
    events = log()
    async with aclosing(events.subscribe("o")) as subscription:
        await anext(subscription)
        reader = asyncio.ensure_future(anext(subscription))
        await asyncio.sleep(0)
        assert not reader.done()
        events.append("o", text("a"))
        assert words(await reader) == ["a"]


async def test_quiet_reader_gets_empty_batches_to_keep_alive():
    events = log()
    async with aclosing(events.subscribe("o", keep_alive_s=0.001)) as subscription:
        await anext(subscription)
        assert await anext(subscription) == []


async def test_close_ends_waiting_readers():
    events = log()
    async with aclosing(events.subscribe("o")) as subscription:
        await anext(subscription)
        reader = asyncio.ensure_future(anext(subscription, "over"))
        await asyncio.sleep(0)
        events.close()
        assert await reader == "over"


async def test_pace_gathers_what_comes_in_quick_succession():
    events = log(pace_s=0.02)
    batches = 0
    started = asyncio.get_running_loop().time()
    async with aclosing(events.subscribe("o")) as subscription:
        await anext(subscription)

        async def write():
            for index in range(100):
                events.append("o", text(str(index % 10)))
                await asyncio.sleep(0)
            events.append(
                "o",
                Notice(
                    generation_id="g",
                    conversation_id="c",
                    message_id="m",
                    seq=1,
                    code="end",
                    message="",
                ),
            )

        writer = asyncio.ensure_future(write())
        found = ""
        async for batch in subscription:
            batches += 1
            found += "".join(words(batch))
            if isinstance(batch[-1].event, Notice):
                break
        await writer
    spent = asyncio.get_running_loop().time() - started
    assert found == "0123456789" * 10
    assert batches <= spent / 0.02 + 2


@pytest.mark.parametrize("seed", range(20))
async def test_snapshot_and_later_events_give_the_text_exactly(seed):
    """A client that attaches at any moment, with any lag, ends with the same text."""
    dice = random.Random(seed)
    events = log()
    whole = {"g": "", "h": ""}
    clients = []
    for index in range(200):
        generation = dice.choice("gggh")
        piece = f"{index} "
        whole[generation] += piece
        events.append("o", text(piece, generation))
        if dice.random() < 0.05:
            snapshot = dict(whole)
            stream_from = f"{events.boot}:{dice.randrange(index + 2)}"
            clients.append((snapshot, events.cursor("o"), events.subscribe("o", stream_from)))
    for snapshot, cursor, subscription in clients:
        async with aclosing(subscription):
            seen = int(cursor.split(":")[1])
            for entry in await read_until(subscription, 200):
                if entry.n > seen and isinstance(entry.event, Text):
                    snapshot[entry.event.generation_id] += entry.event.text
        assert snapshot == whole


def figures(running):
    view = FiguresView(
        running=running,
        waiting=0,
        tokens_per_s=0.0,
        reused=None,
        guessed=None,
        decode_threads=1,
        prompt_threads=1,
    )
    return FiguresChanged(view)


async def all_after(events, place, n):
    async with aclosing(events.subscribe("o", f"{events.boot}:{place}")) as subscription:
        return (await read_until(subscription, n))[1:]


@pytest.mark.parametrize("place", [0, 1, 255, 256, 257, 700, 998, 999])
async def test_text_is_read_on_from_the_middle_of_what_is_kept_as_one(place):
    events = log()
    pieces = [f"é{index} " for index in range(1000)]
    for index, piece in enumerate(pieces):
        events.append("o", msgspec.structs.replace(text(piece), seq=index + 1))
    found = await all_after(events, place, 1000)
    assert "".join(words(found)) == "".join(pieces[place:])
    assert found[-1].n == found[-1].event.seq == 1000


def test_text_takes_little_more_than_its_letters():
    tracemalloc.start()
    try:
        events = log()
        for _ in range(10_000):
            events.append("o", text("word "))
        size_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size_bytes < 300_000  # as events of their own they take ten times that
    assert size_bytes / 2 < events.size_bytes < size_bytes * 2


async def test_long_text_is_dropped_piece_by_piece():
    events = log(max_events=10)
    for index in range(700):
        events.append("o", text(f"{index} "))
    assert words(await all_after(events, 690, 700)) == ["".join(f"{i} " for i in range(690, 700))]
    async with aclosing(events.subscribe("o", f"{events.boot}:689")) as subscription:
        assert isinstance((await anext(subscription))[-1].event, Reset)


async def test_sizes_add_up_when_everything_has_been_dropped():
    events, dice = log(max_events=40), random.Random(3)
    for _ in range(3_000):
        events.append("o", text("x" * dice.randrange(50), dice.choice("ggggh")))
        if dice.random() < 0.05:
            events.append("o", figures(1))
    for index in range(40):
        events.append("o", text("", generation=str(index)))
    assert events.size_bytes == 40 * EVENT_BYTES
    events.forget("o")
    assert events.size_bytes == 0


async def test_longest_log_gives_way_when_all_together_are_too_large():
    events = log(max_bytes_of_all=100_000)
    for index in range(20):
        events.append("small", text("x" * 100, generation=str(index)))
    for index in range(200):
        events.append("large", text("x" * 2_000, generation=str(index)))
        assert events.size_bytes <= 100_000
    async with aclosing(events.subscribe("small", f"{events.boot}:0")) as subscription:
        assert len(await read_until(subscription, 20)) == 21
    async with aclosing(events.subscribe("large", f"{events.boot}:0")) as subscription:
        assert isinstance((await anext(subscription))[-1].event, Reset)


async def test_figures_that_follow_each_other_are_kept_as_the_latest():
    events = log()
    events.append("o", text("a"))
    for running in range(50_000):
        events.append("o", figures(running))
    events.append("o", text("b"))
    for place in (0, 1, 7):
        found = await all_after(events, place, 50_002)
        heard = [e.event.figures for e in found if isinstance(e.event, FiguresChanged)]
        assert [figures.running for figures in heard] == [49_999]
        assert words(found)[-1:] == ["b"]
    assert events.size_bytes < 1_000


@pytest.mark.parametrize("change", [SharesChanged, MeChanged])
async def test_changes_without_words_that_follow_each_other_are_one(change):
    events = log()
    for _ in range(50_000):
        events.append("o", change())
    events.append("o", figures(1))
    events.append("o", change())
    for place, num in ((0, 3), (7, 3), (50_000, 2), (50_001, 1)):
        kinds = [type(entry.event) for entry in await all_after(events, place, 50_002)]
        assert kinds == [change, FiguresChanged, change][-num:]
    assert events.size_bytes < 1_000


async def test_log_of_somebody_who_is_gone_is_dropped():
    events = log()
    async with aclosing(events.subscribe("o")) as subscription:
        await anext(subscription)
        events.append("o", text("a"))
        events.forget("o")
        events.forget("nobody")
    assert events.size_bytes == 0
    assert events.cursor("o") == f"{events.boot}:2", "numbers go on, and leave one out"


async def test_who_reads_a_log_that_is_forgotten_is_ended_and_starts_anew():
    events = log()
    async with aclosing(events.subscribe("o")) as subscription:
        await anext(subscription)
        events.append("o", text("a"))
        assert len(await anext(subscription)) == 1
        waits = asyncio.ensure_future(anext(subscription, None))
        await asyncio.sleep(0)
        events.forget("o")
        events.append("o", text("b"))
        assert await asyncio.wait_for(waits, 5) is None, "not deaf, but over"
    async with aclosing(events.subscribe("o", f"{events.boot}:1")) as subscription:
        assert isinstance((await anext(subscription))[-1].event, Reset)
        events.append("o", text("c"))
        assert words(await anext(subscription)) == ["c"]
