"""The loop with the tiers behind its slots: what is read again, what is not, and for whom."""

import queue
from array import array
from itertools import chain

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.engine.fake_runner import FakeOptions, FakeRunner
from tests.unit.engine.test_generation_loop import (
    Clock,
    Job,
    alone,
    check_cut_short,
    check_nothing_is_left,
    request_of,
    run,
    send,
    text_of,
)
from webui.engine import state_files
from webui.engine.disk_states import DiskStates
from webui.engine.generation_loop import GenerationLoop
from webui.engine.interface import Priority
from webui.engine.ipc import Outputs
from webui.engine.mail import Aborted, Announced, Prepared, Purged
from webui.engine.prefill_budget import PrefillBudget
from webui.engine.prefix_cache import PrefixCache
from webui.engine.scheduler import Scheduler
from webui.engine.states import SHARED_OWNER, Prefix, State

A, B, C = 97, 98, 99
OPTIONS = FakeOptions(slots=1, context_length=512, max_batch_tokens=64)


def make_loop(runner, cache=None):
    budget = PrefillBudget(runner.max_batch_tokens, first_token_s=0.05)
    scheduler = Scheduler(
        runner.info,
        max_batch_tokens=runner.max_batch_tokens,
        reserved_reply_tokens=6,
        quantum_tokens=4,
    )
    return GenerationLoop(runner, budget, Clock(0.003), scheduler, cache or PrefixCache())


def job(owner, prompt, num=3, **fields):
    return Job(owner, tuple(prompt), num, (), 0, **fields)


def cached(loop, load):
    got = run(loop, [load])["0"]
    assert text_of(got) == text_of(alone(load, 512)), "what was restored is not what was read"
    return got[-1].usage.cached_tokens


long_texts = st.lists(st.sampled_from([[A] * 50, [B] * 60, [C] * 30]), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.builds(
            lambda owner, parts, arrives, leaves, shared: (
                Job(
                    owner, (*[A] * shared, *chain.from_iterable(parts)), 12, (), 0, arrives, leaves
                ),
                shared,
            ),
            st.sampled_from(["ann", "bob", "cid"]),
            long_texts,
            st.integers(0, 40),
            st.one_of(st.none(), st.none(), st.integers(0, 30)),
            st.sampled_from([0, 0, 70]),
        ),
        max_size=8,
    ),
    st.integers(1, 3),
    st.sampled_from([None, 520, 700]),
    st.sampled_from([0, 1000, 4000, 1 << 20]),
    st.booleans(),
)
def test_any_load_writes_what_each_would_alone(load, num_slots, kv_cells, ram_bytes, can_cut):
    options = FakeOptions(slots=num_slots, context_length=512, kv_cells=kv_cells, can_cut=can_cut)
    loop = make_loop(FakeRunner(options), PrefixCache(ram_bytes))
    jobs = [job for job, _ in load]
    got = run(loop, jobs, num_shared={str(i): shared for i, (_, shared) in enumerate(load)})
    for name, one in enumerate(jobs):
        if one.leaves is not None:
            continue
        together, single = got[str(name)], alone(one, context_length=512)
        if kv_cells and together[-1].usage.completion_tokens != single[-1].usage.completion_tokens:
            check_cut_short(together, single)  # others needed the cells
        else:
            assert text_of(together) == text_of(single)
    check_nothing_is_left(loop)


def test_chat_that_lost_its_slot_is_not_read_again():
    runner = FakeRunner(OPTIONS)
    loop = make_loop(runner)
    assert cached(loop, job("ann", [A] * 100)) == 0
    assert cached(loop, job("bob", [B] * 100)) == 0
    before = runner.num_tokens_read
    assert cached(loop, job("ann", [A] * 100 + [C] * 5)) == 100
    assert runner.num_tokens_read - before <= 10
    assert runner.num_restored == 1


@pytest.mark.parametrize("seed", [-1, 3])
@pytest.mark.parametrize("num_prompt", [3, 30, 100])
def test_reply_that_gave_up_its_slot_is_not_read_again(num_prompt, seed):
    """However short: in one piece its tokens would not give the bits that they gave singly."""
    runner = FakeRunner(OPTIONS)
    loop = make_loop(runner)
    fields = {"priority": Priority.BACKGROUND, "ignores_eos": True}
    long = Job("ann", (A,) * num_prompt, 12, (), seed=seed, **fields)
    chat = job("bob", [B] * 100, arrives=6, ignores_eos=True)
    got = run(loop, [long, chat])
    assert runner.num_restored == 1
    assert runner.num_opened == 2, "its sampler went on as well"
    assert text_of(got["0"]) == text_of(alone(long, 512))
    assert runner.num_tokens_read == num_prompt + 12 + 100 + 3 - 2, "the last ones are never read"


