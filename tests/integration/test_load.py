"""A hundred clients at once, of whom half behave badly: the others are served, nothing stays."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.integration.crowd import Client, settle
from tests.serving import Server

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

NUM_GOOD, NUM_LEAVING, NUM_SILENT = 50, 30, 20
NUM_FIRST = 10
NUM_AT_ONCE = 140  # of one who asks for more than there are places for
NUM_WORDS, RATE = 100, 60
LONG = f"long {NUM_WORDS}"
HEALTH_EVERY_S, HEALTH_P95_S = 0.05, 0.5
BACK_WITHIN_S = 30
NUM_ROUNDS, NUM_ROUNDS_IN_FULL = 1, 20
# More than the system's own buffers take: only the server can hold it back.
LARGE = "echo " + ("x" * 4_000 + " ") * 900


@pytest.fixture
def crowd(tmp_path: Path) -> Iterator[tuple[Server, list[str]]]:
    """A server and the tokens of its administrator, of a hundred people and of one more."""
    server = Server(tmp_path / "data", "--no-ui", "--fake-engine", str(RATE))
    tokens = asyncio.run(
        settle(tmp_path / "data" / "hearthside.db", NUM_GOOD + NUM_LEAVING + NUM_SILENT + 1)
    )
    yield server.start(), tokens
    server.close()


class Storm:
    """One round: everybody asks at once.

    Args:
        port: Of the server.
        tokens: Of as many people as there are, and of the one who asks for too much.
    """

    def __init__(self, port: int, tokens: list[str]) -> None:
        *crowd, greedy = tokens
        clients = [Client(port, token) for token in crowd]
        self.good = clients[:NUM_GOOD]
        self.leaving = clients[NUM_GOOD:-NUM_SILENT]
        self.silent = clients[-NUM_SILENT:]
        self.greedy = [Client(port, greedy) for _ in range(NUM_AT_ONCE)]
        self.health_s: list[float] = []

    async def rage(self) -> None:
        """Let it pass."""
        watching = asyncio.create_task(self._watch_health())
        held = await self._begin_silent()
        good = [asyncio.create_task(_work(*one)) for one in enumerate(self.good)]
        leaving = [asyncio.create_task(_leave(*one)) for one in enumerate(self.leaving)]
        async with asyncio.timeout(90):
            staying = [client.has_begun.wait() for client in self.good]
            await asyncio.gather(*staying, *leaving)
            await asyncio.gather(*(client.complete(LONG) for client in self.greedy))
            await asyncio.gather(*good)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        for silent in held:
            silent.close()

    async def _begin_silent(self) -> list[socket.socket]:
        pages, programs = self.silent[::2], self.silent[1::2]
        held = [client.never_read(client.head("GET", "/api/events")) for client in pages]
        for client in pages:
            await client.say(LONG)
        held += [client.never_read(client.completion(LONG)) for client in programs[2:]]
        large = [client.completion(LARGE) for client in programs[:2]]
        held += await asyncio.gather(
            *(
                asyncio.to_thread(client.never_read, raw)
                for client, raw in zip(programs, large, strict=False)
            )
        )
        return held

    async def _watch_health(self) -> None:
        stranger = Client(self.good[0].port, "")
        while True:
            began_s = time.monotonic()
            assert (await stranger.ask("GET", "/health"))[0] == 200
            self.health_s.append(time.monotonic() - began_s)
            await asyncio.sleep(HEALTH_EVERY_S)


async def _work(number: int, client: Client) -> None:
    """Ask and hear the answer; every other client is a page, the rest are programs."""
    await (client.complete(LONG) if number % 2 else client.chat(LONG))


async def _leave(number: int, client: Client) -> None:
    """Go away in the middle of the answer."""
    working = asyncio.create_task(_work(number, client))
    await client.has_begun.wait()
    assert not client.ending, client
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)


def test_bad_clients_harm_nobody_and_leave_nothing(
    crowd: tuple[Server, list[str]], soak: bool
) -> None:
    server, (administrator, *tokens) = crowd
    process = psutil.Process(server.pid)
    asyncio.run(talk(server.port, tokens[:NUM_FIRST]))  # what is made once is made now
    wait_until_quiet(server, administrator)
    rss, fds = process.memory_info().rss, process.num_fds()

    for _ in range(NUM_ROUNDS_IN_FULL if soak else NUM_ROUNDS):
        storm = Storm(server.port, tokens)
        asyncio.run(storm.rage())
        check(storm)
        wait_until_quiet(server, administrator)

    server.wait_for(lambda: process.num_fds() <= fds * 1.1, BACK_WITHIN_S)
    server.wait_for(lambda: process.memory_info().rss <= rss * 1.1, BACK_WITHIN_S)


async def talk(port: int, tokens: list[str]) -> None:
    """Have a few people be answered, as on any day."""
    clients = [Client(port, token) for token in tokens]
    async with asyncio.timeout(60):
        await asyncio.gather(*(_work(*one) for one in enumerate(clients)))


def check(storm: Storm) -> None:
    """Everybody who stayed has the whole answer, or was told when to come again."""
    for client in storm.good:
        assert client.ending in {"done", "stop"}, client
        assert len(client.text.split()) == NUM_WORDS
    endings = Counter(client.ending for client in storm.greedy)
    assert endings.keys() == {"stop", "429"}, endings
    assert all(int(client.retry_after) >= 1 for client in storm.greedy if client.ending == "429")
    health_s = sorted(storm.health_s)
    assert health_s[int(len(health_s) * 0.95)] < HEALTH_P95_S


def wait_until_quiet(server: Server, token: str) -> None:
    """Wait until nothing is being written any more, for whomever."""
    metrics = Client(server.port, token)

    def is_quiet() -> bool:
        _, text = asyncio.run(metrics.ask("GET", "/metrics"))
        return b"requests_running 0\n" in text

    server.wait_for(is_quiet, BACK_WITHIN_S)
