"""What reaches the disk while others are at work, and in what order at the end."""

from types import SimpleNamespace

import pytest

from tests.unit.engine.fake_runner import FakeRunner
from tests.unit.engine.test_disk_states import Slow
from tests.unit.engine.test_generation_loop import request_of
from tests.unit.engine.test_state_keeper import (
    OPTIONS,
    A,
    B,
    job,
    make_loop,
    play,
    replace_options,
    with_disk,
)
from webui.engine import state_files, state_keeper
from webui.engine.mail import Announced, Prepared, Purged
from webui.engine.prefix_cache import PrefixCache


@pytest.fixture
def at_once(monkeypatch):
    """Let nothing wait for its age, and one state follow the other."""
    monkeypatch.setattr(state_keeper, "SPILL_AGE_S", 0)
    monkeypatch.setattr(state_keeper, "SPILL_S", 0)


def begin(loop, one, name, max_tokens=10_000):
    """Let a reply begin that takes very long."""
    loop.take(Announced(name))
    loop.take(Prepared(request_of(job(one.owner, one.prompt, max_tokens), name), [*one.prompt], 0))


def owners_on_disk(root):
    files = [state_files.read_header(path, None) for path in root.glob("*/*.state")]
    return {file.prefix.owner for file in files}


def steps(loop, num):
    for _ in range(num):
        loop.step()
        assert loop.has_work, "the load is steady"


def test_state_in_memory_is_written_while_others_work(tmp_path, at_once):
    loop, deliver, _ = with_disk(FakeRunner(OPTIONS), tmp_path)
    play(loop, job("ann", [A] * 100))
    begin(loop, job("bob", [B] * 100), "long")
    steps(loop, 8)
    deliver()
    assert owners_on_disk(tmp_path) == {"ann"}
    steps(loop, 20)
    assert len(list(tmp_path.glob("*/*"))) == 1, "once is enough"


def test_state_in_a_slot_is_written_while_others_work(tmp_path, at_once):
    runner = FakeRunner(replace_options(slots=2))
    loop, deliver, _ = with_disk(runner, tmp_path)
    play(loop, job("ann", [A] * 100))
    begin(loop, job("bob", [B] * 100), "long")
    steps(loop, 8)
    deliver()
    assert owners_on_disk(tmp_path) == {"ann"}
    num_saved = runner.num_saved
    steps(loop, 20)
    assert runner.num_saved == num_saved, "it is not copied again"


def test_what_was_used_just_now_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(state_keeper, "SPILL_S", 0)
    runner = FakeRunner(replace_options(slots=2))
    loop, _, _ = with_disk(runner, tmp_path)
    play(loop, job("ann", [A] * 100))
    begin(loop, job("bob", [B] * 100), "long")
    steps(loop, 20)
    assert runner.num_saved == 0
    assert list(tmp_path.glob("*/*")) == []


def test_copies_that_take_long_wait_until_no_reply_is_written(tmp_path, at_once):
    runner = FakeRunner(replace_options(slots=2))
    loop, _, _ = with_disk(runner, tmp_path)
    play(loop, job("ann", [A] * 100))
    loop._keeper._token_s = 1.0
    begin(loop, job("bob", [B] * 100), "long")
    while not loop._scheduler.num_decoding:
        runner.num_saved = 0
        loop._keeper._token_s = 1.0
        loop.step()
    num_saved = runner.num_saved
    steps(loop, 20)
    assert runner.num_saved == num_saved


def test_one_slow_copy_does_not_end_copying_for_good():
    runner = FakeRunner(replace_options(slots=2))
    loop = make_loop(runner, PrefixCache())
    begin(loop, job("bob", [B] * 100), "long")
    steps(loop, 20)
    loop._keeper._token_s = 0.005
    for index in range(80):
        play_beside(loop, job(f"u{index}", [A] * 60), f"r{index}")
    assert runner.num_saved > 0


def play_beside(loop, one, name):
    begin(loop, one, name, 1)
    while any(sequence.request_id == name for sequence in loop._scheduler.everybody):
        loop.step()


