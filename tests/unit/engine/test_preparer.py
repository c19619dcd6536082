"""What is told of a request while a thread makes it ready."""

from __future__ import annotations

import queue
from dataclasses import dataclass

from webui.engine.ipc import Begun, Waits
from webui.engine.mail import Refused
from webui.engine.preparer import Preparer
from webui.errors import InvalidRequest


@dataclass(frozen=True)
class Order:
    request_id: str


def test_what_is_made_may_be_at_fault_and_what_is_made_ready_only_waits():
    heard = queue.SimpleQueue()
    preparer = Preparer("test", heard.put, heard.put)

    def prepare(order, _arrived_s):
        heard.put("made")
        if order.request_id == "bad":
            raise InvalidRequest("no")
        return "ready"

    preparer.give(Order("good"))
    preparer.give(Order("gone"))
    preparer.give(Order("bad"))
    preparer.drop("gone")
    preparer.start(prepare)
    order = [heard.get(timeout=10) for _ in range(7)]
    assert order[:4] == [Begun(["good"]), "made", Waits("good"), "ready"]
    assert order[4:6] == [Begun(["bad"]), "made"]
    assert isinstance(order[6], Refused)
