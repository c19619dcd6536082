"""What is told of a request while a thread makes it ready, and who waits for whom."""

from __future__ import annotations

import queue
import sys
import threading
import time
from dataclasses import dataclass, replace

import pytest

from tests.unit.engine.contract import make_request
from tests.unit.engine.fake_runner import FakeRunner, open_fake
from webui.engine import ipc, worker
from webui.engine.interface import Priority
from webui.engine.ipc import Begun, Waits
from webui.engine.mail import Refused
from webui.engine.preparer import PATIENCE, Preparer
from webui.engine.requests_queue import MAX_PER_OWNER
from webui.errors import InvalidRequest


@dataclass(frozen=True)
class Order:
    request_id: str
    owner: str = "ann"
    priority: Priority = Priority.CHAT


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


def test_short_request_waits_for_one_of_many_of_somebody_else():
    made = queue.SimpleQueue()
    may_go_on = threading.Semaphore(0)
    preparer = Preparer("test", lambda _mail: None, lambda _told: None)

    def prepare(order, _arrived_s):
        made.put(order.request_id)
        may_go_on.acquire(timeout=10)
        return "ready"

    preparer.start(prepare)
    for number in range(6):
        preparer.give(Order(f"a{number}"))
    assert made.get(timeout=10) == "a0"
    preparer.give(Order("b", owner="bob"))
    may_go_on.release()
    assert made.get(timeout=10) == "b"
    may_go_on.release(10)
    assert [made.get(timeout=10) for _ in range(5)] == ["a1", "a2", "a3", "a4", "a5"]


def test_owner_who_sends_too_many_is_refused_and_others_are_not():
    put = queue.SimpleQueue()
    preparer = Preparer("test", put.put, lambda _told: None)
    for number in range(MAX_PER_OWNER):
        preparer.give(Order(f"a{number}"))
    preparer.give(Order("b", owner="bob"))
    assert put.empty()
    preparer.give(Order("late"))
    refused = put.get_nowait()
    assert (refused.request_id, refused.error.code) == ("late", "busy")
    assert refused.error.retry_after_s >= 1
    preparer.drop("a7")
    preparer.give(Order("later"))
    assert put.empty()


@pytest.mark.skipif(sys.platform != "linux", reason="a thread's time is read on Linux alone")
def test_time_without_a_core_makes_no_request_look_stuck():
    begun, may_go_on = threading.Semaphore(0), threading.Semaphore(0)
    preparer = Preparer("test", lambda _mail: None, lambda _told: None)

    def prepare(order, _arrived_s):
        if order.request_id == "computes":
            spin(time.thread_time)
        begun.release()
        assert may_go_on.acquire(timeout=10)
        return "ready"

    preparer.start(prepare)
    assert preparer.busy_s == 0
    given_s = time.monotonic()
    preparer.give(Order("waits"))
    assert begun.acquire(timeout=10)
    spin(time.monotonic)
    assert 0.02 <= preparer.busy_s < (time.monotonic() - given_s) / 2
    may_go_on.release()
    preparer.give(Order("computes"))
    assert begun.acquire(timeout=10)
    assert preparer.busy_s >= 0.2
    may_go_on.release()


def spin(clock):
    until_s = clock() + 0.2
    while clock() < until_s:
        pass


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


@pytest.mark.skipif(sys.platform != "linux", reason="a thread's time is read on Linux alone")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_time_of_a_thread_that_has_ended_is_never_asked_for(monkeypatch):
    preparer = Preparer("test", lambda mail: None, lambda told: None)

    def prepare(_order, _arrived_s):
        raise SystemExit  # with its request unfinished

    preparer.start(prepare)
    preparer.give(Order("last"))
    preparer._thread.join(10)
    asked = []
    monkeypatch.setattr(time, "pthread_getcpuclockid", asked.append)
    time.sleep(0.01)
    assert preparer.busy_s >= 0.01 / PATIENCE
    assert asked == []
