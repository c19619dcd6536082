"""Raw connections that want to hold the server up: silent, endless, dripping, pipelined."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn

from webui.cli.http_protocol import BoundedProtocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = [pytest.mark.integration, pytest.mark.timeout(30)]

TIMEOUT_S = 0.3
HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\n"


class Impatient(BoundedProtocol):
    """Waits as long as a test does."""

    head_timeout_s = TIMEOUT_S


class Started(uvicorn.Server):
    """Says when it is up."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = asyncio.Event()

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.is_up.set()


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["path"] == "/slow":
        await asyncio.sleep(3 * TIMEOUT_S)
    size = sum(len(name) + len(value) for name, value in scope["headers"])
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": f"head of {size}".encode()})


@pytest.fixture
async def port() -> AsyncIterator[int]:
    config = uvicorn.Config(app, port=0, http=Impatient, lifespan="off", log_config=None)
    server = Started(config)
    task = asyncio.create_task(server._serve())
    await server.is_up.wait()
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await task


async def say(port: int, *parts: bytes, pause_s: float = 0) -> bytes:
    """Send bytes and return all that comes back until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.suppress(ConnectionError):
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause_s)
    answer = b""
    with contextlib.suppress(ConnectionError):
        answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return answer


async def test_head_of_a_usual_size_is_answered(port: int) -> None:
    answer = await say(port, HEAD + b"X: " + b"a" * 8000 + b"\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")


async def test_head_in_many_pieces_is_answered(port: int) -> None:
    parts = [bytes([byte]) for byte in HEAD + b"Connection: close\r\n\r\n"]
    assert (await say(port, *parts)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("end", [b"Connection: close\r\n\r\n", b"Content-Length: 5\r\n\r\nhello"])
async def test_head_that_is_too_large_at_once_is_431(port: int, end: bytes) -> None:
    answer = await say(port, HEAD + b"X: " + b"a" * 70_000 + b"\r\n" + end)
    assert answer.startswith(b"HTTP/1.1 431")
    assert answer.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize(
    "parts",
    [
        [HEAD, *[b"X: " + b"a" * 1000 + b"\r\n"] * 100],
        [HEAD + b"X: ", *[b"a" * 10_000] * 100],
        [b"GET /", *[b"a" * 10_000] * 100],
    ],
    ids=["many headers", "endless header", "endless path"],
)
async def test_head_without_end_is_431_and_the_end(port: int, parts: list[bytes]) -> None:
    answer = await say(port, *parts)
    # A client that still sends may lose the answer to the reset of its connection.
    assert answer == b"" or answer.startswith(b"HTTP/1.1 431")
    assert answer.count(b"HTTP/1.1") <= 1
    assert (await say(port, HEAD + b"Connection: close\r\n\r\n")).startswith(b"HTTP/1.1 200")


async def test_silent_connection_is_closed(port: int) -> None:
    assert await say(port) == b""


async def test_head_that_drips_is_408(port: int) -> None:
    parts = [HEAD, *[b"X: a\r\n"] * 30]
    answer = await say(port, *parts, pause_s=TIMEOUT_S / 10)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 408")


async def test_second_head_on_a_connection_has_its_own_time_and_size(port: int) -> None:
    one = HEAD + b"X: " + b"a" * 40_000 + b"\r\n\r\n"
    answer = await say(port, one, one, one, HEAD)
    assert answer.count(b"HTTP/1.1 200") == 3


async def test_answer_that_takes_longer_than_a_head_may_is_not_cut(port: int) -> None:
    slow = b"GET /slow HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert (await say(port, slow)).startswith(b"HTTP/1.1 200")


async def test_half_a_head_behind_a_slow_answer_does_not_cut_it(port: int) -> None:
    slow = b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert (await say(port, slow, b"GET / HT")).startswith(b"HTTP/1.1 200")
