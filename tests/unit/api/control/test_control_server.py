"""The control socket: who is heard, how much, for how long, and what a bug in a command does."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import stat
import struct
from typing import TYPE_CHECKING, Any

import pytest

from webui.api.control import endpoint
from webui.api.control import server as server_module
from webui.api.control.messages import MAX_COMMAND_BYTES, GetStatus, ListModels, ListUsers
from webui.api.control.server import MAX_CONNECTIONS, ControlServer
from webui.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

STATUS = b'{"command":"status"}\n'
SOON_S = 0.05


class House:
    """A control server whose commands do what a test says."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.asked: list[object] = []
        self.is_held = asyncio.Event()  # a command waits for `release`
        self.release = asyncio.Event()
        self.server = ControlServer(path, self.answer)

    async def answer(self, command: object) -> object:
        self.asked.append(command)
        match command:
            case GetStatus():
                return {"state": "fine"}
            case ListModels():
                return "x" * 8_000_000
            case ListUsers():
                self.is_held.set()
                await self.release.wait()
                return "at last"
            case _:
                raise NotFound("there is no such thing", "Look again.")

    async def say(self, sent: bytes) -> dict[str, Any]:
        """Send what may be a line over a connection of its own; return the answer."""
        reader, writer = await self.connect()
        try:
            writer.write(sent)
            return await answer_of(reader)
        finally:
            writer.close()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(self.path)


async def answer_of(reader: asyncio.StreamReader) -> dict[str, Any]:
    async with asyncio.timeout(20):
        answer: dict[str, Any] = json.loads(await reader.readline())
    return answer


async def ends(reader: asyncio.StreamReader) -> bool:
    """Wait for the other end to close."""
    async with asyncio.timeout(20):
        return await reader.read() == b""


