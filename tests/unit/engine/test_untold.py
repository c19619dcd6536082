"""When what is new is told: gathered while words flow, at once where nothing was said yet."""

from __future__ import annotations

import pytest

from tests.unit.engine.fake_runner import FakeOptions, FakeRunner
from tests.unit.engine.test_generation_loop import Job, make_loop, send
from webui.engine.interface import Text
from webui.engine.ipc import Outputs


def words_of(loop, request_id):
    """Make a step; return whether it told words of a request, and how many tokens that has."""
    has_words = any(
        output.request_id == request_id and isinstance(output.delta, Text)
        for message in loop.step()
        if isinstance(message, Outputs)
        for output in message.items
    )
    running = {one.request_id: one for one in loop._scheduler._running.values()}
    return has_words, running[request_id].num_reply


@pytest.mark.parametrize("num_others", [0, 2])
def test_first_words_are_told_at_once_and_the_next_ones_together(num_others):
    loop = make_loop(FakeRunner(FakeOptions(slots=3, context_length=512)))
    for number in range(num_others):
        send(loop, Job("bob", (7,) * 5, 300, (), 1, ignores_eos=True), f"other {number}")
        for _ in range(6):
            loop.step()
    send(loop, Job("ann", (7,) * 30, 300, (), 1, ignores_eos=True), "new")
    said = [words_of(loop, "new") for _ in range(12)]
    assert next(num for has_words, num in said if has_words) == 1
    after = [has_words for has_words, num in said if num > 1]
    assert False in after, "what follows is gathered"