def test_state_of_another_owner_is_never_used():
    loop = make_loop(FakeRunner(OPTIONS))
    cached(loop, job("ann", [A] * 100))
    cached(loop, job("bob", [B] * 100))
    assert cached(loop, job("eve", [A] * 100)) == 0
    assert cached(loop, job("eve", [A] * 100)) > 90, "her own she may use"


def test_request_that_leaves_no_trace_leaves_none(tmp_path):
    runner = FakeRunner(OPTIONS)
    loop, _, disk = with_disk(runner, tmp_path)
    play(loop, job("ann", [A] * 100), keep_state=False)
    assert runner._cells[0] == []
    loop.close()
    disk.close(5)
    assert list(tmp_path.glob("*/*")) == []
    assert cached(loop, job("ann", [A] * 100)) == 0


def play(loop, one, name="x", **fields):
    """Run one request with fields of its own; return its deltas."""
    request = msgspec.structs.replace(request_of(one, name), **fields)
    loop.take(Announced(name))
    loop.take(Prepared(request, list(one.prompt), 0.0))
    told = []
    while loop.has_work:
        for message in loop.step():
            assert isinstance(message, Outputs)
            told += [output.delta for output in message.items]
    return told


def with_disk(runner, root, max_bytes=1 << 20, ram_bytes=1 << 20):
    """Return a loop with a disk, and what takes the disk's mail to the loop."""
    mail = queue.SimpleQueue()
    disk = DiskStates(root, max_bytes, runner.info.state_key, mail.put)
    disk.start()
    loop = make_loop(runner, PrefixCache(ram_bytes, disk))

    def deliver():
        """Wait for one piece of mail and take it."""
        return loop.take(mail.get(timeout=10))

    deliver()  # what lies there
    return loop, deliver, disk


def test_yesterdays_chat_is_restored_after_a_restart(tmp_path):
    loop, _, _ = with_disk(FakeRunner(OPTIONS), tmp_path)
    play(loop, job("ann", [A] * 100))
    play(loop, job("bob", [B] * 100))
    loop.close()
    runner = FakeRunner(OPTIONS)
    loop, deliver, _ = with_disk(runner, tmp_path)
    one = job("ann", [A] * 100 + [C] * 5)
    loop.take(Announced("1"))
    assert loop.take(Prepared(request_of(one, "1"), list(one.prompt), 0.0)) == []
    assert loop.step() == []
    assert not loop.has_work, "it waits for the disk and keeps nobody busy"
    deliver()
    told = []
    while loop.has_work:
        told += [output.delta for message in loop.step() for output in message.items]
    assert text_of(told) == text_of(alone(one, context_length=512))
    assert told[-1].usage.cached_tokens == 100
    assert runner.num_tokens_read <= 10
    assert cached(loop, job("eve", [B] * 100)) == 0


def test_request_that_is_stopped_while_the_disk_reads_is_gone(tmp_path):
    loop, _, _ = with_disk(FakeRunner(OPTIONS), tmp_path)
    play(loop, job("ann", [A] * 100))
    loop.close()
    loop, deliver, _ = with_disk(FakeRunner(OPTIONS), tmp_path)
    send(loop, job("ann", [A] * 100 + [C] * 5), "1")
    loop.step()
    loop.take(Aborted("1"))
    deliver()
    assert not loop.has_work
    assert loop._cache.in_ram == []
    check_nothing_is_left(loop)


def test_idle_chat_is_written_before_anything_ends(tmp_path):
    loop, deliver, disk = with_disk(FakeRunner(OPTIONS), tmp_path)
    assert loop.idle_s is None
    play(loop, job("ann", [A] * 100))
    assert loop.idle_s is not None
    loop.idle()
    deliver()
    assert len(list(tmp_path.glob("*/*.state"))) == 1
    while loop.idle_s is not None:
        loop.idle()
    disk.close(5)
    assert len(list(tmp_path.glob("*/*.state"))) == 1, "once is enough"


