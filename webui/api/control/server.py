"""The server's end of the control socket: who may speak, how much, and for how long.

Knows lines, limits and owners of processes; what commands do is handed in. Runs on the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING

import msgspec

from webui.api.control import endpoint
from webui.api.control.messages import MAX_COMMAND_BYTES, Answer, Command
from webui.chat.views import ErrorView
from webui.errors import Busy, InvalidRequest, PermissionDenied, WebuiError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

logger = logging.getLogger(__name__)

MAX_CONNECTIONS = 16
LINE_S = 10.0
COMMAND_S = 60.0
CLOSE_WAIT_S = 3.0
INTERNAL_ERROR = ErrorView("internal_error", "internal error", "The log of the server says more.")


class ControlServer:
    """Answers commands of the user who runs this server, and of root.

    Args:
        path: Of the socket.
        answer: Does what a command says; returns what can be written as JSON.
        line_s: How long a line may take to come, or an answer to be read.
        command_s: How long a command may take.
    """

    def __init__(
        self,
        path: Path,
        answer: Callable[[Command], Awaitable[object]],
        *,
        line_s: float = LINE_S,
        command_s: float = COMMAND_S,
    ) -> None:
        self._path = path
        self._answer = answer
        self._line_s = line_s
        self._command_s = command_s
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._at_work: set[asyncio.Task[None]] = set()
        self._decoder = msgspec.json.Decoder(Command)

    async def open(self) -> None:
        """Listen; where the system does not allow it the log says so, and all else goes on."""
        try:
            listener = await asyncio.to_thread(endpoint.listen, self._path)
        except OSError as error:
            logger.warning("commands cannot reach this server, %s: %s", self._path, error)
            return
        self._server = await asyncio.start_unix_server(
            self._begin, sock=listener, limit=MAX_COMMAND_BYTES
        )

    async def close(self) -> None:
        """Take no more commands, and end those at work, at the latest after 3 s; idempotent."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        await asyncio.to_thread(self._path.unlink, missing_ok=True)
        for task in self._connections - self._at_work:
            task.cancel()
        if self._connections:
            _, late = await asyncio.wait(self._connections, timeout=CLOSE_WAIT_S)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Start the task of a connection; asyncio's own would log its cancel as an error."""
        task = asyncio.create_task(self._serve(reader, writer), name="control")
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """See one connection to its end."""
        task = asyncio.current_task()
        assert task is not None
        writer.transport.set_write_buffer_limits(high=0)  # `drain` waits until all is written
        try:
            self._check_peer(writer)
            while self._server is not None and (line := await self._line(reader)):
                self._at_work.add(task)
                await self._write(writer, await self._answered(line))
                self._at_work.discard(task)
        except WebuiError as error:
            await self._write(writer, _refusal(error))
        except OSError:  # the other end is gone
            writer.transport.abort()
        finally:
            self._at_work.discard(task)
            writer.close()

    def _check_peer(self, writer: asyncio.StreamWriter) -> None:
        uid = endpoint.peer_uid(writer.get_extra_info("socket"))
        if uid not in {0, os.geteuid()}:
            logger.warning("a process of the user with the id %s tried to give commands", uid)
            raise PermissionDenied(
                f"the user with the id {uid} may not command this server",
                "Run the command as the user who runs the server, or as root.",
            )
        if len(self._connections) > MAX_CONNECTIONS:
            raise Busy(
                f"{MAX_CONNECTIONS} commands are at work", "Try again when one of them has ended."
            )

    async def _line(self, reader: asyncio.StreamReader) -> bytes:
        """Return the next line; empty at the end of the connection.

        Raises:
            InvalidRequest: It is too long, has no end, or does not come in time.
        """
        try:
            async with asyncio.timeout(self._line_s):
                return await reader.readuntil(b"\n")
        except asyncio.LimitOverrunError as error:
            raise InvalidRequest(
                f"the command has more than {MAX_COMMAND_BYTES} bytes", "Send less."
            ) from error
        except TimeoutError as error:
            raise InvalidRequest(f"no whole command came in {self._line_s:g} s") from error
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise InvalidRequest("the command has no end of line") from error
            return b""

    async def _answered(self, line: bytes) -> bytes:
        """Do what a line says."""
        try:
            command = self._decoder.decode(line)
        except msgspec.DecodeError as error:
            return _refusal(
                InvalidRequest(
                    f"the server does not understand the command: {error}",
                    "Use the program of the version that runs.",
                )
            )
        try:
            async with asyncio.timeout(self._command_s):
                result = await self._answer(command)
            return msgspec.json.encode(Answer(msgspec.Raw(msgspec.json.encode(result))))
        except WebuiError as error:
            return _refusal(error)
        except TimeoutError:
            said = f"the command took longer than {self._command_s:g} s"
            return _refusal(Busy(said, "Look whether it was done before you try again."))
        except Exception:  # the rim: a bug in a command ends no connection, let alone the server
            logger.exception("a command failed")
            return msgspec.json.encode(Answer(error=INTERNAL_ERROR))

    async def _write(self, writer: asyncio.StreamWriter, answer: bytes) -> None:
        writer.write(answer + b"\n")
        try:
            async with asyncio.timeout(self._line_s):
                await writer.drain()
        except (ConnectionError, TimeoutError):
            writer.transport.abort()


def _refusal(error: WebuiError) -> bytes:
    view = ErrorView(error.code, error.message, error.hint)
    return msgspec.json.encode(Answer(error=view))
