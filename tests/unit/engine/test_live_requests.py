"""How many requests of one owner, and of all, may be on their way."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest

from webui.engine import live_requests
from webui.engine.interface import Finish, FinishReason, Queued, Text, Timings, Usage
from webui.engine.live_requests import LiveRequests
from webui.errors import Busy, Conflict, EngineDied

FINISH = Finish(FinishReason.STOP, Usage(1, 1), Timings(0.0, 0.0, 0.0))


def test_owner_has_a_part_and_leaves_the_rest_to_others():
    live = LiveRequests(max_requests=3, max_per_owner=2)
    with ExitStack() as stack:
        stack.enter_context(live.opened("a1", "ann"))
        with live.opened("a2", "ann"):
            with (
                pytest.raises(Busy, match="Your part of the queue is full: 2"),
                live.opened("a3", "ann"),
            ):
                pass
            with (
                live.opened("b", "bob"),
                pytest.raises(Busy, match="The queue is full: 3"),
                live.opened("c", "cyd"),
            ):
                pass
        stack.enter_context(live.opened("a3", "ann"))
        assert sorted(live.mailboxes) == ["a1", "a3"]
    assert not live._num_of, "who has none is forgotten"


def test_room_for_a_reply_is_known_by_those_of_which_nothing_was_told(monkeypatch):
    monkeypatch.setattr(live_requests, "MAX_WAITING", 3)
    monkeypatch.setattr(live_requests, "MAX_WAITING_PER_OWNER", 2)
    live = LiveRequests(max_requests=5, max_per_owner=4)
    with ExitStack() as stack:
        stack.enter_context(live.opened("texts", "ann", is_reply=False))
        first = stack.enter_context(live.opened("a1", "ann"))
        live.check_room("ann")
        stack.enter_context(live.opened("a2", "ann"))
        with pytest.raises(Busy, match="Your part of the queue is full: 2 replies"):
            live.check_room("ann")
        live.check_room("bob")
        first.put(Queued(1))
        with pytest.raises(Busy):
            live.check_room("ann")
        first.put(Text("Hi", 1))
        live.check_room("ann")
        stack.enter_context(live.opened("b1", "bob"))
        with live.opened("b2", "bob"), pytest.raises(Busy, match="The queue is full: 5 requests"):
            live.check_room("cyd")
        live.check_room("cyd")
    with (
        live.opened("a1", "ann"),
        live.opened("b1", "bob"),
        live.opened("c1", "cyd"),
        pytest.raises(Busy, match="The queue is full: 3 replies"),
    ):
        live.check_room("dan")
    assert not live._replies


def test_request_is_on_its_way_once():
    live = LiveRequests(max_requests=3, max_per_owner=2)
    with live.opened("a", "ann") as mailbox:
        with pytest.raises(Conflict), live.opened("a", "ann"):
            pass
        assert live.mailboxes == {"a": mailbox}


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def served(live: LiveRequests, clock: Clock, took_s: float, word: object = FINISH) -> None:
    """Let a request come and end."""
    with live.opened("x", "zoe") as mailbox:
        clock.now_s += took_s
        if word is not None:
            mailbox.put(word)


def refused(live: LiveRequests, owner: str) -> Busy:
    with pytest.raises(Busy) as caught, live.opened("one more", owner):
        pass
    return caught.value


def test_full_queue_says_when_one_of_them_may_end():
    clock = Clock()
    live = LiveRequests(max_requests=3, max_per_owner=2, clock=clock)
    served(live, clock, 30.0)
    with live.opened("a1", "ann"), live.opened("a2", "ann"):
        mine = refused(live, "ann")
        assert mine.retry_after_s == 15.0
        assert mine.hint == "Try again when some of them are done, in about 15 s."
        with live.opened("b", "bob"):
            assert refused(live, "bob").retry_after_s == 10.0


def test_full_queue_of_which_none_has_ended_says_no_time():
    clock = Clock()
    live = LiveRequests(max_requests=1, max_per_owner=1, clock=clock)
    served(live, clock, 50.0, word=None)  # taken back
    served(live, clock, 50.0, word=EngineDied("gone"))
    with live.opened("a", "ann"):
        error = refused(live, "bob")
    assert error.retry_after_s == 1.0
    assert error.hint == "Try again when some of them are done."


async def test_drained_waits_for_the_last():
    live = LiveRequests(max_requests=3, max_per_owner=2)
    await live.drained()
    with live.opened("a", "ann"):
        waiting = asyncio.create_task(live.drained())
        await asyncio.sleep(0)
        assert not waiting.done()
    await asyncio.wait_for(waiting, 5)