def test_all_that_memory_has_no_room_for_reaches_the_disk(tmp_path):
    runner = FakeRunner(replace_options(slots=2, context_length=2048))
    loop, _, disk = with_disk(runner, tmp_path, ram_bytes=700)  # one state and a half
    begin(loop, job("bob", [B] * 100), "long")
    steps(loop, 8)
    for index in range(10):
        play_beside(loop, job(f"u{index}", [A] * 100), f"r{index}")
    assert loop.has_work
    disk.close(10)
    # The last ones are in the slot and in memory.
    assert owners_on_disk(tmp_path) == {f"u{index}" for index in range(8)}


def test_end_writes_first_what_was_used_last(tmp_path, monkeypatch):
    slow = Slow(monkeypatch, tmp_path)
    loop, _, _ = with_disk(FakeRunner(replace_options(slots=2)), tmp_path)
    for owner in ("ann", "bob", "cid", "dan", "ann"):
        play(loop, job(owner, [A] * 100))
    slow.go.release(10)
    loop.close()
    assert slow.owners == ["ann", "dan", "cid", "bob"]


def test_end_puts_what_was_used_last_before_what_waits(tmp_path, monkeypatch):
    slow = Slow(monkeypatch, tmp_path)
    loop, _, _ = with_disk(FakeRunner(OPTIONS), tmp_path, ram_bytes=0)
    for owner in ("ann", "bob", "cid", "dan"):  # three wait to be written
        play(loop, job(owner, [A] * 100))
    slow.begun.get(timeout=10)
    slow.go.release(10)
    loop.close()
    assert slow.owners == ["ann", "dan", "cid", "bob"]


def test_end_keeps_its_time_and_what_matters_most(tmp_path, monkeypatch):
    clock = SimpleNamespace(now_s=0.0)
    runner = FakeRunner(replace_options(slots=4))
    loop, _, _ = with_disk(runner, tmp_path)
    for owner in ("ann", "bob", "cid"):
        play(loop, job(owner, [A] * 100))
    save = runner.save_state

    def take_two_seconds(slot):
        clock.now_s += 2.0
        return save(slot)

    runner.save_state = take_two_seconds
    loop._keeper._clock = lambda: clock.now_s
    monkeypatch.setattr(loop._cache, "close", lambda _: loop._cache._disk.close(10))
    loop.close()
    assert owners_on_disk(tmp_path) == {"cid"}


def test_what_was_purged_is_not_written_at_the_end(tmp_path, monkeypatch):
    slow = Slow(monkeypatch, tmp_path)
    loop, _, _ = with_disk(FakeRunner(OPTIONS), tmp_path, ram_bytes=0)
    for owner in ("ann", "bob", "cid"):
        play(loop, job(owner, [A] * 100))
    slow.begun.get(timeout=10)  # of ann; bob waits, cid lies in the slot
    for owner in ("ann", "bob"):
        loop.take(Purged(owner, None))
    slow.go.release(10)
    loop.close()
    assert owners_on_disk(tmp_path) == {"cid"}


def test_what_is_being_written_at_the_end_is_not_written_twice(tmp_path, monkeypatch):
    slow = Slow(monkeypatch, tmp_path)
    loop, _, _ = with_disk(FakeRunner(replace_options(slots=1)), tmp_path)
    play(loop, job("ann", [A] * 100))
    play(loop, job("bob", [A] * 100))  # ann goes to memory
    loop._keeper.idle()  # bob
    loop._keeper.idle()  # ann
    slow.go.release()
    assert [slow.begun.get(timeout=10) for _ in range(2)] == ["bob", "ann"]
    slow.go.release(10)
    loop.close()
    assert slow.owners == ["bob", "ann"]


def test_what_was_used_last_comes_first_at_the_end_though_it_waits_already(tmp_path, monkeypatch):
    slow = Slow(monkeypatch, tmp_path)
    loop, _, _ = with_disk(FakeRunner(replace_options(slots=1)), tmp_path)
    for owner in ("old", "ann", "bob"):
        play(loop, job(owner, [A] * 100))
    loop._cache.write(loop._cache.in_ram[0])
    assert slow.begun.get(timeout=10) == "old"
    loop._keeper.idle()  # bob waits, and counts as kept
    slow.go.release(10)
    loop.close()
    assert slow.owners == ["old", "bob", "ann"]
