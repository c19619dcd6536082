"""What is told of a request while a thread makes it ready."""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass, replace

import pytest

from tests.unit.engine.contract import make_request
from tests.unit.engine.fake_runner import FakeRunner, open_fake
from webui.engine import ipc, worker
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


def test_nothing_is_made_ready_after_the_stop():
    made, go, begun = [], threading.Event(), threading.Event()

    def prepare(order, _arrived_s):
        begun.set()
        go.wait(10)
        made.append(order.request_id)
        return "ready"

    preparer = Preparer("test", lambda mail: None, lambda told: None)
    preparer.start(prepare)
    preparer.give(Order("first"))
    preparer.give(Order("second"))
    assert begun.wait(10)
    assert not preparer.stop(0.01), "the first one is still at work"
    go.set()
    assert preparer.stop(10)
    assert made == ["first"]


def test_preparer_that_never_began_is_stopped_at_once():
    assert Preparer("test", lambda mail: None, lambda told: None).stop(0.0)


@pytest.mark.parametrize("is_busy", [True, False])
def test_model_is_not_freed_under_a_text_that_is_being_read(monkeypatch, is_busy):
    closed, reading, go = [], threading.Event(), threading.Event()
    for thread in ("_read", "_beat"):
        monkeypatch.setattr(worker._Worker, thread, lambda self: None)
    monkeypatch.setattr(worker._Worker, "_send", lambda self, message: None)

    def open_model(spec, on_progress):
        return replace(open_fake(spec, on_progress), close=lambda: closed.append(True))

    def tokenize(self, text, *, special):
        if text == "slow":
            reading.set()
            go.wait(10)
        return list(text.encode())

    monkeypatch.setattr(FakeRunner, "tokenize", tokenize)
    one = worker._Worker(None)
    thread = threading.Thread(target=one.serve, args=(open_model,), daemon=True)
    thread.start()
    one._mail.put(ipc.Load("m", "m", "", {}))
    if is_busy:
        one._prompts.give(make_request("", plain_text="slow"))
        assert reading.wait(10)
    one._mail.put(ipc.Quit())
    thread.join(10)
    assert not thread.is_alive()
    assert closed == ([] if is_busy else [True])
    go.set()
