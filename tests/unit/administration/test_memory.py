"""Giving memory back: of garbage, of what has grown, and never while there is work."""

import asyncio
import contextlib
import gc
import weakref
from types import SimpleNamespace

import pytest

from webui.administration import memory


class Node:
    def __init__(self):
        self.me = self


def test_cycles_are_collected():
    gc.disable()
    try:
        gone = weakref.ref(Node())
        assert gone() is not None
        memory.give_back()
        assert gone() is None
    finally:
        gc.enable()


@pytest.fixture
def given_back(monkeypatch):
    """Sizes before and after each time; a process that shrinks when it gives back."""
    process = SimpleNamespace(rss=100, times=[])
    process.memory_info = lambda: process
    monkeypatch.setattr(memory.psutil, "Process", lambda: process)

    def give_back():
        process.times.append(process.rss)
        process.rss = 101

    monkeypatch.setattr(memory, "give_back", give_back)
    return process


async def looked(process, sizes, is_busy=lambda: False):
    """Let it look at these sizes, one after the other."""
    task = asyncio.create_task(memory.keep_small(is_busy, every_s=0.001))
    await asyncio.sleep(0)
    for size in sizes:
        process.rss = size
        await asyncio.sleep(0.03)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return process.times


async def test_memory_that_has_grown_is_given_back_once(given_back):
    assert await looked(given_back, [102, 140]) == [140]


async def test_memory_that_stays_in_use_is_not_asked_for_again_and_again(given_back, monkeypatch):
    monkeypatch.setattr(memory, "give_back", lambda: given_back.times.append(given_back.rss))
    assert await looked(given_back, [140, 140, 140, 150]) == [140, 150]


async def test_nothing_is_given_back_while_there_is_work(given_back):
    assert await looked(given_back, [140, 180], is_busy=lambda: True) == []