def test_purge_reaches_slots_memory_and_disk(tmp_path):
    runner = FakeRunner(replace_options(slots=2))
    loop, deliver, disk = with_disk(runner, tmp_path)
    for number, letter in enumerate([A, B, C]):  # two lie in slots, one in memory
        play(loop, job("ann", [letter] * 100), conversation_id=f"c{number}")
    loop.idle()
    deliver()
    for number in range(3):
        loop.take(Purged("ann", f"c{number}"))
    assert all(not cells for cells in runner._cells.values())
    loop.close()
    disk.close(5)
    assert list(tmp_path.glob("*/*")) == []
    for letter in [A, B, C]:
        assert cached(loop, job("ann", [letter] * 100)) == 0


def test_purge_reaches_what_is_just_being_read():
    runner = FakeRunner(OPTIONS)
    loop = make_loop(runner)
    send(loop, job("ann", [A] * 100, num=5), "1")
    loop.step()
    loop.take(Purged("ann", None))
    while loop.has_work:
        loop.step()
    assert runner._cells[0] == []
    assert cached(loop, job("ann", [A] * 100)) == 0


@pytest.mark.parametrize(
    ("owner", "conversation_id", "num_cached"),
    [("ann", None, 0), ("ann", "c", 0), ("ann", "d", 100), ("bob", None, 100)],
)
def test_purge_reaches_what_was_not_read_yet(owner, conversation_id, num_cached):
    loop = make_loop(FakeRunner(OPTIONS))
    one = job("ann", [A] * 100)
    loop.take(Announced("1"))
    loop.take(Purged(owner, conversation_id))
    request = msgspec.structs.replace(request_of(one, "1"), conversation_id="c")
    loop.take(Prepared(request, list(one.prompt), 0.0))
    while loop.has_work:
        loop.step()
    assert cached(loop, job("ann", [A] * 100 + [C] * 5)) == num_cached


def replace_options(**fields):
    return OPTIONS.model_copy(update=fields)


@pytest.mark.parametrize("kv_cells", [None, 900])
def test_idle_chat_does_not_stay_in_a_shared_pool_while_others_write(kv_cells):
    """Attention runs up to the highest cell in use; what was read is kept all the same."""
    runner = FakeRunner(OPTIONS.model_copy(update={"slots": 3, "kv_cells": kv_cells}))
    loop = make_loop(runner)
    for owner, token in (("ann", A), ("cid", C)):
        cached(loop, job(owner, [token] * 100))
    assert sum(map(bool, runner._cells.values())) == (2 if kv_cells is None else 1)
    cached(loop, job("bob", [B] * 60, num=9, ignores_eos=True))
    assert sum(map(bool, runner._cells.values())) == (3 if kv_cells is None else 1)
    assert runner.num_saved == (0 if kv_cells is None else 2)
    assert cached(loop, job("ann", [A] * 100 + [C] * 5)) == 100


def test_idle_chat_that_takes_long_to_copy_stays_in_a_shared_pool():
    runner = FakeRunner(OPTIONS.model_copy(update={"slots": 2, "kv_cells": 900}))
    loop = make_loop(runner)
    cached(loop, job("ann", [A] * 100))
    loop._keeper._token_s = 1.0
    cached(loop, job("bob", [B] * 60, num=9, ignores_eos=True))
    assert runner.num_saved == 0
    assert cached(loop, job("ann", [A] * 100 + [C] * 5)) == 100


@pytest.mark.parametrize("num_owners", [2, 6])
def test_what_everybody_reads_is_read_once(num_owners):
    runner = FakeRunner(replace_options(slots=num_owners))
    loop = make_loop(runner)
    load = [job(f"owner{i}", [A] * 200 + [B + i] * 10) for i in range(num_owners)]
    got = run(loop, load, num_shared={str(i): 200 for i in range(num_owners)})
    for name, one in enumerate(load):
        assert text_of(got[str(name)]) == text_of(alone(one, context_length=512))
    assert runner.num_tokens_read <= 200 + num_owners * 20
    told = sorted(got[str(i)][-1].usage.cached_tokens for i in range(num_owners))
    assert told == [0] + [200] * (num_owners - 1)
    assert loop.present.num_shared_tokens == sum(told)


def test_shared_state_holds_the_administrators_tokens_alone():
    loop = make_loop(FakeRunner(OPTIONS))
    run(loop, [job("ann", [A] * 200 + [B] * 50)], num_shared={"0": 200})
    (state,) = [s for s in loop._cache._ram.states if s.prefix.owner == SHARED_OWNER]
    assert state.prefix.tokens == [A] * 200
    assert len(state.data) == 4 * 200


