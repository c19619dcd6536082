"""How many requests of one owner, and of all, may be on their way."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest

from webui.engine.live_requests import LiveRequests
from webui.errors import Busy, Conflict


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


def test_request_is_on_its_way_once():
    live = LiveRequests(max_requests=3, max_per_owner=2)
    with live.opened("a", "ann") as mailbox:
        with pytest.raises(Conflict), live.opened("a", "ann"):
            pass
        assert live.mailboxes == {"a": mailbox}


async def test_drained_waits_for_the_last():
    live = LiveRequests(max_requests=3, max_per_owner=2)
    await live.drained()
    with live.opened("a", "ann"):
        waiting = asyncio.create_task(live.drained())
        await asyncio.sleep(0)
        assert not waiting.done()
    await asyncio.wait_for(waiting, 5)
