"""Who begins together, who waits for nobody, and how steps are filled meanwhile."""

import pytest

from tests.unit.engine.test_scheduler import make, make_scheduler, step
from webui.engine.gathering import MAX_HELD_SHARE
from webui.engine.interface import Priority

BUDGET = 64


def gathered(scheduler, num_steps=400, later=()):
    """Run; return in which step each request wrote its first token.

    Args:
        later: Pairs of a step and the sequence that comes then.
    """
    later = dict(later)
    first = {}
    for number in range(num_steps):
        if number in later:
            scheduler.add(later.pop(number))
        rows, touched = step(scheduler, max_prefill=BUDGET, now_s=float(number))
        assert rows, "nobody goes on"
        for sequence in touched:
            if sequence.num_reply:
                first.setdefault(sequence.request_id, number)
        if not later and len(first) == scheduler.num_running and not scheduler.num_waiting:
            return first
    raise AssertionError(f"not all begin: {first}")


@pytest.mark.parametrize("num", [2, 4, 8])
def test_those_who_ask_together_begin_together(num):
    scheduler = make_scheduler(num_slots=num, max_batch_tokens=512)
    for index in range(num):
        scheduler.add(make(f"r{index}", f"owner{index}", num=80 + index, max_tokens=99))
    first = gathered(scheduler)
    assert len(first) == num
    assert len(set(first.values())) == 1


def test_who_comes_while_the_first_prompt_is_read_begins_with_it():
    scheduler = make_scheduler(num_slots=2, max_batch_tokens=512)
    scheduler.add(make("a", num=50, max_tokens=99))
    first = gathered(scheduler, later=[(1, make("b", "bob", num=60, max_tokens=99))])
    assert first["a"] == first["b"]


def test_short_question_does_not_wait_for_a_long_document():
    scheduler = make_scheduler(num_slots=2, max_batch_tokens=512)
    scheduler.add(make("short", num=20, max_tokens=99))
    scheduler.add(make("long", "bob", num=400, max_tokens=99))
    first = gathered(scheduler)
    assert first["short"] <= 2 < first["long"]


def test_waiting_is_bounded_by_what_the_own_prompt_took():
    scheduler = make_scheduler(num_slots=32, max_batch_tokens=512)
    for index in range(32):
        scheduler.add(make(f"r{index}", f"owner{index}", num=65, max_tokens=999))
    first = gathered(scheduler)
    assert min(first.values()) <= MAX_HELD_SHARE + 3


def test_nobody_is_held_for_one_who_came_later():
    scheduler = make_scheduler(num_slots=3, max_batch_tokens=512)
    scheduler.add(make("a", num=60, max_tokens=99))
    scheduler.add(make("b", "bob", num=100, max_tokens=99))
    # While a waits for b, another comes with a prompt that it could wait for.
    first = gathered(scheduler, later=[(2, make("c", "cyd", num=180, max_tokens=99))])
    assert first["a"] == first["b"] < first["c"]


def test_nobody_is_held_once_somebody_writes():
    scheduler = make_scheduler(num_slots=3, max_batch_tokens=512)
    scheduler.add(make("writes", num=3, max_tokens=99))
    step(scheduler, max_prefill=BUDGET)
    scheduler.add(make("a", "bob", num=40, max_tokens=99))
    scheduler.add(make("b", "cyd", num=200, max_tokens=99))
    first = gathered(scheduler)
    assert first["a"] < first["b"]


def test_nobody_waits_for_background_work():
    scheduler = make_scheduler(num_slots=2, max_batch_tokens=512)
    scheduler.add(make("title", "bob", num=60, priority=Priority.BACKGROUND, max_tokens=99))
    scheduler.add(make("a", num=40, max_tokens=99))
    first = gathered(scheduler)
    assert first["a"] == 1


def test_who_waits_goes_on_when_the_other_leaves():
    scheduler = make_scheduler(num_slots=2, max_batch_tokens=512)
    scheduler.add(make("a", num=100, max_tokens=99))
    scheduler.add(make("b", "bob", num=300, max_tokens=99))
    for _ in range(4):
        _, touched = step(scheduler, max_prefill=BUDGET)
        assert all(not sequence.num_reply for sequence in touched)
    scheduler.abort("b")
    first = gathered(scheduler)
    assert first["a"] <= 1


def test_last_token_of_a_prompt_is_read_by_itself_whoever_else_is_there():
    def shapes(num, *others):
        scheduler = make_scheduler(num_slots=4, max_batch_tokens=512)
        for index, other in enumerate(others):
            scheduler.add(make(f"other{index}", f"owner{index}", num=other, max_tokens=99))
        scheduler.add(make("a", "ann", num=num, max_tokens=99))
        lengths = []
        for _ in range(40):
            scheduler.admit(0.0)
            mine = next(s for s in scheduler._running.values() if s.request_id == "a")
            before = mine.num_read
            step(scheduler, max_prefill=BUDGET)
            if mine.num_read > before and mine.num_reply <= 1:
                lengths.append(mine.num_read - before)
        return lengths

    for num in (2, 3, 50, 65, 66, 67, 129, 130, 200):
        for others in ((), (3,), (40, 90), (66, 66, 66)):
            lengths = shapes(num, *others)
            assert sum(lengths) == num
            assert lengths[-1] == 1
            assert 1 not in lengths[:-1] or num == 2


def test_chunks_fill_whole_tiles():
    scheduler = make_scheduler(num_slots=4, max_batch_tokens=512)
    scheduler.add(make("writes", num=3, max_tokens=99))
    for _ in range(2):
        step(scheduler, max_prefill=BUDGET)
    scheduler.add(make("a", "bob", num=400, max_tokens=99))
    scheduler.admit(0.0)
    rows = scheduler.schedule(30)
    assert [len(row.tokens) for row in rows] == [1, 32]


def test_rows_never_exceed_the_bound_of_a_step():
    scheduler = make_scheduler(num_slots=4, max_batch_tokens=6)
    for index in range(4):
        scheduler.add(make(f"r{index}", f"owner{index}", num=9, max_tokens=20))
    for _ in range(60):
        rows, _ = step(scheduler, max_prefill=600)
        assert sum(len(row.tokens) for row in rows) <= 6


def test_rounding_up_never_goes_beyond_a_prompt():
    scheduler = make_scheduler(num_slots=3, max_batch_tokens=64)
    scheduler.add(make("writes", num=3, max_tokens=99))
    for _ in range(2):
        step(scheduler, max_prefill=BUDGET)
    scheduler.add(make("a", "bob", num=8, max_tokens=99))
    scheduler.admit(0.0)
    rows = scheduler.schedule(6)
    assert [(len(row.tokens), row.sample) for row in rows] == [(1, True), (7, False)]
