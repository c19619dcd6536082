"""Clients that do not read what is written to them, when the server ends."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from typing import Any

import pytest

from webui.cli.server import SHUTDOWN_S, Server, open_socket

pytestmark = [pytest.mark.integration, pytest.mark.timeout(30)]

PIECE = bytes(1 << 16)
MUCH = bytes(20 << 20)  # more than the system takes for who does not read


class App:
    """Answers with more than anybody takes: in one piece, or in many until it is to end."""

    def __init__(self) -> None:
        self.is_ready = asyncio.Event()
        self.is_ending = False
        self.num_ended = 0

    def end(self) -> None:
        self.is_ending = True

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for step in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{step}.complete"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if scope["path"] == "/whole":
            await send({"type": "http.response.body", "body": MUCH})
        else:
            while not self.is_ending:
                await send({"type": "http.response.body", "body": PIECE, "more_body": True})
                await asyncio.sleep(0)
            await send({"type": "http.response.body", "body": b""})
        self.num_ended += 1


async def is_held_up(server: Server) -> None:
    """Wait until the system takes no more for a client."""
    while not any(one.flow.write_paused for one in server.server_state.connections):  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("path", "header"),
    [("/pieces", ""), ("/whole", ""), ("/whole", "Connection: close\r\n")],
    ids=["in pieces", "whole", "whole and the last"],
)
async def test_server_ends_in_time_and_says_nothing_of_them(
    caplog: pytest.LogCaptureFixture, path: str, header: str
) -> None:
    app, loop = App(), asyncio.get_running_loop()
    server = Server(app, on_ready=app.is_ready.set, on_stop=app.end)
    listener = open_socket("127.0.0.1", 0)
    serving = asyncio.create_task(server._serve([listener]))
    async with asyncio.timeout(20):
        await app.is_ready.wait()
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            await loop.sock_connect(client, listener.getsockname())
            head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{header}\r\n"
            await loop.sock_sendall(client, head.encode())
            await is_held_up(server)
            began_s = time.monotonic()
            server.should_exit = True
            server._signalled.set()
            await serving
    assert time.monotonic() - began_s < SHUTDOWN_S / 2
    assert app.num_ended == 1
    assert [one.getMessage() for one in caplog.records if one.levelno > logging.INFO] == []
