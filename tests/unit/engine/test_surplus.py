"""Prompts that must not hurry: further ones of an owner who writes, and background work."""

from math import ceil

import pytest

from tests.unit.engine.fake_runner import FakeOptions, FakeRunner
from tests.unit.engine.test_scheduler import A, make, make_scheduler, step
from webui.engine.interface import Priority
from webui.engine.prefill_budget import PrefillBudget
from webui.engine.runner import Sampled
from webui.engine.surplus import LEAST_TOKENS, SURPLUS_SHARE

TOKEN_S = 0.007
TILE_S = 0.044  # of up to four rows that decode
VOCABULARY = FakeRunner(FakeOptions())


def cost_s(rows):
    """Return what a step took on the two cores that llama.cpp was measured on."""
    decoding = sum(len(row.tokens) == 1 for row in rows)
    read = sum(len(row.tokens) for row in rows) - decoding
    return TILE_S * ceil(decoding / 4) + TOKEN_S * read


def rates(owners, num_tokens=96, num_prompt=90):
    """Let each ask once at the same time; return tokens a second of each, first token to last."""
    scheduler = make_scheduler(num_slots=len(owners), max_batch_tokens=512, quantum_tokens=64)
    budget = PrefillBudget(512, 0.017)
    for index, owner in enumerate(owners):
        scheduler.add(make(str(index), owner, num=num_prompt, max_tokens=num_tokens))
    now_s, begun, ended = 0.0, {}, {}
    while len(ended) < len(owners):
        scheduler.admit(now_s)
        num_decoding = scheduler.num_decoding
        rows = scheduler.schedule(
            budget.tokens(num_decoding=num_decoding), budget.tokens_in(SURPLUS_SHARE)
        )
        assert rows
        step_s = cost_s(rows)
        now_s += step_s
        results = [Sampled(A) if row.sample else None for row in rows]
        for sequence in scheduler.update(rows, results, VOCABULARY, now_s):
            if sequence.num_reply == 1:
                begun[sequence.request_id] = now_s
            if sequence.num_reply == num_tokens:
                ended[sequence.request_id] = now_s
        budget.note(sum(len(row.tokens) for row in rows), step_s)
        scheduler.note_step(rows, step_s)
    return {name: (num_tokens - 1) / (ended[name] - begun[name]) for name in ended}


def test_eight_requests_of_one_owner_hardly_slow_the_others():
    even = rates(["ann", "bob", "cyd", "dan"])
    crowded = rates(["ann"] * 8 + ["bob", "cyd", "dan"])
    for own, before in zip(["8", "9", "10"], ["1", "2", "3"], strict=True):
        assert crowded[own] >= 0.8 * even[before]


def read(scheduler, num_steps, surplus_tokens, max_prefill=64):
    """Return how many prompt tokens each owner read."""
    num = {}
    for _ in range(num_steps):
        scheduler.admit(1.0)
        before = {s.slot: s for s in scheduler._running.values()}
        rows = scheduler.schedule(max_prefill, surplus_tokens)
        for row in rows:
            if before[row.slot].num_unread > 1:
                owner = before[row.slot].owner
                num[owner] = num.get(owner, 0) + len(row.tokens)
        results = [Sampled(A) if row.sample else None for row in rows]
        scheduler.update(rows, results, VOCABULARY, 1.0)
    return num


def writing(*owners, num_slots=6):
    scheduler = make_scheduler(num_slots=num_slots, max_batch_tokens=512)
    for owner in owners:
        scheduler.add(make(f"writes {owner}", owner, num=3, max_tokens=400))
    for _ in range(2):
        step(scheduler)
    assert scheduler.num_decoding == len(owners)
    return scheduler


def test_second_prompt_of_one_who_writes_is_read_slowly_beside_others():
    scheduler = writing("ann", "bob")
    scheduler.add(make("more", "ann", num=300, max_tokens=400))
    num = read(scheduler, 100, 1.0)["ann"]
    assert 100 - LEAST_TOKENS <= num <= 110


@pytest.mark.parametrize(
    ("writes", "asks", "is_slow"),
    [
        (Priority.API, Priority.CHAT, False),
        (Priority.API, Priority.API, True),
        (Priority.CHAT, Priority.CHAT, True),
        (Priority.CHAT, Priority.API, True),
    ],
)
def test_chat_does_not_give_way_to_what_a_program_of_the_same_owner_has_written(
    writes, asks, is_slow
):
    scheduler = writing("bob")
    scheduler.add(make("program", "ann", num=3, priority=writes, max_tokens=400))
    for _ in range(2):
        step(scheduler)
    scheduler.add(make("more", "ann", num=300, priority=asks, max_tokens=400))
    assert (read(scheduler, 5, 1.0).get("ann", 0) < 299) is is_slow


def test_share_of_a_second_prompt_grows_with_waiting():
    scheduler = make_scheduler(num_slots=3, max_batch_tokens=512)
    writers = [make(f"writes {i}", f"owner{i}", num=3, max_tokens=490) for i in range(2)]
    for writer in writers:
        scheduler.add(writer)
    for _ in range(2):
        step(scheduler)
    scheduler.add(make("more", "owner0", num=400, max_tokens=400))
    early = read(scheduler, 200, 0.5)["owner0"]
    read(scheduler, 90, 0.5)
    late = read(scheduler, 150, 0.5)["owner0"]
    assert early <= 0.5 * 200 + LEAST_TOKENS
    assert late >= 0.5 * 150 * 1.2


def test_second_prompt_of_one_who_writes_alone_is_read_at_once():
    scheduler = writing("ann")
    scheduler.add(make("more", "ann", num=300, max_tokens=400))
    assert read(scheduler, 5, 1.0)["ann"] >= 299


def test_newcomer_is_read_at_once_and_before_what_may_wait():
    scheduler = writing("ann", "bob")
    scheduler.add(make("more", "ann", num=300, max_tokens=400))
    scheduler.add(make("new", "cyd", num=300, max_tokens=400))
    assert read(scheduler, 5, 1.0) == {"cyd": 299}


def test_background_prompt_is_read_slowly_while_anybody_writes():
    scheduler = writing("ann")
    scheduler.add(make("title", "bob", num=300, priority=Priority.BACKGROUND, max_tokens=9))
    assert read(scheduler, 100, 1.0)["bob"] <= 110
    scheduler.abort("writes ann")
    assert read(scheduler, 5, 1.0)["bob"] >= 180


def test_surplus_always_gets_on():
    scheduler = writing("ann", "bob")
    scheduler.add(make("more", "ann", num=40, max_tokens=400))
    read(scheduler, 380, 0.2)
    assert scheduler.num_decoding == 3


def test_budget_knows_what_a_share_of_a_step_is_worth():
    budget = PrefillBudget(512, 0.017)
    assert budget.tokens_in(0.5) == 0.5  # nothing is measured yet: a token a step at most
    for _ in range(20):
        budget.note(1, 0.040)
        budget.note(101, 0.040 + 0.5)
    assert abs(budget.tokens_in(0.25) - 2.0) < 0.2
