"""One running reply: what it tells, what it keeps, and the figures of a cut one."""

from datetime import UTC, datetime

import msgspec
import pytest

from webui.chat import events
from webui.chat.reply import Order, Reply
from webui.chat.running import Doing, ProgramRequest
from webui.chat.views import ErrorView, LeftOutView, MessageView, TimingsView, UsageView
from webui.engine.interface import (
    Finish,
    FinishReason,
    Prefill,
    Queued,
    Shifted,
    Text,
    Timings,
    Trimmed,
    Usage,
)
from webui.sampling_params import SamplingParams

ROW = MessageView(
    id="m",
    parent_id="u",
    role="assistant",
    text="",
    reasoning="",
    status="pending",
    model=None,
    created_at=datetime(2025, 1, 1, tzinfo=UTC),
)
ERROR = ErrorView("engine_died", "It ended", "Try again")


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def begin(row=ROW, *, is_continuation=False, clock=None, sources=()):
    order = Order(
        generation_id="g",
        owner="o",
        conversation_id="c",
        message=row,
        prompt=(),
        params=SamplingParams(),
        is_continuation=is_continuation,
        sources=sources,
    )
    return Reply(order, clock or Clock())


def finish(reason=FinishReason.STOP, completion_tokens=2):
    return Finish(reason, Usage(10, completion_tokens, 4), Timings(0.1, 0.2, 0.3))


def test_reply_tells_each_delta_with_growing_seq():
    reply = begin()
    told = []
    for delta in (
        Queued(2, 1.5),
        Prefill(5, 10, 4),
        Text("<think>a</think>b", 3),
        Text(" c", 1),
        finish(),
    ):
        told += reply.take(delta)
    assert [type(e) for e in told] == [
        events.Queued,
        events.Prefill,
        events.Reasoning,
        events.Text,
        events.Text,
    ]
    assert [e.seq for e in told] == [1, 2, 3, 4, 5]
    assert msgspec.to_builtins(told[1]) == {
        "type": "prefill",
        "generation_id": "g",
        "conversation_id": "c",
        "message_id": "m",
        "seq": 2,
        "done": 5,
        "total": 10,
        "cached": 4,
    }
    view = reply.view()
    assert (view.status, view.text, view.reasoning) == ("streaming", "b c", "a")


def test_reply_is_pending_until_the_engine_says_something():
    reply = begin()
    assert reply.view().status == "pending"
    reply.take(Queued(1))
    assert reply.view().status == "streaming"
    assert begin(is_continuation=True).view().status == "streaming"


def test_reply_final_view_is_shown_only_when_saved():
    reply = begin()
    reply.asked("smol")
    reply.take(Text("a", 2))
    reply.take(finish(FinishReason.LENGTH))
    final = reply.end(reply.finished_status)
    assert reply.view().status == "streaming"
    event = reply.saved()
    assert isinstance(event, events.Done)
    assert reply.view() == final == event.message
    assert (final.status, final.finish_reason, final.model) == ("complete", "length", "smol")
    assert final.usage == UsageView(10, 2, 4)
    assert final.timings == TimingsView(0.1, 0.2, 0.3)


def test_reply_cut_off_has_figures_measured_from_here():
    clock = Clock()
    reply = begin(clock=clock)
    clock.now += 1
    reply.take(Prefill(0, 10, 3))
    clock.now += 2
    reply.take(Text("a", 1))
    clock.now += 4
    reply.take(Text("b", 2))
    clock.now += 50
    final = reply.end("stopped")
    assert final.usage == UsageView(10, 3, 3)
    assert final.timings == TimingsView(1, 2, 4)
    assert (final.text, final.finish_reason) == ("ab", "abort")


def test_reply_cut_off_waited_only_when_the_engine_said_so():
    for queued, timings in (((), TimingsView(1, 2, 0)), ((Queued(1),), TimingsView(2, 1, 0))):
        clock = Clock()
        reply = begin(clock=clock)
        clock.now += 1
        reply.asked("smol")
        for delta in queued:
            reply.take(delta)
        clock.now += 1
        reply.take(Prefill(5, 10))
        clock.now += 1
        reply.take(Text("a", 1))
        assert reply.end("stopped").timings == timings


def test_reply_stopped_before_anything_has_no_negative_figures():
    clock = Clock()
    reply = begin(clock=clock)
    clock.now += 3
    final = reply.end("stopped")
    assert final.usage == UsageView(0, 0, 0)
    assert final.timings == TimingsView(3, 0, 0)


def test_reply_failed_keeps_text_and_tells_the_error():
    reply = begin()
    reply.take(Text("half", 1))
    final = reply.end("interrupted", ERROR)
    event = reply.saved()
    assert isinstance(event, events.Failed)
    assert (event.code, event.message_view) == ("engine_died", final)
    assert (final.text, final.error, final.finish_reason) == ("half", ERROR, None)
    assert final.usage == UsageView(0, 1, 0)


