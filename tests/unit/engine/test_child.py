"""What the web process hears of a worker whose end it finds by writing, and says of its end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections import deque
from types import SimpleNamespace

import pytest

from webui.engine import ipc
from webui.engine.child import LESS_MEMORY, Patience, WorkerProcess
from webui.engine.control_group import ControlGroup

PERHAPS = "If the system ran out of memory"


def worker_in(tmp_path, num_kills: int | None, **patience: float) -> WorkerProcess:
    """A worker in a control group of which so many processes were ended for want of memory."""
    (tmp_path / "membership").write_text("0::/box\n")
    (tmp_path / "box").mkdir(exist_ok=True)
    count(tmp_path, num_kills)
    return WorkerProcess(
        Patience(**patience),
        lambda _message: None,
        lambda _fraction: None,
        lambda _stats: None,
        group=ControlGroup(tmp_path / "membership", tmp_path),
    )


def count(tmp_path, num_kills: int | None) -> None:
    if num_kills is not None:
        (tmp_path / "box" / "memory.events").write_text(f"oom 9\noom_kill {num_kills}\n")


class Looks(deque[int | None]):
    """The last two looks at the count; tells when there were so many."""

    def __init__(self, looked: asyncio.Event) -> None:
        super().__init__([3], maxlen=2)
        self._looked = looked

    def append(self, num: int | None) -> None:
        super().append(num)
        if list(self) == [4, 4]:
            self._looked.set()


def ended(code: int) -> SimpleNamespace:
    return SimpleNamespace(pid=os.getpid(), returncode=code)


async def test_what_came_before_an_end_that_a_write_finds_is_heard() -> None:
    heard: list[ipc.OfRequests] = []
    worker = WorkerProcess(Patience(), heard.append, lambda _fraction: None, lambda _stats: None)
    ours, theirs = socket.socketpair()
    loop = asyncio.get_running_loop()
    worker._link, _ = await loop.create_connection(lambda: worker, sock=ours)
    begun = ipc.Begun(["poison"])
    theirs.sendall(ipc.encode(begun))
    theirs.close()
    worker.send(ipc.encode(ipc.Quit()))  # fails at once, before anything was read
    await asyncio.wait_for(asyncio.shield(worker._cut), 5)
    assert heard == [begun]


async def test_end_for_want_of_memory_is_told_for_sure(tmp_path) -> None:
    worker = worker_in(tmp_path, 3)
    worker._process = ended(-signal.SIGKILL)
    count(tmp_path, 4)
    died = worker._obituary()
    assert died.message == "The engine stopped: memory ran out, and the system ended it."
    assert died.hint == f"{LESS_MEMORY} Then send the message again."


@pytest.mark.parametrize(("before", "now", "guesses"), [(3, 3, False), (None, None, True)])
async def test_kill_by_somebody_is_no_want_of_memory(tmp_path, before, now, guesses) -> None:
    worker = worker_in(tmp_path, before)
    worker._process = ended(-signal.SIGKILL)
    count(tmp_path, now)
    died = worker._obituary()
    assert died.message == "The engine stopped: killed by SIGKILL."
    assert (PERHAPS in died.hint) is guesses


@pytest.mark.parametrize(
    ("code", "reason", "said"),
    [
        (-signal.SIGSEGV, "", "killed by SIGSEGV"),
        (3, "", "exit code 3"),
        (-signal.SIGKILL, "it gave no sign of life for 30 s", "it gave no sign of life for 30 s"),
    ],
)
async def test_other_ends_are_told_as_they_are(tmp_path, code, reason, said) -> None:
    worker = worker_in(tmp_path, 3)
    worker._process, worker._reason = ended(code), reason
    count(tmp_path, 4)  # somebody else was ended meanwhile
    died = worker._obituary()
    assert died.message == f"The engine stopped: {said}."
    assert died.hint == "Send the message again."


async def test_what_was_ended_long_before_says_nothing_of_this_end(tmp_path) -> None:
    worker = worker_in(tmp_path, 3, tick_s=0.001)
    worker._process = ended(-signal.SIGKILL)
    count(tmp_path, 4)
    looked = asyncio.Event()
    worker._oom_kills = Looks(looked)
    watch = asyncio.create_task(worker._watch_over())
    await asyncio.wait_for(looked.wait(), 5)
    watch.cancel()
    await asyncio.wait({watch})
    assert worker._obituary().message == "The engine stopped: killed by SIGKILL."
