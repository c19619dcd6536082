from collections import Counter

import pytest

from tests.unit.engine.contract import make_request
from tests.unit.engine.fake_runner import EOS, FakeOptions, FakeRunner
from webui.engine.interface import FinishReason, Priority, Queued
from webui.engine.runner import Sampled
from webui.engine.scheduler import Admitted, Scheduler
from webui.engine.sequence import Phase, Sequence
from webui.engine.waiting import AGING_S, WaitingQueue
from webui.errors import Busy

VOCABULARY = FakeRunner()
A = ord("a")


def make(name, owner="ann", num=3, **fields):
    request = make_request("", owner=owner, request_id=name, **fields)
    return Sequence(request, [1] * num, context_length=512, arrived_s=0.0)


def make_scheduler(num_slots=2, max_batch_tokens=16, kv_cells=None, quantum_tokens=4, **bounds):
    info = FakeRunner(FakeOptions(slots=num_slots, kv_cells=kv_cells)).info
    return Scheduler(
        info,
        max_batch_tokens=max_batch_tokens,
        waiting=WaitingQueue(**bounds),
        reserved_reply_tokens=20,
        quantum_tokens=quantum_tokens,
    )


def step(scheduler, token=A, max_prefill=16, now_s=1.0):
    """Admit, schedule, answer every sample with `token`; return rows and what was touched."""
    scheduler.admit(now_s)
    rows = scheduler.schedule(max_prefill)
    results = [Sampled(token) if row.sample else None for row in rows]
    return rows, scheduler.update(rows, results, VOCABULARY, now_s)


def places_of(scheduler, now_s):
    return {name: queued.place for name, queued in scheduler.outlook(now_s).items()}


def served(scheduler, num_steps=1000):
    """Run to the end, one token a reply; return the names in the order of their ends."""
    names = []
    for _ in range(num_steps):
        _, touched = step(scheduler, token=EOS)
        names += [s.request_id for s in touched if s.phase is Phase.ENDED]
        if not (scheduler.num_running or scheduler.num_waiting):
            return names
    raise AssertionError("it does not end")


def test_decode_comes_first_and_prefill_fills_the_step():
    scheduler = make_scheduler()
    scheduler.add(make("old", num=3))
    for _ in range(2):
        step(scheduler)
    scheduler.add(make("new", "bob", num=40))
    scheduler.admit(0.0)
    rows = scheduler.schedule(100)
    assert [(len(row.tokens), row.position, row.sample) for row in rows] == [
        (1, 3, True),
        (15, 0, False),
    ]
    assert rows[0].tokens == [A]


def test_prompt_is_read_in_chunks_and_sampled_after_the_last():
    scheduler = make_scheduler()
    scheduler.add(make("r", num=10))
    shapes = []
    for _ in range(5):
        rows, _ = step(scheduler, max_prefill=4)
        shapes += [(row.position, len(row.tokens), row.sample) for row in rows]
    # Neither a lone token in the middle, nor the last one beside others.
    assert shapes == [(0, 4, False), (4, 3, False), (7, 2, False), (9, 1, True), (10, 1, True)]


def test_two_owners_take_turns_reading():
    scheduler = make_scheduler()
    scheduler.add(make("a1", "ann", num=12))
    scheduler.add(make("b1", "bob", num=12))
    readers = []
    for _ in range(6):
        _, touched = step(scheduler, max_prefill=4)
        readers += [s.request_id for s in touched]
    assert readers[:4] in (["a1", "b1", "a1", "b1"], ["b1", "a1", "b1", "a1"])


def test_eight_requests_of_one_person_get_one_persons_share():
    scheduler = make_scheduler(num_slots=1)
    for i in range(8):
        scheduler.add(make(f"a{i}", "ann"))
    scheduler.add(make("b0", "bob"))
    scheduler.add(make("b1", "bob"))
    scheduler.add(make("c0", "cid"))
    names = served(scheduler)
    assert names[:5] == ["a0", "b0", "c0", "a1", "b1"]
    assert names[5:] == [f"a{i}" for i in range(2, 8)]


def test_person_with_nothing_running_gets_the_next_free_slot():
    scheduler = make_scheduler(num_slots=2)
    for i in range(4):
        scheduler.add(make(f"a{i}", "ann", max_tokens=5))
    step(scheduler)
    scheduler.add(make("b0", "bob", max_tokens=5))
    while scheduler.num_waiting == 3:
        step(scheduler)
    scheduler.admit(0.0)
    assert "b0" not in places_of(scheduler, 0.0)


def test_chat_goes_before_api_before_background():
    scheduler = make_scheduler(num_slots=1)
    for name, priority in (("z", 2), ("y", 1), ("x", 0), ("w", 0)):
        scheduler.add(make(name, priority=Priority(priority)))
    assert served(scheduler) == ["x", "w", "y", "z"]


