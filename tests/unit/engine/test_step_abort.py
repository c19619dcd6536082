"""When a step is broken off, and when it must not be."""

import socket
import threading

import pytest

from tests.unit.engine.fake_runner import FakeOptions, FakeRunner
from tests.unit.engine.test_generation_loop import Clock, Job, alone, request_of, run, text_of
from webui.engine.generation_loop import GenerationLoop
from webui.engine.ipc import Abort, Outputs, Quit
from webui.engine.mail import Aborted, Announced, Prepared
from webui.engine.prefill_budget import PrefillBudget
from webui.engine.scheduler import Scheduler
from webui.engine.stats import EngineStats
from webui.engine.step_abort import StepAbort
from webui.engine.worker import _Worker


class Flag:
    def __init__(self):
        self.is_set = False

    def __call__(self, *, is_set):
        self.is_set = is_set


def test_step_ends_when_all_it_is_for_are_gone():
    abort, flag = StepAbort(), Flag()
    with abort.step(["a", "b"], flag):
        abort.cancel("a")
        assert not flag.is_set, "b still wants it"
        abort.cancel("b")
        assert flag.is_set
    assert not flag.is_set, "what is computed outside of steps must not break off"


def test_step_of_others_is_left_alone():
    abort, flag = StepAbort(), Flag()
    with abort.step(["a"], flag):
        abort.cancel("b")
        assert not flag.is_set


def test_cancel_between_steps_ends_the_next_one_until_the_loop_knows():
    abort, flag = StepAbort(), Flag()
    abort.cancel("a")
    with abort.step(["a"], flag):
        assert flag.is_set
    abort.taken("a")
    with abort.step(["a"], flag):
        assert not flag.is_set, "it is another request of that name"


def test_quit_ends_every_step():
    abort, flag = StepAbort(), Flag()
    with abort.step(["a", "b"], flag):
        abort.quit()
        assert flag.is_set
    with abort.step(["c"], flag):
        assert flag.is_set
    assert not flag.is_set


def test_step_ends_at_its_limit_and_not_before():
    now_s = [10.0]
    abort, flag = StepAbort(lambda: now_s[0]), Flag()
    with abort.step(["a"], flag, 0.5):
        now_s[0] = 10.4
        abort.look()
        assert not flag.is_set
        now_s[0] = 10.6
        abort.look()
        assert flag.is_set
    assert abort.is_too_slow
    abort.look()
    assert not flag.is_set, "there is no step"
    with abort.step(["a"], flag):
        assert not abort.is_too_slow
        now_s[0] = 99.0
        abort.look()
        assert not flag.is_set, "it has no limit"


def test_watch_breaks_a_step_off_by_itself():
    reached = threading.Event()

    def set_flag(*, is_set):
        if is_set:
            reached.set()

    abort = StepAbort()
    threading.Thread(target=abort.watch, daemon=True).start()
    for _ in range(2):
        reached.clear()
        with abort.step(["a"], set_flag, 0.0):
            assert reached.wait(5)
        assert abort.is_too_slow


@pytest.mark.parametrize(
    ("message", "is_set"), [(Abort("r"), True), (Abort("other"), False), (Quit(), True)]
)
def test_thread_that_takes_mail_ends_the_step(message, is_set):
    flag = Flag()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        worker = _Worker(theirs)
        with worker._step_abort.step(["r"], flag):
            worker._sort(message)
            assert flag.is_set == is_set


def make_loop(runner, abort):
    budget = PrefillBudget(runner.max_batch_tokens, first_token_s=0.05)
    scheduler = Scheduler(
        runner.info, max_batch_tokens=runner.max_batch_tokens, reserved_reply_tokens=6
    )
    return GenerationLoop(runner, budget, Clock(0.003), scheduler, step_abort=abort)


def send(loop, job, name):
    loop.take(Announced(name))
    loop.take(Prepared(request_of(job, name), list(job.prompt), 0.0))


def job(owner, prompt, num=6):
    return Job(owner, tuple(prompt), num, (), 0)