async def until(check: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not check():  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    house = House(tmp_path / "control.sock")
    await house.server.open()
    yield house
    house.release.set()
    await house.server.close()


@pytest.fixture
async def hasty(tmp_path: Path) -> AsyncIterator[House]:
    """A server that waits for nobody."""
    house = House(tmp_path / "control.sock")
    house.server = ControlServer(house.path, house.answer, line_s=SOON_S, command_s=SOON_S)
    await house.server.open()
    yield house
    await house.server.close()


async def test_commands_of_one_connection_are_answered_in_order(house: House) -> None:
    reader, writer = await house.connect()
    writer.write(STATUS + b'{"command":"unload","force":true}\n' + STATUS)
    assert await answer_of(reader) == {"result": {"state": "fine"}}
    assert await answer_of(reader) == {
        "error": {"code": "not_found", "message": "there is no such thing", "hint": "Look again."},
    }
    assert await answer_of(reader) == {"result": {"state": "fine"}}
    writer.close()


@pytest.mark.parametrize(
    "sent",
    [
        b"\n",
        b"{}\n",
        b"no json\n",
        b"\xff\xfe\x00\n",
        b'{"command":"fly"}\n',
        b'{"command":"status","and":1}\n',
        b'{"command":"load"}\n',
        b'{"command":"user add","name":"x","role":"king"}\n',
        b"[" * 9000 + b"\n",
    ],
)
async def test_garbage_is_refused_in_words_and_the_next_command_is_heard(
    house: House, sent: bytes
) -> None:
    reader, writer = await house.connect()
    writer.write(sent + STATUS)
    refusal = (await answer_of(reader))["error"]
    assert refusal["code"] == "invalid_request"
    assert refusal["message"]
    assert refusal["hint"]
    assert await answer_of(reader) == {"result": {"state": "fine"}}
    assert house.asked == [GetStatus()]
    writer.close()


async def test_too_long_command_is_refused_and_ends_the_connection(house: House) -> None:
    reader, writer = await house.connect()
    writer.write(b'{"command":"load","name":"' + b"x" * MAX_COMMAND_BYTES)
    assert str(MAX_COMMAND_BYTES) in (await answer_of(reader))["error"]["message"]
    assert await ends(reader)
    assert house.asked == []
    writer.close()


async def test_command_without_an_end_is_refused(house: House) -> None:
    reader, writer = await house.connect()
    writer.write(STATUS.strip())
    writer.write_eof()
    assert "no end" in (await answer_of(reader))["error"]["message"]
    assert house.asked == []
    writer.close()


async def test_command_that_drips_is_cut_off(hasty: House) -> None:
    reader, writer = await hasty.connect()
    writer.write(STATUS[:5])
    assert "0.05 s" in (await answer_of(reader))["error"]["message"]
    assert await ends(reader)
    writer.close()


async def test_command_that_takes_too_long_is_ended(hasty: House) -> None:
    refusal = (await hasty.say(b'{"command":"user list"}\n'))["error"]
    assert refusal["code"] == "busy"
    assert hasty.is_held.is_set()


async def test_who_does_not_read_is_dropped(hasty: House) -> None:
    reader, writer = await hasty.connect()
    reader._transport.pause_reading()  # type: ignore[attr-defined]  # no public way
    writer.write(b'{"command":"models"}\n')
    await until(lambda: hasty.asked and not hasty.server._connections)
    assert await hasty.say(STATUS) == {"result": {"state": "fine"}}
    writer.close()


async def test_long_answer_comes_whole(house: House) -> None:
    reader, writer = await asyncio.open_unix_connection(house.path, limit=1 << 24)
    writer.write(b'{"command":"models"}\n')
    assert len((await answer_of(reader))["result"]) == 8_000_000
    writer.close()


async def test_more_connections_than_are_served_are_told_so(house: House) -> None:
    held = [await house.connect() for _ in range(MAX_CONNECTIONS)]
    for reader, writer in held:  # each is known to be served once it was answered
        writer.write(STATUS)
        await answer_of(reader)
    assert (await house.say(b""))["error"]["code"] == "busy"
    held[0][1].close()
    await held[0][1].wait_closed()
    await until(lambda: len(house.server._connections) < MAX_CONNECTIONS)
    assert await house.say(STATUS) == {"result": {"state": "fine"}}
    for _, writer in held:
        writer.close()


@pytest.mark.parametrize(("uid", "is_heard"), [(0, True), (os.geteuid(), True), (12345, False)])
async def test_nobody_is_heard_but_the_servers_own_user_and_root(
    house: House, monkeypatch: pytest.MonkeyPatch, uid: int, *, is_heard: bool
) -> None:
    monkeypatch.setattr(endpoint, "peer_uid", lambda connection: uid)
    answer = await house.say(STATUS)
    assert (house.asked != []) is is_heard
    if not is_heard:
        assert answer["error"]["code"] == "permission_denied"
        assert "12345" in answer["error"]["message"]


async def test_peer_is_who_the_system_says(house: House) -> None:
    connection = await asyncio.to_thread(endpoint.connect, house.path, 20)
    with connection:
        assert endpoint.peer_uid(connection) == os.geteuid()


async def test_bug_in_a_command_is_logged_and_ends_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(_command: object) -> object:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(house.server, "_answer", fail)
    reader, writer = await house.connect()
    for _ in range(2):
        writer.write(STATUS)
        error = (await answer_of(reader))["error"]
        assert error["code"] == "internal_error"
        assert "secret" not in str(error)
    assert "ZeroDivisionError" in caplog.text
    writer.close()


async def test_end_waits_for_commands_at_work_and_ends_idle_connections(house: House) -> None:
    idle_reader, idle_writer = await house.connect()
    idle_writer.write(STATUS)
    await answer_of(idle_reader)
    busy_reader, busy_writer = await house.connect()
    busy_writer.write(b'{"command":"user list"}\n' + STATUS)
    await house.is_held.wait()
    closing = asyncio.create_task(house.server.close())
    assert await ends(idle_reader)
    assert not house.path.exists()
    assert not closing.done()
    house.release.set()
    await closing
    assert await answer_of(busy_reader) == {"result": "at last"}
    assert await ends(busy_reader), "what comes later is not begun"
    await house.server.close()
    for writer in (idle_writer, busy_writer):
        writer.close()


async def test_end_does_not_wait_for_ever(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "CLOSE_WAIT_S", SOON_S)
    reader, writer = await house.connect()
    writer.write(b'{"command":"user list"}\n')
    await house.is_held.wait()
    await house.server.close()
    assert await ends(reader)
    writer.close()


async def test_socket_is_its_owners_alone(house: House) -> None:
    assert stat.S_IMODE(house.path.stat().st_mode) == 0o600
    assert house.path.is_socket()


async def test_socket_of_a_dead_server_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    endpoint.listen(path).close()
    assert path.is_socket()
    with pytest.raises(ConnectionRefusedError):
        endpoint.connect(path, 20)
    house = House(path)
    await house.server.open()
    assert await house.say(STATUS) == {"result": {"state": "fine"}}
    await house.server.close()
    assert not path.exists()


@pytest.mark.parametrize("make", [lambda path: path.write_text("mine"), lambda path: path.mkdir()])
async def test_what_is_no_socket_is_left_alone_and_the_server_goes_on_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, make: Callable[[Path], object]
) -> None:
    path = tmp_path / "control.sock"
    make(path)
    house = House(path)
    with caplog.at_level(logging.WARNING):
        await house.server.open()
    assert str(path) in caplog.text
    await house.server.close()
    assert path.exists()


async def test_path_that_is_too_long_for_the_system_will_do(tmp_path: Path) -> None:
    folder = tmp_path / ("d" * 200)
    folder.mkdir()
    house = House(folder / "control.sock")
    await house.server.open()
    with await asyncio.to_thread(endpoint.connect, house.path, 20) as connection:
        connection.sendall(STATUS)
        answer = await asyncio.to_thread(connection.makefile("rb").readline)
    assert json.loads(answer) == {"result": {"state": "fine"}}
    await house.server.close()
    assert list(folder.iterdir()) == []


def test_peer_is_found_on_a_mac_too(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mac:
        def getsockopt(self, *asked: int) -> bytes:
            assert asked == (0, 1, 76)
            return struct.pack("=IIh2x16I", 0, 501, 1, *[20] * 16)

    monkeypatch.setattr(endpoint.sys, "platform", "darwin")
    assert endpoint.peer_uid(Mac()) == 501  # type: ignore[arg-type]  # a socket of another system