def test_places_foretell_the_order_of_service():
    scheduler = make_scheduler(num_slots=1)
    for name, owner in (("a0", "ann"), ("a1", "ann"), ("a2", "ann"), ("b0", "bob"), ("c0", "cid")):
        scheduler.add(make(name, owner))
    places = places_of(scheduler, 0.0)
    assert sorted(places.values()) == [1, 2, 3, 4, 5]
    assert served(scheduler) == sorted(places, key=places.get)


def test_full_queue_is_busy_for_all():
    scheduler = make_scheduler(max_waiting=2)
    scheduler.add(make("a", "ann"))
    scheduler.add(make("b", "bob"))
    with pytest.raises(Busy, match="2 replies") as caught:
        scheduler.add(make("c", "cid"))
    assert caught.value.retry_after_s > 0


def test_full_part_of_the_queue_is_busy_for_its_owner_only():
    scheduler = make_scheduler(max_waiting_per_owner=1)
    scheduler.add(make("a", "ann"))
    with pytest.raises(Busy, match="Your part"):
        scheduler.add(make("b", "ann"))
    scheduler.add(make("c", "bob"))


def test_abort_frees_the_slot_and_keeps_what_was_read():
    scheduler = make_scheduler(num_slots=1)
    scheduler.add(make("a", num=10))
    step(scheduler, max_prefill=8)
    assert scheduler.abort("a") is not None
    assert scheduler.num_running == 0
    scheduler.add(make("b", num=12))
    placed = scheduler.admit(0.0).placed
    assert [(s.request_id, s.num_cached) for s in placed] == [("b", 7)]


def test_abort_of_one_who_waits_and_of_nobody():
    scheduler = make_scheduler()
    scheduler.add(make("a"))
    assert scheduler.abort("a") is not None
    assert scheduler.abort("a") is None
    assert (scheduler.num_waiting, places_of(scheduler, 0.0)) == (0, {})
    assert scheduler.admit(0.0) == Admitted([], {})


def test_failed_step_drops_its_sequences_and_doubts_their_cells():
    scheduler = make_scheduler(num_slots=1)
    scheduler.add(make("a", num=10))
    step(scheduler, max_prefill=6)
    rows = scheduler.schedule(16)
    assert [s.request_id for s in scheduler.fail(rows)] == ["a"]
    scheduler.add(make("b", num=10))
    assert scheduler.admit(0.0).placed[0].num_cached == 0


def test_max_tokens_context_and_eog_end_with_their_reasons():
    scheduler = make_scheduler(num_slots=3, max_batch_tokens=600)
    scheduler.add(make("max", max_tokens=2))
    scheduler.add(make("context", num=510))
    ended = {}
    for _ in range(4):
        _, touched = step(scheduler, max_prefill=600)
        ended |= {s.request_id: (s.finish_reason, s.num_reply) for s in touched}
    assert ended == {
        "max": (FinishReason.LENGTH, 2),
        "context": (FinishReason.CONTEXT, 2),
    }
    scheduler.add(make("eog"))
    _, touched = step(scheduler, token=EOS)
    assert [(s.finish_reason, s.num_reply) for s in touched] == [(FinishReason.STOP, 0)]


def test_prompt_as_long_as_the_context_gets_one_token():
    scheduler = make_scheduler(max_batch_tokens=600)
    scheduler.add(make("full", num=512))
    step(scheduler, max_prefill=600)  # all but the last token, to see who else comes
    _, touched = step(scheduler, max_prefill=600)
    assert [(s.finish_reason, s.num_reply) for s in touched] == [(FinishReason.CONTEXT, 1)]


def test_estimate_is_unknown_until_tokens_are_measured_then_counts_what_runs():
    scheduler = make_scheduler(num_slots=1)
    scheduler.add(make("a", max_tokens=19))
    step(scheduler, now_s=0.0)
    step(scheduler, now_s=1.0)
    scheduler.add(make("b", "bob", max_tokens=5))
    scheduler.add(make("c", "cem", max_tokens=5))
    assert scheduler.outlook(1.0) == {"b": Queued(1), "c": Queued(2)}
    for now_s in range(3, 17, 2):
        step(scheduler, now_s=float(now_s))
    told = []
    for now_s in (17.0, 19.0, 21.0):
        step(scheduler, now_s=now_s)
        told.append([queued.eta_s for queued in scheduler.outlook(now_s).values()])
    # Two seconds a token: the first has 10, 9, 8 more to write, the second five.
    assert told == [[20.0, 30.0], [18.0, 28.0], [16.0, 26.0]]


def test_full_queue_says_when_the_next_reply_ends():
    scheduler = make_scheduler(num_slots=1, max_waiting=1)
    scheduler.add(make("a", max_tokens=19))
    for now_s in (0, *range(1, 19, 2)):
        step(scheduler, now_s=float(now_s))
    scheduler.add(make("b"))
    with pytest.raises(Busy) as caught:
        scheduler.add(make("c"))
    assert caught.value.retry_after_s == 20.0


def test_owners_are_remembered_for_a_bounded_time():
    scheduler = make_scheduler(num_slots=1)
    for i in range(1200):
        scheduler.add(make(f"r{i}", f"o{i}"))
        for _ in range(2):
            step(scheduler, token=EOS)
    assert len(scheduler._served._served) <= 2
    assert not scheduler._waiting


