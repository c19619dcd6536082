"""Shares of a machine whose steps cost so much by themselves and so much for each row."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.engine.contract import make_request
from tests.unit.engine.fake_runner import FakeOptions, FakeRunner
from webui.engine.fairness import MAX_DEBT_TOKENS, DecodeShares, Ledger
from webui.engine.interface import Priority
from webui.engine.runner import Sampled
from webui.engine.scheduler import Scheduler
from webui.engine.sequence import Sequence

VOCABULARY = FakeRunner()
LENGTH = 100_000
# Seconds of a step by itself and of each row: a small CPU as measured, one without fixed cost,
# one of half and half, a GPU to which rows are free.
MACHINES = [(0.006, 0.007), (0.0, 0.01), (0.04, 0.01), (0.02, 0.0)]
BACKGROUND = {"priority": Priority.BACKGROUND}


def make(owner, name, **fields):
    request = make_request("", owner=owner, request_id=name, max_tokens=LENGTH, **fields)
    return Sequence(request, [1], context_length=LENGTH, arrived_s=0.0)


def rates(machine, owners, *, noise=0.0, num_steps=1500, num_slots=16, background=()):
    """Return the tokens a second of each owner on a machine; each entry is one request."""
    fixed_s, row_s = machine
    info = FakeRunner(FakeOptions(slots=num_slots, context_length=LENGTH)).info
    scheduler = Scheduler(info, max_batch_tokens=64)
    for index, owner in enumerate(owners):
        fields = BACKGROUND if owner in background else {}
        scheduler.add(make(owner, f"{owner}{index}", **fields))
    noises = random.Random(5)
    tokens = Counter(dict.fromkeys(owners, 0))
    of_slot = {}
    now_s = 0.0
    for step in range(num_steps):
        of_slot |= {s.slot: s.owner for s in scheduler.admit(now_s).placed}
        rows = scheduler.schedule(64)
        step_s = (fixed_s + row_s * len(rows)) * (1 + noise * noises.random())
        now_s += step_s
        scheduler.update(rows, [Sampled(97) for _ in rows], VOCABULARY, now_s)
        scheduler.note_step(rows, step_s)
        tokens.update(of_slot[row.slot] for row in rows)
        if step == num_steps // 5:  # what it learns at first is not counted
            tokens.clear()
            begun_s = now_s
    return {owner: tokens[owner] / (now_s - begun_s) for owner in dict.fromkeys(owners)}


@pytest.mark.parametrize("noise", [0.0, 0.4])
@pytest.mark.parametrize("machine", MACHINES)
def test_eight_streams_of_one_owner_cost_the_others_little(machine, noise):
    fixed_s, row_s = machine
    fair = rates(machine, [*"abc", "d"], noise=noise)
    together = rates(machine, [*"abc", *"d" * 8], noise=noise)
    assert min(together[owner] / fair[owner] for owner in "abc") >= 0.8
    assert together["d"] >= fair["d"] * 0.95
    unthrottled = 11 / (fixed_s + row_s * 11) / (1 + noise / 2)
    assert sum(together.values()) >= 0.7 * unthrottled


def test_rows_that_cost_nothing_are_all_used():
    together = rates((0.02, 0.0), [*"abc", *"d" * 8], noise=0.4)
    assert together["d"] >= 7.5 * together["a"]


@pytest.mark.parametrize("machine", MACHINES)
def test_owner_alone_uses_every_slot(machine):
    fixed_s, row_s = machine
    assert rates(machine, "a" * 8)["a"] == pytest.approx(8 / (fixed_s + row_s * 8))


def test_what_is_left_is_shared_alike_by_owners_who_want_more():
    together = rates((0.0, 0.01), [*"a" * 8, *"b" * 2, "c"])
    assert together["a"] == pytest.approx(together["b"], rel=0.1)
    assert 1.0 < together["a"] / together["c"] < 1.5


def test_streams_of_one_owner_take_turns():
    shares = DecodeShares()
    streams = [make("a", str(i)) for i in range(6)] + [make("b", "b")]
    picked = Counter(s.request_id for _ in range(600) for s in shares.pick(streams))
    mine = [picked[str(i)] for i in range(6)]
    assert picked["b"] == 600
    assert max(mine) - min(mine) <= 1


def test_background_beside_a_chat_costs_it_little_and_alone_gets_all():
    beside = rates((0.006, 0.007), "ab", background="b")
    alone = rates((0.006, 0.007), "a")
    assert beside["a"] >= 0.8 * alone["a"]
    assert 0 < beside["b"] < beside["a"] / 2
    assert rates((0.0, 0.01), "bb", background="b")["b"] == pytest.approx(100)


def test_one_slow_step_is_no_reason_to_change_course():
    shares = DecodeShares()
    streams = [make("a", str(i)) for i in range(8)] + [make("b", "b"), make("c", "c")]
    seen = []
    for step in range(400):
        rows = len(shares.pick(streams))
        seen.append(rows)
        shares.note(rows, 5.0 if step == 250 else 0.02 + 0.01 * rows)
    before, after = seen[150:250], seen[251:351]
    assert sum(after) / sum(before) == pytest.approx(1, abs=0.15)


def test_who_comes_back_starts_level_with_the_least_served():
    ledger = Ledger()
    ledger.charge("ann", 500)
    ledger.charge("bob", 300)
    ledger.settle({"ann", "bob"})
    assert (ledger.of("ann"), ledger.of("bob"), ledger.of("new")) == (500, 300, 300)
    ledger.settle(set())
    assert ledger.of("ann") == ledger.of("bob") == ledger.of("new") == 500
    assert ledger._served == {}


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcdef"), st.integers(1, 9000), st.sets(st.sampled_from("abcdef"))
        )
    )
)
def test_debts_are_bounded_and_nobody_is_set_back(turns):
    ledger = Ledger()
    for owner, num, present in turns:
        before = {name: ledger.of(name) for name in "abcdef"}
        ledger.charge(owner, num)
        assert ledger.of(owner) == before[owner] + num
        ledger.settle(present)
        counts = [ledger.of(name) for name in "abcdef"]
        assert max(counts) - min(counts) <= MAX_DEBT_TOKENS
