"""States from disk: read for who has a slot, once for all who want them, and few at a time."""

import time

import pytest

from tests.unit.engine.fake_runner import FakeRunner
from tests.unit.engine.test_generation_loop import (
    Job,
    alone,
    check_nothing_is_left,
    send,
    text_of,
)
from tests.unit.engine.test_state_keeper import A, B, C, job, play, replace_options, with_disk
from webui.engine import fetching, ipc, worker
from webui.engine.fetching import MAX_READING
from webui.engine.interface import Priority
from webui.engine.ipc import Outputs
from webui.engine.mail import Aborted, Purged


def on_disk(tmp_path, *letters, slots=1, ram_bytes=1 << 20):
    """Return a loop that finds a state of ann's for each letter on disk, and all it has read."""
    loop, _, _ = with_disk(FakeRunner(replace_options(slots=4)), tmp_path)
    for letter in letters:
        play(loop, job("ann", [letter] * 100))
    loop.close()
    loop, deliver, disk = with_disk(
        FakeRunner(replace_options(slots=slots)), tmp_path, ram_bytes=ram_bytes
    )
    fetched, fetch = [], disk.fetch
    disk.fetch = lambda file: (fetched.append(file.prefix.tokens[0]), fetch(file))
    return loop, deliver, fetched


def finish(loop, deliver=None, num_mail=0):
    """Run to the end; return what each request was told."""
    told = {}
    while True:
        while loop.has_work:
            for message in loop.step():
                assert isinstance(message, Outputs)
                for output in message.items:
                    told.setdefault(output.request_id, []).append(output.delta)
        if not num_mail:
            return told
        num_mail -= 1
        deliver()


def check(told, jobs):
    for name, one in jobs.items():
        assert text_of(told[name]) == text_of(alone(one, 512))


def test_queue_holds_no_states(tmp_path):
    loop, deliver, fetched = on_disk(tmp_path, A)
    send(loop, job("bob", [B] * 30, num=20, ignores_eos=True), "busy")
    loop.step()
    waiting = {f"w{i}": job("ann", [A] * 100 + [C] * (i + 1)) for i in range(5)}
    for name, one in waiting.items():
        send(loop, one, name)
        loop.step()
    assert fetched == []
    assert loop._cache.num_ram_bytes == 0
    told = finish(loop, deliver, num_mail=1)
    assert fetched == [A], "the others find it in memory, or in the slot"
    check(told, waiting)
    assert min(told[name][-1].usage.cached_tokens for name in waiting) == 100


def test_two_who_want_one_file_share_its_reading(tmp_path):
    loop, deliver, fetched = on_disk(tmp_path, A, slots=2)
    jobs = {f"r{i}": job("ann", [A] * 100 + [C] * (i + 1)) for i in range(2)}
    for name, one in jobs.items():
        send(loop, one, name)
    loop.step()
    assert (fetched, loop.has_work) == ([A], False)
    told = finish(loop, deliver, num_mail=1)
    check(told, jobs)
    assert [told[name][-1].usage.cached_tokens for name in jobs] == [100, 100]
    counts = loop._cache.counts
    assert (counts.num_disk_tokens, counts.num_ram_tokens) == (100, 100), "each from where it was"


def test_few_files_are_read_at_once(tmp_path):
    loop, deliver, fetched = on_disk(tmp_path, A, B, C, C + 1, slots=4, ram_bytes=0)
    jobs = {f"r{i}": job("ann", [letter] * 100 + [65]) for i, letter in enumerate([A, B, C, C + 1])}
    for name, one in jobs.items():
        send(loop, one, name)
    loop.step()
    assert fetched == [A, B]
    assert len(fetched) == MAX_READING
    deliver()
    assert fetched == [A, B, C]
    told = finish(loop, deliver, num_mail=3)
    check(told, jobs)
    check_nothing_is_left(loop)