def running(scheduler):
    return sorted(s.request_id for s in scheduler._running.values())


def test_background_gives_up_its_slot_at_once_and_comes_back():
    scheduler = make_scheduler(num_slots=1)
    scheduler.add(make("back", "ann", num=8, priority=Priority.BACKGROUND, max_tokens=9))
    for _ in range(3):
        step(scheduler)
    scheduler.add(make("chat", "bob", max_tokens=1))
    admitted = scheduler.admit(2.0)
    assert [s.request_id for s in admitted.placed] == ["chat"]
    assert {slot: s.request_id for slot, s in admitted.vacated.items()} == {0: "back"}
    assert places_of(scheduler, 2.0) == {"back": 1}
    names = served(scheduler)
    assert names == ["chat", "back"]


def test_surplus_of_one_owner_gives_way_after_its_quantum():
    scheduler = make_scheduler(num_slots=4, quantum_tokens=4)
    for i in range(4):
        scheduler.add(make(f"a{i}", "ann", max_tokens=99))
    for _ in range(2):
        step(scheduler)
    for i in range(4):
        scheduler.add(make(f"b{i}", "bob", max_tokens=99))
    for _ in range(3):
        step(scheduler)
        assert running(scheduler) == ["a0", "a1", "a2", "a3"]
    for _ in range(3):
        step(scheduler)
        assert [name[0] for name in running(scheduler)] == ["a", "a", "b", "b"]
    scheduler.add(make("c0", "cid", max_tokens=99))
    for _ in range(12):
        step(scheduler)
    assert sorted(Counter(name[0] for name in running(scheduler)).values()) == [1, 1, 2]


def test_reply_that_gave_up_its_slot_goes_on_where_it_stood():
    scheduler = make_scheduler(num_slots=1, quantum_tokens=4)
    sequence = make("back", "ann", num=5, priority=Priority.BACKGROUND, max_tokens=9)
    scheduler.add(sequence)
    for _ in range(5):
        step(scheduler)
    scheduler.add(make("chat", "bob", max_tokens=1))
    for _ in range(2):
        step(scheduler)
    read = [rows[0] for rows in (step(scheduler)[0], step(scheduler)[0])]
    assert [(list(row.tokens), row.position, row.sample) for row in read] == [
        ([1] * 5 + [A] * 3, 0, False),
        ([A], 8, True),
    ]
    assert (sequence.num_reply, sequence.usage().prompt_tokens) == (5, 5)


def test_request_waits_until_its_prompt_and_reserve_fit():
    scheduler = make_scheduler(num_slots=3, max_batch_tokens=600, kv_cells=512)
    scheduler.add(make("big", "ann", num=400, max_tokens=99))
    scheduler.add(make("late", "bob", num=93, max_tokens=99))
    scheduler.add(make("small", "cid", num=10, max_tokens=99))
    assert [s.request_id for s in scheduler.admit(0.0).placed] == ["big", "small"]
    scheduler.abort("big")
    assert [s.request_id for s in scheduler.admit(0.0).placed] == ["late"]


def test_nobody_overtakes_who_has_waited_long_for_room():
    scheduler = make_scheduler(num_slots=3, max_batch_tokens=600, kv_cells=512)
    scheduler.add(make("big", "ann", num=400, max_tokens=99))
    scheduler.admit(0.0)
    scheduler.add(make("late", "bob", num=93, max_tokens=99))
    scheduler.add(make("small", "cid", num=10, max_tokens=99))
    assert scheduler.admit(AGING_S).placed == []


def test_full_pool_ends_who_grows_and_nobody_else():
    scheduler = make_scheduler(num_slots=2, max_batch_tokens=600, kv_cells=512)
    scheduler.add(make("a", "ann", num=240, max_tokens=999))
    scheduler.add(make("b", "bob", num=200, max_tokens=40))
    num_reply = {}
    while scheduler.num_waiting or scheduler.num_running or not num_reply:
        ended = scheduler.grow()
        _, touched = step(scheduler, max_prefill=600)
        ended += [s for s in touched if s.phase is Phase.ENDED]
        num_reply |= {s.request_id: s.num_reply for s in ended}
        assert all(s.finish_reason == "length" for s in ended)
    assert min(num_reply.values()) >= 20, "what was reserved is granted"
    is_whole = [num_reply["a"] == 512 - 240, num_reply["b"] == 40]
    assert is_whole.count(False) == 1, "one gave way, and the other got all it asked for"


def test_rows_of_a_failed_step_run_one_at_a_time():
    scheduler = make_scheduler(num_slots=3, max_batch_tokens=16)
    for name in "abc":
        scheduler.add(make(name, name))
    step(scheduler)
    rows = scheduler.schedule(16)
    assert len(rows) == 3
    scheduler.doubt(rows)
    alone = [step(scheduler)[0] for _ in range(3)]
    assert [[row.slot for row in rows] for rows in alone] == [[0], [1], [2]]
    assert len(step(scheduler)[0]) == 3