@pytest.mark.parametrize("can_cut", [True, False])
@pytest.mark.parametrize("at_step", range(1, 9))
def test_aborted_step_leaves_all_as_if_it_had_not_been(at_step, can_cut):
    runner = FakeRunner(FakeOptions(slots=1, context_length=512, can_cut=can_cut))
    abort = StepAbort()
    loop = make_loop(runner, abort)
    first = job("ann", b"ab" * 60)
    send(loop, first, "x")

    def cancel(rows):
        if runner.num_steps == at_step:
            cells = runner._cells[rows[0].slot]
            before[:] = cells[: rows[0].position]
            abort.cancel("x")

    before = []
    runner.on_step = cancel
    while runner.num_steps < at_step:
        loop.step()
    runner.on_step = lambda rows: None
    assert runner.num_aborted == 1
    assert runner._cells[0] == (before if can_cut else [])
    (sequence,) = loop._scheduler.everybody
    assert sequence.num_read == len(runner._cells[0])
    abort.taken("x")
    loop.take(Aborted("x"))
    assert not loop.has_work
    again = run(loop, [first])["0"]
    assert text_of(again) == text_of(alone(first, 512))


def test_aborted_step_of_one_who_stays_is_made_again():
    # No one else sets the flag; but if a cancel is undone, nothing may be missing.
    runner = FakeRunner(FakeOptions(slots=2, context_length=512))
    abort = StepAbort()
    loop = make_loop(runner, abort)
    one = job("ann", b"ab" * 30)
    send(loop, one, "x")
    told = []
    while loop.has_work:
        if runner.num_steps in {1, 4}:
            abort.cancel("x")
        told += [o.delta for m in loop.step() if isinstance(m, Outputs) for o in m.items]
        abort.taken("x")
    assert runner.num_aborted == 2
    assert text_of(told) == text_of(alone(one, 512))


def test_cancel_of_one_row_never_breaks_off_anothers_step():
    runner = FakeRunner(FakeOptions(slots=2, context_length=512))
    abort = StepAbort()
    loop = make_loop(runner, abort)
    stays, leaves = job("ann", b"ab" * 30, 12), job("bob", b"ba" * 60)
    send(loop, stays, "stays")
    send(loop, leaves, "leaves")
    runner.on_step = lambda rows: len(rows) == 2 and abort.cancel("leaves")
    told = []
    while loop.has_work:
        told += [
            o.delta
            for m in loop.step()
            if isinstance(m, Outputs)
            for o in m.items
            if o.request_id == "stays"
        ]
        if "leaves" in abort._gone:
            abort.taken("leaves")
            loop.take(Aborted("leaves"))
    assert text_of(told) == text_of(alone(stays, 512))
    assert runner.num_aborted == 0


def test_close_keeps_what_was_read_for_replies_that_still_run():
    runner = FakeRunner(FakeOptions(slots=1, context_length=512))
    loop = make_loop(runner, StepAbort())
    send(loop, job("ann", b"ab" * 60), "x")
    loop.step()
    loop.close()
    assert not loop.has_work
    (left,) = loop._scheduler.residents.held().values()
    assert left == len(runner._cells[0])


def test_steps_beyond_their_limit_are_made_again_and_learnt_from():
    runner = FakeRunner(FakeOptions(slots=2, context_length=512, max_threads=2))
    now_s = [0.0]
    abort = StepAbort(lambda: now_s[0])
    loop = make_loop(runner, abort)
    slow, learnt = {2, 5, 6}, []

    def compute(rows):
        if runner.num_steps in slow:
            now_s[0] += 1.0
        abort.look()

    runner.on_step = compute
    ticks = loop._clock
    loop._clock = lambda: ticks() + now_s[0]
    loop._pace.limit_s = lambda rows: 0.5
    loop._pace.note_broken = lambda rows, step_s, now_s: learnt.append(len(rows))
    one = job("ann", b"ab" * 30)
    send(loop, one, "x")
    told = []
    while loop.has_work:
        told += [o.delta for m in loop.step() if isinstance(m, Outputs) for o in m.items]
    assert runner.num_aborted == len(learnt) == 3
    stats = loop.tally.stats(EngineStats())
    assert stats.prefill_s > len(slow)  # all of them read
    assert text_of(told) == text_of(alone(one, 512))
