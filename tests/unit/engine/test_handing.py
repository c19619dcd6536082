"""The loop where prompts of one owner begin alike: read once, said as if alone, whoever leaves."""

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.engine.fake_runner import FakeOptions, FakeRunner
from tests.unit.engine.test_generation_loop import (
    Clock,
    Job,
    Unsteady,
    alone,
    check_nothing_is_left,
    request_of,
    run,
    send,
    text_of,
)
from webui.engine.generation_loop import GenerationLoop
from webui.engine.handing import MAX_PAUSE_S
from webui.engine.interface import Priority
from webui.engine.mail import Aborted, Announced, Prepared
from webui.engine.prefill_budget import PrefillBudget
from webui.engine.prefix_cache import PrefixCache
from webui.engine.scheduler import Scheduler
from webui.engine.states import MIN_STATE_TOKENS

A, B, C = 97, 98, 99
CONTEXT = 512
OPTIONS = FakeOptions(slots=4, context_length=CONTEXT, max_batch_tokens=64)


def make(runner=None, look_s=0.003, **options):
    """Return a runner and a loop without states in memory: what is reused was copied."""
    runner = runner or FakeRunner(OPTIONS.model_copy(update=options))
    clock = Clock(look_s)
    budget = PrefillBudget(runner.max_batch_tokens, first_token_s=0.05)
    scheduler = Scheduler(
        runner.info,
        max_batch_tokens=runner.max_batch_tokens,
        reserved_reply_tokens=6,
        quantum_tokens=4,
    )
    return runner, GenerationLoop(runner, budget, clock, scheduler, PrefixCache(0))


def job(prompt, owner="ann", seed=0, num=3, **fields):
    fields = {"ignores_eos": True} | fields
    return Job(owner, tuple(prompt), num, (), seed, **fields)


def check(got, load):
    for name, one in enumerate(load):
        assert text_of(got[str(name)]) == text_of(alone(one, CONTEXT))


def cached(got):
    return [deltas[-1].usage.cached_tokens for _, deltas in sorted(got.items())]


@pytest.mark.parametrize("can_cut", [True, False])
@pytest.mark.parametrize("num", [2, 4])
def test_prompt_of_several_replies_is_read_once(num, can_cut):
    runner, loop = make(can_cut=can_cut)
    load = [job([A] * 400, seed=seed) for seed in range(num)]
    got = run(loop, load)
    check(got, load)
    assert len({text_of(deltas) for deltas in got.values()}) == num
    # All but the last token once; that one, and two of the reply, by each.
    assert runner.num_tokens_read == 399 + 3 * num
    assert cached(got) == [0] + [399] * (num - 1)
    assert loop.present.num_slot_tokens == 399 * (num - 1)
    assert runner.num_saved == 1
    check_nothing_is_left(loop)


@pytest.mark.parametrize("can_cut", [True, False])
def test_common_beginning_of_different_prompts_is_read_once(can_cut):
    runner, loop = make(can_cut=can_cut)
    load = [job([A] * 300 + [B + at] * 40) for at in range(4)]
    got = run(loop, load)
    check(got, load)
    # That a memory cannot be cut is found out by the first copy.
    assert runner.num_tokens_read == (1 if can_cut else 2) * 300 + 4 * (40 + 2)
    assert sorted(cached(got)) == [0, 300 if can_cut else 0, 300, 300]


def test_beginnings_within_beginnings_are_read_once():
    runner, loop = make()
    load = [job([A] * 200 + [B] * branch + [C] * 20) for branch in (0, 0, 150, 150)]
    load[1], load[3] = (job([*one.prompt, B, B, B]) for one in (load[1], load[3]))
    got = run(loop, load)
    check(got, load)
    assert runner.num_tokens_read == 200 + 19 + 3 + 150 + 19 + 3 + 4 * 3
    check_nothing_is_left(loop)


def test_who_comes_while_another_reads_goes_on_from_there():
    runner, loop = make()
    load = [job([A] * 400), job([A] * 400, seed=1, arrives=3)]
    check(run(loop, load), load)
    assert runner.num_tokens_read == 399 + 3 + 3


