"""What is told of a load that stands still; time is that of a loop whose clock we turn."""

import asyncio

import psutil
import pytest

from webui.engine.activity import Activity
from webui.engine.load_watch import RETELL_S, LoadWatch


def test_process_that_may_not_be_looked_at_is_no_error(monkeypatch):
    def refuse(_):
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "Process", refuse)
    activity = Activity(1, 0.1)
    assert not activity.has_moved()


class Watched:
    """A watch on a clock of its own."""

    def __init__(self, monkeypatch, stall_s=60.0):
        self.now_s = 0.0
        self.timers = []
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "time", lambda: self.now_s)
        monkeypatch.setattr(loop, "call_later", self.call_later)
        self.told = []
        self.watch = LoadWatch(stall_s, self.tell)

    def tell(self):
        self.told.append((self.watch.fraction, self.watch.stalled_s))

    def call_later(self, delay_s, callback):
        timer = Timer(self.now_s + delay_s, callback)
        self.timers.append(timer)
        return timer

    def turn(self, seconds):
        end_s = self.now_s + seconds
        while due := [t for t in self.timers if not t.is_cancelled and t.when_s <= end_s]:
            timer = min(due, key=lambda timer: timer.when_s)
            self.timers.remove(timer)
            self.now_s = timer.when_s
            timer.callback()
        self.now_s = end_s


class Timer:
    def __init__(self, when_s, callback):
        self.when_s = when_s
        self.callback = callback
        self.is_cancelled = False

    def cancel(self):
        self.is_cancelled = True


@pytest.fixture
async def watched(monkeypatch):
    with monkeypatch.context() as patch:
        yield Watched(patch)


async def test_load_that_goes_on_tells_only_its_steps(watched):
    with watched.watch.waiting():
        for fraction in (0.5, 0.501, 0.501, 0.6):
            watched.turn(59)
            watched.watch.note(fraction)
    assert watched.told == [(0.5, None), (0.6, None)]


async def test_load_that_stands_still_is_told_again_and_again(watched):
    with watched.watch.waiting():
        watched.watch.note(0.3)
        watched.turn(60 + 2 * RETELL_S + 1)
    assert watched.told == [(0.3, None), (0.3, 60), (0.3, 75), (0.3, 90)]


async def test_sign_of_life_ends_the_stall(watched):
    with watched.watch.waiting():
        watched.turn(61)
        watched.watch.note(0.0)
        watched.watch.note(0.0)
        watched.turn(59)
    assert watched.told == [(0.0, 60), (0.0, None)]


async def test_nothing_is_told_before_and_after(watched):
    watched.turn(1000)
    with watched.watch.waiting():
        pass
    watched.turn(1000)
    assert watched.told == []
