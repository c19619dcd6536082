"""What may leave no trace leaves none where it gives up its slot either."""

import msgspec

from tests.unit.engine.fake_runner import FakeRunner
from tests.unit.engine.test_generation_loop import Job, request_of
from tests.unit.engine.test_state_keeper import A, B, job, make_loop, play, replace_options
from webui.engine.interface import Priority
from webui.engine.mail import Announced, Prepared


def test_slot_that_was_given_up_holds_nothing_of_what_leaves_no_trace():
    runner = FakeRunner(replace_options(slots=2, kv_cells=230))
    loop = make_loop(runner)
    drafts = []
    loop._drafting.forget = drafts.append
    play(loop, job("bob", [B] * 100))  # lies in slot 0, where he comes again
    back = Job("ann", (A,) * 60, 20, (), -1, priority=Priority.BACKGROUND, ignores_eos=True)
    request = msgspec.structs.replace(request_of(back, "back"), keep_state=False)
    loop.take(Announced("back"))
    loop.take(Prepared(request, list(back.prompt), 0.0))
    for _ in range(8):
        loop.step()
    assert len(runner._cells[1]) > 60
    drafts.clear()
    chat = job("bob", [B] * 200)
    loop.take(Announced("chat"))
    loop.take(Prepared(request_of(chat, "chat"), list(chat.prompt), 0.0))
    loop.step()
    assert [s.request_id for s in loop._scheduler.everybody if s.slot == 0] == ["chat"]
    assert loop._scheduler.num_waiting == 1
    assert runner._cells[1] == []
    assert 1 in drafts