@pytest.mark.parametrize(("can_cut", "num_read"), [(True, 399 + 60 + 3), (False, 2 * 399 + 63)])
def test_who_comes_while_another_writes_takes_its_prompt(can_cut, num_read):
    runner, loop = make(can_cut=can_cut)
    load = [job([A] * 400, num=60), job([A] * 400, seed=1, arrives=30)]
    got = run(loop, load)
    check(got, load)
    assert runner.num_tokens_read == num_read
    assert cached(got)[1] == (399 if can_cut else 0)
    check_nothing_is_left(loop)


def test_memory_that_cannot_be_cut_is_tried_once():
    runner, loop = make(can_cut=False)
    load = [job([A] * 400, num=60), *(job([A] * 400, seed=s, arrives=30 * s) for s in (1, 2))]
    check(run(loop, load), load)
    assert runner.num_saved <= 2
    assert not loop._scheduler.following.can_cut


def test_other_owners_read_for_themselves():
    runner, loop = make()
    load = [job([A] * 400, owner) for owner in ("ann", "bob", "cid", "ann")]
    got = run(loop, load)
    check(got, load)
    assert runner.num_tokens_read == 3 * 399 + 4 * 3
    assert cached(got) == [0, 0, 0, 399]


def test_prompts_of_other_scales_are_read_for_themselves():
    _, loop = make(adapters=2)
    load = [job([A] * 300, scales=scales) for scales in ((1.0, 0.0), (0.0, 2.0), (1.0, 0.0))]
    got = run(loop, load)
    check(got, load)
    assert cached(got) == [0, 0, 299]


@pytest.mark.parametrize("can_cut", [True, False])
@pytest.mark.parametrize("leaves", range(24))
def test_when_the_reader_leaves_the_next_reads_on(leaves, can_cut):
    runner, loop = make(can_cut=can_cut)
    load = [job([A] * 400, leaves=leaves), job([A] * 400, seed=1), job([A] * 400, seed=2)]
    got = run(loop, load)
    for name in (1, 2):
        assert text_of(got[str(name)]) == text_of(alone(load[name], CONTEXT))
    # The next one takes over what the first left behind, if that is worth a copy.
    assert runner.num_tokens_read < 399 + 3 * 3 + MIN_STATE_TOKENS
    check_nothing_is_left(loop)


def test_all_leave_at_once_and_nothing_is_copied():
    runner, loop = make()
    for name in "abcd":
        send(loop, job([A] * 400), name)
    for _ in range(3):
        loop.step()
    for name in "abcd":
        loop.take(Aborted(name))
    assert not loop.has_work
    assert runner.num_saved == 0
    check_nothing_is_left(loop)


def test_reader_that_leaves_no_trace_leaves_nothing_to_go_on_from():
    runner, loop = make()
    loop.take(Announced("first"))
    request = msgspec.structs.replace(request_of(job([A] * 400), "first"), keep_state=False)
    loop.take(Prepared(request, [A] * 400, 0.0))
    send(loop, job([A] * 400, seed=1), "second")
    for _ in range(3):
        loop.step()
    loop.take(Aborted("first"))
    assert all(not cells for cells in runner._cells.values())
    told = []
    while loop.has_work:
        told += [output.delta for message in loop.step() for output in message.items]
    assert text_of(told) == text_of(alone(job([A] * 400, seed=1), CONTEXT))
    check_nothing_is_left(loop)


def test_prompt_of_which_no_state_can_be_had_is_read_by_each():
    runner, loop = make()
    runner.save_state = lambda slot: None
    load = [job([A] * 400, seed=seed) for seed in range(3)]
    check(run(loop, load), load)
    assert runner.num_tokens_read == 3 * (399 + 3)
    check_nothing_is_left(loop)


def test_copy_that_does_not_fit_is_read_anew_and_not_tried_again():
    runner, loop = make()
    tried = []
    runner.load_state = lambda slot, data, num_tokens: tried.append(slot)
    load = [job([A] * 400, seed=seed) for seed in range(3)]
    got = run(loop, load)
    check(got, load)
    assert len(tried) == 2
    assert cached(got) == [0, 0, 0]
    assert loop._scheduler.following.alone == set(), "it is remembered of one who is gone"