def test_shared_state_serves_no_one_who_only_says_the_same():
    loop = make_loop(FakeRunner(OPTIONS))
    run(loop, [job("ann", [A] * 200 + [B] * 50)], num_shared={"0": 200})
    assert cached(loop, job("eve", [A] * 200 + [C] * 5)) == 0


def test_model_that_cannot_cut_uses_whole_states_only():
    runner = FakeRunner(replace_options(can_cut=False))
    loop = make_loop(runner)
    said = text_of(run(loop, [job("ann", [A] * 100)])["0"]).encode()
    cached(loop, job("bob", [B] * 100))
    assert cached(loop, job("ann", [A] * 80 + [C] * 5)) == 0, "its tail cannot be cut off"
    cached(loop, job("bob", [B] * 100))
    whole = [A] * 100 + list(said)
    assert cached(loop, job("ann", [*whole, C])) in {len(whole) - 1, len(whole)}


def test_full_memory_never_fails_a_request():
    loop = make_loop(FakeRunner(OPTIONS), PrefixCache(0))
    for letter in [A, B, A, B]:
        assert cached(loop, job("ann", [letter] * 100)) == 0


def test_state_that_does_not_fit_is_read_anew():
    runner = FakeRunner(OPTIONS)
    loop = make_loop(runner)
    cached(loop, job("ann", [A] * 100))
    cached(loop, job("bob", [B] * 100))
    tried = []
    runner.load_state = lambda slot, data, num_tokens: tried.append(slot)
    assert cached(loop, job("ann", [A] * 100 + [C])) == 0
    assert cached(loop, job("bob", [B] * 100)) == 0
    assert len(tried) == 2
    assert loop._cache.in_ram[0].prefix.tokens[:1] == [A], "what was read anew, nothing else"
    assert len(loop._cache.in_ram) == 1


def test_state_of_a_longer_context_is_left_on_disk_and_never_read(tmp_path):
    longer = FakeRunner(OPTIONS)
    loop, _, _ = with_disk(longer, tmp_path)
    play(loop, job("ann", [A] * 400))
    loop.close()
    files = list(tmp_path.glob("*/*.state"))
    runner = FakeRunner(replace_options(context_length=256))
    key = longer.info.state_key
    runner.info = msgspec.structs.replace(runner.info, state_key=key)
    loop, _, _ = with_disk(runner, tmp_path)
    send(loop, job("ann", [A] * 100), "1")
    loop.step()
    assert loop.has_work, "it waits for nothing"
    assert list(tmp_path.glob("*/*.state")) == files != []


def test_state_on_disk_that_cannot_be_used_is_tried_once(tmp_path):
    loop, _, _ = with_disk(FakeRunner(OPTIONS), tmp_path)
    play(loop, job("ann", [A] * 100))
    loop.close()
    runner = FakeRunner(OPTIONS)
    runner.load_state = lambda slot, data, num_tokens: False
    loop, deliver, _ = with_disk(runner, tmp_path)
    one = job("ann", [A] * 100 + [C] * 5)
    send(loop, one, "1")
    loop.step()
    assert not loop.has_work, "it waits for the disk"
    assert loop._cache._files
    deliver()
    while loop.has_work:
        loop.step()
    assert not loop._cache._files, "nobody waits for it again"


def test_file_of_fewer_cells_than_tokens_is_dropped_and_the_request_goes_on(tmp_path):
    key = FakeRunner(OPTIONS).info.state_key
    folder = state_files.folder_of(tmp_path, key)
    folder.mkdir(parents=True)
    short = memoryview(array("i", [A] * 100)).cast("B")
    state_files.write(folder, key, State(Prefix("ann", "c", [A] * 200), short))
    loop, deliver, _ = with_disk(FakeRunner(OPTIONS), tmp_path)
    one = job("ann", [A] * 200 + [C] * 5)
    send(loop, one, "1")
    loop.step()
    deliver()
    got = []
    while loop.has_work:
        got += loop.step()
    deltas = [item.delta for said in got if isinstance(said, Outputs) for item in said.items]
    assert text_of(deltas) == text_of(alone(one, 512))
    assert deltas[-1].usage.cached_tokens == 0
    loop.close()
    (file,) = folder.glob("*")
    assert state_files.read_header(file, key).num_bytes == 4 * 207, "what was read anew"