def test_others_write_while_one_waits_for_the_disk(tmp_path):
    loop, deliver, _ = on_disk(tmp_path, A, slots=2)
    mine, other = job("ann", [A] * 100 + [C]), job("bob", [B] * 40, num=9)
    send(loop, mine, "ann")
    loop.step()
    send(loop, other, "bob")
    told = finish(loop)
    check(told, {"bob": other})
    assert "ann" not in told
    check(finish(loop, deliver, num_mail=1), {"ann": mine})


def test_newcomer_gets_a_free_slot_while_another_waits_for_the_disk(tmp_path):
    loop, _, _ = on_disk(tmp_path, A, slots=2)
    send(loop, job("ann", [A] * 100 + [C]), "ann")
    loop.step()
    assert not loop.has_work
    send(loop, job("bob", [B] * 40), "bob")
    assert loop.has_work
    loop.step()
    send(loop, job("cid", [B] * 40), "cid")
    loop.take(Aborted("ann"))
    assert {"bob", "cid"} <= finish(loop).keys()


@pytest.mark.parametrize("comes", ["before", "after"])
def test_who_gives_up_its_slot_while_the_disk_reads_comes_back(tmp_path, comes):
    loop, deliver, fetched = on_disk(tmp_path, A)
    back = Job(
        "ann", (*[A] * 100, C), 12, (), seed=3, priority=Priority.BACKGROUND, ignores_eos=True
    )
    chat = job("bob", [B] * 40)
    send(loop, back, "back")
    loop.step()
    send(loop, chat, "chat")
    loop.step()
    if comes == "before":
        deliver()
    told = finish(loop, deliver, num_mail=1)
    check(told, {"back": back, "chat": chat})
    assert told["back"][-1].usage.cached_tokens == 100
    assert set(fetched) == {A}
    check_nothing_is_left(loop)


def test_state_that_is_purged_while_the_disk_reads_is_not_used(tmp_path):
    loop, deliver, _ = on_disk(tmp_path, A)
    one = job("ann", [A] * 100 + [C])
    send(loop, one, "1")
    loop.step()
    loop.take(Purged("ann", None))
    told = finish(loop, deliver, num_mail=1)
    check(told, {"1": one})
    assert told["1"][-1].usage.cached_tokens == 0
    assert loop._cache.in_ram == []


def test_nobody_waits_for_a_disk_that_hangs(tmp_path):
    loop, deliver, _ = on_disk(tmp_path, A, slots=2)
    one = job("ann", [A] * 100 + [C])
    send(loop, one, "1")
    loop.step()
    assert not loop.has_work
    assert 0 < loop.idle_s <= fetching.PATIENCE_S
    loop.idle()
    assert not loop.has_work
    loop._clock.now_s += fetching.PATIENCE_S
    assert (loop.idle_s, loop.has_work) == (0, True)
    told = finish(loop)
    check(told, {"1": one})
    assert told["1"][-1].usage.cached_tokens == 0
    deliver()  # too late
    assert not loop.has_work
    assert loop._fetching.left_s(0.0) is None
    check_nothing_is_left(loop)


class Overdue:
    """A loop whose one sequence has waited too long in a moment."""

    def __init__(self, one):
        self.one, self.begun_s, self.num_steps, self.stats = one, time.monotonic(), 0, None

    @property
    def has_work(self):
        return not self.num_steps and time.monotonic() - self.begun_s >= 0.05

    @property
    def idle_s(self):
        return max(0.0, self.begun_s + 0.05 - time.monotonic())

    def idle(self):
        raise AssertionError("there is work")

    def note_wait(self, _waited_s):
        pass

    def step(self):
        self.num_steps += 1
        self.one._mail.put(ipc.Quit())
        return []


def test_worker_goes_on_without_mail_when_somebody_has_waited_too_long():
    one = worker._Worker(None)
    loop = Overdue(one)
    one._generate(loop)
    assert loop.num_steps == 1
