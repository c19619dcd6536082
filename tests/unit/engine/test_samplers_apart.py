"""What takes long for a sampler is made on a thread of its own, and holds up nobody else."""

from __future__ import annotations

import queue
import threading

import pytest

from tests.unit.engine.contract import make_request
from tests.unit.engine.fake_runner import FakeRunner, open_fake
from webui.engine import ipc, worker
from webui.engine.interface import Finish
from webui.errors import InvalidRequest

DRY = {"dry_multiplier": 0.5}


class Child:
    """A worker without a socket: what it is sent, and what it says."""

    def __init__(self, monkeypatch):
        for thread in ("_read", "_beat"):
            monkeypatch.setattr(worker._Worker, thread, lambda self: None)
        monkeypatch.setattr(worker._Worker, "_send", lambda _self, message: self.said.put(message))
        self.said = queue.SimpleQueue()
        self.runner = None
        self.worker = worker._Worker(None)
        self.thread = threading.Thread(target=self.worker.serve, args=(self._open,), daemon=True)

    def _open(self, spec, on_progress):
        opened = open_fake(spec, on_progress)
        self.runner = opened.runner
        return opened

    def begin(self):
        self.thread.start()
        self.worker._mail.put(ipc.Load("m", "m", "", {}))
        self.until(lambda message: isinstance(message, ipc.Loaded))

    def ask(self, text, request_id, **fields):
        self.worker._sort(ipc.Add(make_request(text, request_id=request_id, **fields)))

    def until(self, is_it):
        """Return the first of the messages to come that is the one."""
        while True:
            message = self.said.get(timeout=10)
            if is_it(message):
                return message

    def error_of(self, request_id):
        return self.until(
            lambda message: (
                isinstance(message, ipc.RequestError) and message.request_id == request_id
            )
        )

    def wait_for_end(self, request_id):
        def is_it(message):
            return isinstance(message, ipc.Outputs) and any(
                item.request_id == request_id and isinstance(item.delta, Finish)
                for item in message.items
            )

        self.until(is_it)


@pytest.fixture
def child(monkeypatch):
    child = Child(monkeypatch)
    child.begin()
    yield child
    child.worker._mail.put(ipc.Quit())
    child.thread.join(10)
    assert not child.thread.is_alive()


@pytest.mark.parametrize("fields", [DRY, {"grammar": 'root ::= "a"'}], ids=["DRY", "grammar"])
def test_sampler_that_takes_long_holds_up_nobody_else(child, monkeypatch, fields):
    begun, may_go_on = threading.Event(), threading.Event()

    def prepare_sampler(self, params, grammar):
        begun.set()
        assert may_go_on.wait(10)

    monkeypatch.setattr(FakeRunner, "prepare_sampler", prepare_sampler)
    child.ask("say a", "slow", **fields)
    assert begun.wait(10)
    child.ask("say b", "quick")
    child.wait_for_end("quick")
    may_go_on.set()
    child.wait_for_end("slow")


def test_sampler_that_is_there_is_not_made_again(child):
    for name in ("first", "second"):
        child.ask("say a", name, **DRY)
        child.wait_for_end(name)
    assert len(child.runner.prepared) == 1
    child.ask("say a", "plain")
    child.wait_for_end("plain")
    assert len(child.runner.prepared) == 1


def test_sampler_that_is_refused_is_told(child, monkeypatch):
    def refuse(self, params, grammar):
        raise InvalidRequest("too many tokens", field="dry_sequence_breakers")

    monkeypatch.setattr(FakeRunner, "prepare_sampler", refuse)
    child.ask("say a", "odd", **DRY)
    told = child.error_of("odd")
    assert (told.code, told.field) == ("invalid_request", "dry_sequence_breakers")


def test_nothing_is_made_for_who_has_gone(child, monkeypatch):
    begun, may_go_on = threading.Event(), threading.Event()
    made = []

    def prepare_sampler(self, params, grammar):
        made.append(params.dry_multiplier)
        begun.set()
        assert may_go_on.wait(10)

    monkeypatch.setattr(FakeRunner, "prepare_sampler", prepare_sampler)
    child.ask("say a", "first", dry_multiplier=0.1)
    assert begun.wait(10)
    child.ask("say a", "gone", dry_multiplier=0.2)
    child.ask("say b", "quick")
    child.wait_for_end("quick")  # the one before it waits for its sampler
    child.worker._sort(ipc.Abort("gone"))
    child.ask("say a", "last", dry_multiplier=0.3)
    may_go_on.set()
    child.wait_for_end("last")
    assert made == [0.1, 0.3]


@pytest.mark.parametrize(
    "fields", [{}, {"messages": (), "plain_text": "x" * 1000}], ids=["chat", "text"]
)
def test_nothing_is_made_for_a_prompt_that_is_too_long(child, fields):
    child.ask("x" * 1000, "long", **DRY, **fields)
    assert child.error_of("long").code == "context_length_exceeded"
    assert child.runner.prepared == []
