"""Replies with a seed that give up their slot: what is done for the seed, and what is told of it."""

from tests.unit.engine.fake_runner import FakeRunner
from tests.unit.engine.test_generation_loop import Job, alone, send, text_of
from tests.unit.engine.test_state_keeper import A, B, C, job, make_loop, replace_options
from webui.engine.interface import Priority, Reseeded
from webui.engine.prefix_cache import PrefixCache


def write_beside(seed, *, ram_bytes=1 << 20):
    """Let a reply give up its slot beside one that is being written, though copies take long."""
    runner = FakeRunner(replace_options(slots=2))
    loop = make_loop(runner, PrefixCache(ram_bytes))
    back = Job("ann", (A,) * 60, 20, (), seed, priority=Priority.BACKGROUND, ignores_eos=True)
    told = {}

    def step():
        loop._keeper._token_s = 1.0
        for message in loop.step():
            for output in message.items:
                told.setdefault(output.request_id, []).append(output.delta)

    send(loop, job("bob", [B] * 30, num=200, ignores_eos=True), "busy")
    send(loop, back, "back")
    sequence = loop._scheduler.everybody[1]
    while sequence.num_reply < 5:
        step()
    send(loop, job("cid", [C] * 30), "chat")
    while loop.has_work:
        step()
    assert sequence.num_given_up == 1
    assert text_of(told["back"]) == text_of(alone(back, 512))
    return runner, told["back"]


def test_reply_whose_seed_was_asked_for_is_copied_though_it_takes_long():
    runner, told = write_beside(3)
    assert (runner.num_restored, Reseeded() in told) == (1, False)


def test_reply_without_a_seed_keeps_nobody_waiting():
    runner, told = write_beside(-1)
    assert (runner.num_restored, Reseeded() in told) == (0, False)


def test_seed_that_does_not_hold_for_want_of_memory_is_told():
    runner, told = write_beside(3, ram_bytes=0)
    assert (runner.num_restored, told.count(Reseeded())) == (0, 1)