def test_copies_are_spread_while_others_write():
    runner, loop = make(look_s=2 * MAX_PAUSE_S, slots=6)
    writes = job([C] * 5, "bob", num=80)
    load = [writes, *(job([A] * 200, seed=seed, arrives=3) for seed in range(5))]
    steps = []
    restored = 0

    def note(rows):
        nonlocal restored
        steps.append(runner.num_restored - restored)
        restored = runner.num_restored

    runner.on_step = note
    check(run(loop, load), load)
    assert runner.num_restored == 4
    assert max(steps) == 1, "more than one copy between two steps"
    assert runner.num_saved == 1, "what waits for its copy keeps it"
    assert loop._handing._copies == {}


def test_long_state_is_not_copied_for_a_short_beginning():
    runner, loop = make()
    load = [job([A] * 60 + [B] * 430, num=20), job([A] * 60 + [C] * 30, seed=1, arrives=15)]
    got = run(loop, load)
    check(got, load)
    assert cached(got) == [0, 0]
    assert runner.num_saved == 0


def test_background_reader_leads_no_chat():
    runner, loop = make()
    load = [
        job([A] * 400, priority=Priority.BACKGROUND),
        job([A] * 400, seed=1, arrives=2),
    ]
    got = run(loop, load)
    check(got, load)
    assert runner.num_tokens_read <= 399 + 6 + 64, "what it had read served the chat"
    assert cached(got)[1] > 0


@pytest.mark.parametrize("num_other", [1, 2])
def test_led_ones_give_up_their_slots_before_who_reads_for_them(num_other):
    runner, loop = make(context_length=8192, slots=3)
    load = [
        *(job([A] * 4000, seed=seed) for seed in range(3)),
        *(job([B] * 30, f"other{at}", arrives=25) for at in range(num_other)),
    ]
    got = run(loop, load)
    for name, one in enumerate(load):
        assert text_of(got[str(name)]) == text_of(alone(one, 8192))
    # Who gave up its slot waits until others end, and reads nothing twice.
    assert runner.num_tokens_read <= 3999 + 3 * 3 + num_other * (30 + 2) + 10
    check_nothing_is_left(loop)


beginnings = st.sampled_from([[A] * 150, [A] * 300, [B] * 200, [B] * 20, [A] * 290 + [B] * 9])
likes = st.builds(
    lambda owner, start, tail, seed, priority, arrives, leaves: job(
        [*start, *tail],
        owner,
        seed,
        num=5,
        priority=priority,
        arrives=arrives,
        leaves=leaves,
        ignores_eos=False,
    ),
    st.sampled_from(["ann", "ann", "bob"]),
    beginnings,
    st.sampled_from([[], [C], [C, C], [B] * 40]),
    st.integers(-1, 2),
    st.sampled_from(Priority),
    st.sampled_from([0, 0, 1, 3, 8]),
    st.one_of(st.none(), st.none(), st.integers(0, 25)),
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    load=st.lists(likes, min_size=1, max_size=8),
    num_slots=st.integers(1, 5),
    kv_cells=st.sampled_from([None, CONTEXT, 900]),
    can_cut=st.booleans(),
    steady_steps=st.sampled_from([0, 2, 5]),
    max_batch_tokens=st.sampled_from([4, 64, 300]),
)
def test_any_load_of_like_prompts_says_what_each_would_alone(
    load, num_slots, kv_cells, can_cut, steady_steps, max_batch_tokens
):
    options = FakeOptions(
        slots=num_slots,
        context_length=CONTEXT,
        kv_cells=kv_cells,
        can_cut=can_cut,
        max_batch_tokens=max(max_batch_tokens, num_slots),
    )
    _, loop = make(Unsteady(options, steady_steps))
    got = run(loop, load)
    for name, one in enumerate(load):
        together, single = got[str(name)], alone(one, CONTEXT)
        if one.leaves is None:
            assert text_of(together) == text_of(single)
        else:
            assert text_of(single).startswith(text_of(together))
    check_nothing_is_left(loop)
