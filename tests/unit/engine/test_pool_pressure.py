"""A pool that one owner keeps full: nobody else sees an error, and everybody gets on."""

from __future__ import annotations

import itertools
import random

import pytest

from tests.unit.engine.fake_runner import FakeOptions, FakeRunner
from tests.unit.engine.test_generation_loop import Job, check_nothing_is_left, make_loop, send
from webui.engine.interface import Finish, FinishReason
from webui.engine.ipc import Outputs
from webui.engine.mail import Aborted

OTHERS = ("ann", "bob")
STEPS_AN_OWNER_WAITS = 120
NUM_TOKENS = 4  # less than is reserved: no pool is so full that it cuts them short


def steps(loop, num):
    """Make steps; yield each one's number and the ends that it told."""
    for now in range(num):
        yield now, []
        ends = []
        for message in loop.step():
            assert isinstance(message, Outputs), message
            ends += [output for output in message.items if isinstance(output.delta, Finish)]
        yield now, ends


def abort_all(loop):
    scheduler = loop._scheduler
    left = list(scheduler._running.values())
    for waiting in scheduler._waiting._by_owner.values():
        left += waiting
    for sequence in left:
        loop.take(Aborted(sequence.request_id))


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kv_cells", [48, 100, None])
def test_owner_that_fills_the_pool_makes_no_error_for_others(kv_cells, soak):
    options = FakeOptions(slots=4, context_length=48, max_batch_tokens=16, kv_cells=kv_cells)
    loop = make_loop(FakeRunner(options), max_waiting=64, max_waiting_per_owner=16)
    chance, numbers = random.Random(1), itertools.count()
    num_steps = 20_000 if soak else 2_000
    since = {}
    waits = {owner: [] for owner in OTHERS}
    for now, ends in steps(loop, num_steps):
        while loop._scheduler.num_waiting < 12:
            hog = Job("hog", tuple(chance.choices(b"abc", k=30)), 18, (), 1)
            assert send(loop, hog, f"hog {next(numbers)}") == []
        for owner in OTHERS:
            if owner not in since:
                since[owner] = now
                asked = Job(owner, tuple(chance.choices(b"abc", k=8)), NUM_TOKENS, (), 1)
                assert send(loop, asked, owner) == [], "refused although another one is many"
        for end in ends:
            if end.request_id in since:
                waits[end.request_id].append(now - since.pop(end.request_id))
                cut = end.delta.reason is FinishReason.LENGTH
                assert not cut or end.delta.usage.completion_tokens == NUM_TOKENS
    for owner in OTHERS:
        assert len(waits[owner]) >= num_steps / STEPS_AN_OWNER_WAITS
        assert max(waits[owner]) <= STEPS_AN_OWNER_WAITS
    abort_all(loop)
    check_nothing_is_left(loop)
