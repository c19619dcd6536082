"""What the web process hears of a worker whose end it finds by writing."""

from __future__ import annotations

import asyncio
import socket

from webui.engine import ipc
from webui.engine.child import Patience, WorkerProcess


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
