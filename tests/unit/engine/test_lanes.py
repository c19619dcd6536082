"""Requests of different scales: never in one step, nobody starves, no cell serves other scales."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.unit.engine.fake_runner import FakeOptions, FakeRunner, mark_of
from tests.unit.engine.test_generation_loop import (
    Job,
    alone,
    check_nothing_is_left,
    make_loop,
    run,
    send,
    text_of,
)
from webui.engine.interface import Finish, Priority
from webui.engine.lanes import BACKGROUND_TURNS, MAX_KEPT_LANES

ONE, OTHER, NONE = (1.0, 0.0), (0.0, 0.5), (0.0, 0.0)


def job(owner, scales, *, prompt="ab", **more):
    more |= {"ignores_eos": True, "scales": scales}
    return Job(owner, tuple(prompt.encode()), 900, (), 1, **more)


def make(slots=4, **options):
    runner = FakeRunner(FakeOptions(slots=slots, context_length=1024, adapters=2, **options))
    return runner, make_loop(runner, look_s=0.01)


def rates(load, num_steps=600):
    """Play a load until all write; return how many tokens each writes in so many steps."""
    runner, loop = make(slots=len(load))
    for i, one in enumerate(load):
        send(loop, one, str(i))
    for _ in range(200):
        loop.step()
    assert loop._scheduler.num_decoding == len(load)
    slots = {s.slot: int(s.request_id) for s in loop._scheduler._running.values()}
    written = Counter()

    def count(rows):
        assert len({load[slots[row.slot]].scales for row in rows}) == 1
        written.update(slots[row.slot] for row in rows)

    runner.on_step = count
    for _ in range(num_steps):
        if loop._scheduler.num_running < len(load):
            break
        loop.step()
    return [written[i] for i in range(len(load))], runner


def test_two_persons_of_other_scales_write_alike():
    (ann, bob), runner = rates([job("ann", ONE), job("bob", OTHER)])
    assert ann == pytest.approx(bob, rel=0.1)
    assert runner.num_lora_changes > 10


def test_many_of_one_scale_are_not_slowed_for_one_of_another_nor_it_for_them():
    *many, one = rates([*(job(owner, ONE) for owner in "abcd"), job("eve", OTHER)])[0]
    assert max(many) == pytest.approx(min(many), rel=0.1)
    assert one == pytest.approx(max(many), rel=0.15)


def test_person_with_many_scales_gets_no_more_than_one_with_one():
    greedy = [job("bob", (float(i), 1.0)) for i in range(6)]
    ann, *bob = rates([job("ann", NONE), *greedy])[0]
    assert ann == pytest.approx(sum(bob), rel=0.15)
    assert min(bob) > 0
    assert max(bob) == pytest.approx(min(bob), rel=0.6)


def test_background_work_of_its_own_scales_gets_little_and_not_nothing():
    ann, work = rates([job("ann", ONE), job("ann", OTHER, priority=Priority.BACKGROUND)])[0]
    assert 0 < work < ann * 2 / BACKGROUND_TURNS


def test_everybody_has_a_turn_when_owners_are_in_several_lanes():
    third = (3.0, 3.0)
    load = [
        *(job("ann", ONE), job("cid", ONE), job("cid", OTHER)),
        *(job("dan", OTHER), job("cid", third), job("bob", NONE)),
    ]
    written, _ = rates(load, 1200)
    assert min(written) > 0
    assert written[4] > max(written) / 20


def test_long_prompt_of_other_scales_stops_nobody():
    runner, loop = make(token_s=0.0)
    send(loop, job("ann", ONE), "ann")
    while not loop._scheduler.num_decoding:
        loop.step()
    slow = "".join(chr(97 + i % 26) for i in range(900))
    send(loop, job("bob", OTHER, prompt=slow), "bob")
    (writer,) = (s.slot for s in loop._scheduler.decoding)
    gaps, gap = [], 0

    def note(rows):
        nonlocal gap
        if any(row.slot == writer for row in rows):
            gaps.append(gap)
            gap = 0
        else:
            gap += sum(len(row.tokens) for row in rows)

    runner.on_step = note
    loop.step()
    while loop._scheduler.reading:
        loop.step()
    assert sum(gaps) + gap >= 900
    assert len(gaps) > 3
    assert max(gaps) < 900 / 3


def test_what_was_read_serves_the_same_scales_alone():
    _, loop = make(slots=1)
    prompt = tuple(b"ab" * 100)
    asked = [Job("ann", prompt, 3, (), 1, scales=scales) for scales in (ONE, OTHER, ONE, NONE, ())]
    cached = []
    for one in asked:
        (deltas,) = run(loop, [one]).values()
        assert text_of(deltas) == text_of(alone(one, 1024))
        assert isinstance(deltas[-1], Finish)
        cached.append(deltas[-1].usage.cached_tokens)
    # Behind others in the one slot, the third is restored from memory.
    assert cached[:2] == [0, 0]
    assert cached[2] >= len(prompt) - 1
    assert cached[3] == 0
    assert cached[4] == 0
    check_nothing_is_left(loop)


def test_slot_that_holds_the_prompt_of_other_scales_is_not_taken_for_it():
    runner, loop = make(slots=2)
    prompt = tuple(b"ab" * 100)
    for scales in (ONE, OTHER):
        run(loop, [Job("ann", prompt, 3, (), 1, scales=scales)])
    held = sorted(cells[0] - prompt[0] for cells in runner._cells.values())
    assert held == sorted([mark_of(ONE), mark_of(OTHER)])
    num_read = runner.num_tokens_read
    for scales in (ONE, OTHER, ONE):
        run(loop, [Job("ann", prompt, 3, (), 1, scales=scales)])
    assert runner.num_tokens_read - num_read < 30


def test_administrators_prompt_is_read_once_for_each_scales():
    _, loop = make(slots=1)
    shared = tuple(b"be kind. " * 30)
    for owner, scales in (("a", ONE), ("b", OTHER), ("c", ONE), ("d", OTHER)):
        prompt = (*shared, *f"{owner} asks".encode())
        one = Job(owner, prompt, 3, (), 1, scales=scales)
        (deltas,) = run(loop, [one], num_shared={"0": len(shared)}).values()
        assert text_of(deltas) == text_of(alone(one, 1024))
        is_known = owner in "cd"
        assert (deltas[-1].usage.cached_tokens >= len(shared)) is is_known


def test_lanes_in_which_nobody_runs_are_forgotten():
    _, loop = make(slots=2)
    for i in range(40):
        run(loop, [Job("ann", (97, 98), 2, (), 1, scales=(float(i), 1.0))])
    assert len(loop._scheduler._lanes._lanes) <= MAX_KEPT_LANES + 2
