"""The event log: numbers, merging, cursors, slow readers."""

import asyncio
import random
from contextlib import aclosing

import msgspec
import pytest

from webui.chat.events import (
    ConversationChanged,
    EventLog,
    Hello,
    Notice,
    Reasoning,
    Reset,
    Text,
    ToolCall,
)


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
