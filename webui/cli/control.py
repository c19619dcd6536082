"""The command line's end of the control socket: find the server of a data folder, and ask it.

Knows lines, limits and owners of processes; the commands themselves stand in
`api.control.messages`. Blocks.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click
import msgspec

from webui.api.control import endpoint
from webui.api.control.messages import MAX_ANSWER_BYTES, Answer
from webui.errors import InvalidRequest, WebuiError
from webui.settings import load
from webui.storage.folder import is_in_use

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from webui.api.control.messages import Command
    from webui.settings import Settings

T = TypeVar("T")

ANSWER_S = 90.0  # more than the server gives a command
WAIT_S = 10.0
RETRY_S = 0.1

DATA_DIR = click.option("--data-dir", type=Path, help="Folder of the database.")


class NoServerError(WebuiError):
    """No server runs on the data folder, or it does not answer commands."""

    code = "no_server"


class RefusedError(WebuiError):
    """The server answered with an error.

    Args:
        message: What is so.
        hint: What to do.
        remote_code: Of that error.
    """

    def __init__(self, message: str, hint: str = "", *, remote_code: str = "error") -> None:
        super().__init__(message, hint)
        self.remote_code = remote_code


class Control:
    """A connection to the server.

    Args:
        connection: Closed by whoever opened it.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lines = connection.makefile("rb")

    def ask(self, command: Command, kind: type[T]) -> T:
        """Send a command and wait for its result.

        Args:
            command: What to do.
            kind: Type of the result.

        Raises:
            InvalidRequest: An argument is no text.
            RefusedError: The server answered with an error.
            NoServerError: It did not answer.
        """
        line = encoded(command)
        with contextlib.suppress(ConnectionError):  # what it has said before is still to be read
            self._connection.sendall(line)
        try:
            line = self._lines.readline(MAX_ANSWER_BYTES)
        except TimeoutError as error:
            raise NoServerError(
                f"the server did not answer in {ANSWER_S:g} s",
                "Look whether it was done before you try again.",
            ) from error
        except ConnectionError:
            line = b""
        if not line.endswith(b"\n"):
            raise NoServerError(
                "the server ended before it answered",
                "Look whether it was done before you try again.",
            )
        try:
            answer = msgspec.json.decode(line, type=Answer)
            if answer.error is None:
                return msgspec.json.decode(answer.result, type=kind)
        except msgspec.DecodeError as error:
            raise NoServerError(
                f"the answer of the server is not understood: {error}",
                "Use the program of the version that runs.",
            ) from error
        refusal = answer.error
        raise RefusedError(refusal.message, refusal.hint, remote_code=refusal.code)

    def close(self) -> None:
        """Forget what was read ahead; the connection stays open."""
        self._lines.close()


def encoded(command: Command) -> bytes:
    """Return a command as it is sent.

    Raises:
        InvalidRequest: An argument is no text; the system passes any bytes.
    """
    try:
        return msgspec.json.encode(command) + b"\n"
    except UnicodeEncodeError as error:
        raise InvalidRequest(
            "the command has bytes that are not UTF-8", "Write it in UTF-8."
        ) from error


def settings_of(data_dir: Path | None) -> Settings:
    """Return the settings that a command needs."""
    return load({} if data_dir is None else {"data_dir": data_dir})


@contextlib.contextmanager
def connected(data_dir: Path | None, *, wait_s: float = WAIT_S) -> Iterator[Control]:
    """Connect to the server of a data folder; waits for one that is starting.

    Args:
        data_dir: None is the usual one.
        wait_s: How long to wait while the folder is in use, but nobody listens.

    Raises:
        NoServerError: None runs, or it takes no commands.
    """
    settings = settings_of(data_dir)
    until = time.monotonic() + wait_s
    while True:
        with found(settings) as control:
            if control is not None:
                yield control
                return
        if not is_in_use(settings.database_path):
            raise NoServerError(
                f"no server runs on the data folder {settings.data_dir}",
                "Start it with webui serve, or name the folder of another one with --data-dir.",
            )
        if time.monotonic() > until:
            raise deaf(settings)
        time.sleep(RETRY_S)


@contextlib.contextmanager
def found(settings: Settings) -> Iterator[Control | None]:
    """Connect to the server of a data folder; None where nobody listens.

    Raises:
        NoServerError: It belongs to somebody else.
    """
    path = endpoint.socket_path(settings.data_dir)
    try:
        connection = endpoint.connect(path, ANSWER_S)
    except (FileNotFoundError, ConnectionRefusedError):
        yield None
        return
    except OSError as error:
        raise NoServerError(
            f"{path} cannot be opened: {error.strerror or error}",
            "Run the command as the user who runs the server, or as root.",
        ) from error
    with connection:
        _check_peer(connection, path)
        with contextlib.closing(Control(connection)) as control:
            yield control


def deaf(settings: Settings) -> NoServerError:
    """Return what is said of a folder that is in use by who takes no commands."""
    return NoServerError(
        f"the data folder {settings.data_dir} is in use, but no server takes commands there",
        "It may be starting or ending: try again. If its log says that commands cannot reach it, "
        "end it before.",
    )


def _check_peer(connection: socket.socket, path: Path) -> None:
    """Check that passwords go to no stranger who put a socket there."""
    uid = endpoint.peer_uid(connection)
    if uid not in {os.geteuid(), path.parent.stat().st_uid}:
        raise NoServerError(
            f"{path} is served by the user with the id {uid}, whose folder this is not",
            "Look who put it there.",
        )