def test_reply_failed_before_a_token_has_no_figures():
    final = begin().end("error", ERROR)
    assert (final.usage, final.timings) == (None, None)


def test_reply_continued_appends_and_adds_up():
    row = msgspec.structs.replace(
        ROW,
        text="Hello ",
        status="stopped",
        finish_reason="abort",
        usage=UsageView(8, 5, 0),
        timings=TimingsView(1, 2, 3),
    )
    reply = begin(row, is_continuation=True)
    (event,) = reply.take(Text(" world", 2))
    assert event.text == "world"
    reply.take(finish())
    final = reply.end("complete")
    assert final.text == "Hello world"
    assert final.usage == UsageView(8, 7, 0)
    assert final.timings.decode_s == pytest.approx(3.3)


def test_reply_held_back_mark_is_told_at_the_end():
    reply = begin()
    assert reply.take(Text("<th", 1)) == []
    (event,) = reply.take(finish())
    assert event.text == "<th"
    assert reply.flush() == []
    assert reply.view().text == "<th"


def think(reply, clock, *seconds):
    """Let the reply think a piece after each of these waits."""
    for wait_s in seconds:
        clock.now += wait_s
        reply.take(Text("hm ", 1))


def test_reply_tells_how_long_it_thought_from_first_to_last_piece():
    clock = Clock()
    reply = begin(clock=clock)
    assert reply.view().reasoning_s is None
    clock.now += 9  # reading the prompt is no thinking
    reply.take(Text("<think>so ", 1))
    think(reply, clock, 2, 3)
    assert reply.view().reasoning_s == pytest.approx(5)
    clock.now += 0.5
    reply.take(Text("now</think>Hello", 2))
    clock.now += 60
    reply.take(Text(" world", 1))
    reply.take(finish())
    assert reply.end("complete").reasoning_s == pytest.approx(5.5)


def test_reply_that_did_not_think_has_no_time_of_it():
    reply = begin()
    reply.take(Text("Hello", 1))
    reply.take(finish())
    assert reply.end("complete").reasoning_s is None


def test_time_of_thinking_adds_up_when_continued_and_is_kept_in_errors():
    row = msgspec.structs.replace(ROW, reasoning="so ", status="stopped", reasoning_s=4.0)
    clock = Clock()
    reply = begin(row, is_continuation=True, clock=clock)
    assert begin(row, is_continuation=True).end("error", ERROR).reasoning_s == pytest.approx(4)
    think(reply, clock, 10, 2)
    assert reply.end("interrupted", ERROR).reasoning_s == pytest.approx(6)


SOURCES = ((), ("1", "2"), ("3",), ("4",), ("5",))


@pytest.mark.parametrize(
    ("trimmed", "left_out"),
    [
        (Trimmed(2, 1), LeftOutView(3, "4")),
        (Trimmed(1, 2), LeftOutView(1, "4")),
        (Trimmed(4, 1), LeftOutView(5, ROW.id)),
    ],
)
def test_what_was_not_sent_is_told_by_saved_messages(trimmed, left_out):
    reply = begin(sources=SOURCES)
    (event,) = reply.take(trimmed)
    assert isinstance(event, events.LeftOut)
    assert event.left_out == reply.view().left_out == left_out
    reply.take(Text("a", 1))
    reply.take(finish())
    assert reply.end("complete").left_out == left_out


def test_tokens_that_left_the_context_add_up_beside_the_messages():
    reply = begin(sources=SOURCES)
    reply.take(Trimmed(1, 1))
    reply.take(Shifted(20))
    (event,) = reply.take(Shifted(5))
    assert event.left_out == LeftOutView(2, "3", 25)
    assert begin().view().left_out is None


def test_reply_waits_until_its_prompt_is_read_and_again_when_it_gives_way():
    reply, completion = begin(), ProgramRequest("o", 100.0)
    reply.asked("Tiny")
    seen = [(reply.running().doing, completion.doing)]
    for delta in (
        Queued(2, 1.5),
        Prefill(5, 10, 4),
        Text("a", 3),
        Queued(1, 0.5),
        Prefill(10, 10, 4),
        Text("b", 1),
        Shifted(7),
    ):
        reply.take(delta)
        completion.take(delta)
        seen.append((reply.running().doing, completion.doing))
    waiting, reading, writing = Doing
    expected = [waiting, waiting, reading, writing, waiting, reading, writing, writing]
    assert seen == [(doing, doing) for doing in expected]
    assert (reply.running().num_tokens, completion.num_tokens) == (4, 4)
