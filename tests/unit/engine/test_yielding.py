"""How soon one who has all slots gives one up to one who has none."""

import pytest

from tests.unit.engine.contract import make_request
from tests.unit.engine.fake_runner import FakeOptions, FakeRunner
from webui.engine.interface import Priority
from webui.engine.runner import Sampled
from webui.engine.scheduler import Scheduler
from webui.engine.sequence import Phase, Sequence

VOCABULARY = FakeRunner()
STEP_S, CHUNK, CONTEXT = 0.03, 64, 65536


def make(name, owner, num, **fields):
    request = make_request("", owner=owner, request_id=name, **fields)
    return Sequence(request, [1] * num, context_length=CONTEXT, arrived_s=0.0)


def make_scheduler(num_slots):
    info = FakeRunner(FakeOptions(slots=num_slots, context_length=CONTEXT)).info
    return Scheduler(info, max_batch_tokens=512)


def step(scheduler, now_s):
    scheduler.admit(now_s)
    scheduler.grow()
    rows = scheduler.schedule(CHUNK)
    results = [Sampled(ord("a")) if row.sample else None for row in rows]
    scheduler.update(rows, results, VOCABULARY, now_s)


@pytest.mark.parametrize("comes_at", [20, 1000, 3000])
@pytest.mark.parametrize("fields", [{}, {"seed": 5}, {"context_overflow": "shift", "seed": 5}])
@pytest.mark.parametrize("num", [20, 4000, 30000])
def test_owner_with_all_slots_keeps_nobody_waiting_for_long(num, fields, comes_at):
    """Her replies are endless; others come while her first prompts are read, or later."""
    scheduler = make_scheduler(num_slots=4)
    for i in range(8):
        scheduler.add(make(f"a{i}", "ann", num, max_tokens=30000, temperature=1.0, **fields))
    for number in range(comes_at):
        step(scheduler, number * STEP_S)
    chat = make("chat", "bob", 10, max_tokens=1)
    scheduler.add(chat)
    for number in range(comes_at, comes_at + 600):
        step(scheduler, number * STEP_S)
        if chat.phase is not Phase.WAITING:
            return
    raise AssertionError("it waits")


@pytest.mark.parametrize("num_given_up", [0, 1, 3])
def test_prompt_that_had_to_begin_anew_is_read_on_for_longer(num_given_up):
    scheduler = make_scheduler(num_slots=2)
    for i in range(2):
        sequence = make(f"a{i}", "ann", 30000)
        sequence.num_given_up = num_given_up
        scheduler.add(sequence)
    step(scheduler, 0.0)
    scheduler.add(make("chat", "bob", 10))
    most = 0
    while not any(s.owner == "bob" for s in scheduler.everybody if s.slot >= 0):
        most = max(s.num_read for s in scheduler.everybody)
        assert most < 29000, "it waits for the whole prompt"
        step(scheduler, 0.0)
    assert most >= 1024 << num_given_up


@pytest.mark.parametrize(
    ("fields", "least"),
    [({"seed": 5}, 512), ({}, 0), ({"seed": 5, "is_seed_drawn": True}, 0)],
)
@pytest.mark.parametrize("why", ["its context was shifted", "it leaves no trace"])
def test_seed_that_would_not_hold_does_so_for_a_long_quantum(fields, least, why):
    scheduler = make_scheduler(num_slots=1)
    back = make("back", "ann", 10, max_tokens=3000, priority=Priority.BACKGROUND, **fields)
    scheduler.add(back)
    for number in range(20):
        step(scheduler, number * STEP_S)
    if why == "it leaves no trace":
        back.keeps_state = False
    else:
        back.shift(2, 6)
    chat = make("chat", "bob", 10, max_tokens=1)
    scheduler.add(chat)
    while chat.phase is Phase.WAITING:
        step(scheduler, 1.0)
    assert least <= back.num_reply <= 540
    assert back.num_reply < least + 100
