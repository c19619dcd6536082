"""The command line's end of the control socket: what it believes, and what it says when it cannot."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from webui.api.control import endpoint
from webui.api.control.messages import GetStatus, LoadModel
from webui.chat.views import ModelStatus
from webui.cli import control as control_module
from webui.cli.control import Control, NoServerError, RefusedError, connected, found
from webui.errors import InvalidRequest
from webui.settings import Settings
from webui.storage.folder import FolderLock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def pair() -> Iterator[tuple[Control, socket.socket]]:
    """The command's end, and the server's, which a test plays."""
    mine, theirs = socket.socketpair()
    with mine, theirs:
        mine.settimeout(20)
        control = Control(mine)
        yield control, theirs
        control.close()


def asked(pair: tuple[Control, socket.socket], answer: bytes) -> ModelStatus:
    control, theirs = pair
    theirs.sendall(answer)
    theirs.shutdown(socket.SHUT_WR)
    return control.ask(GetStatus(), ModelStatus)


def test_command_is_one_line_and_its_result_comes_back(
    pair: tuple[Control, socket.socket],
) -> None:
    status = asked(pair, b'{"result":{"state":"ready","name":"Tiny"}}\n')
    assert (status.state, status.name) == ("ready", "Tiny")
    assert pair[1].recv(1000) == b'{"command":"status"}\n'


def test_error_of_the_server_is_raised_with_its_words(pair: tuple[Control, socket.socket]) -> None:
    with pytest.raises(RefusedError) as caught:
        asked(pair, b'{"error":{"code":"conflict","message":"so it is","hint":"do this"}}\n')
    error = caught.value
    assert (error.remote_code, error.message, error.hint) == ("conflict", "so it is", "do this")


@pytest.mark.parametrize(
    "answer", [b"", b'{"result":{"state":"re', b"\n", b"[]\n", b'{"result":7}\n']
)
def test_answer_that_makes_no_sense_is_said_to_be_none(
    pair: tuple[Control, socket.socket], answer: bytes
) -> None:
    with pytest.raises(NoServerError) as caught:
        asked(pair, answer)
    assert caught.value.hint


def test_silence_ends(pair: tuple[Control, socket.socket]) -> None:
    control, _ = pair
    control._connection.settimeout(0.01)
    with pytest.raises(NoServerError, match="did not answer"):
        control.ask(GetStatus(), ModelStatus)


def test_refusal_that_came_before_all_was_sent_is_read(
    pair: tuple[Control, socket.socket],
) -> None:
    control, theirs = pair
    theirs.sendall(b'{"error":{"code":"busy","message":"too many","hint":""}}\n')
    theirs.close()
    with pytest.raises(RefusedError, match="too many"):
        control.ask(LoadModel("x" * 1_000_000), ModelStatus)


def test_argument_that_is_no_text_is_refused(pair: tuple[Control, socket.socket]) -> None:
    with pytest.raises(InvalidRequest, match="not UTF-8"):
        pair[0].ask(LoadModel("\udcff"), ModelStatus)


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with endpoint.listen(tmp_path / "control.sock") as listener:
        yield listener


def test_socket_of_a_stranger_is_not_spoken_to(
    tmp_path: Path, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "peer_uid", lambda connection: os.geteuid() + 7)
    with (
        pytest.raises(NoServerError, match="whose folder this is not"),
        found(Settings(data_dir=tmp_path)),
    ):
        pytest.fail("it was trusted")


@pytest.mark.usefixtures("listener")
def test_server_is_found_by_its_socket(tmp_path: Path) -> None:
    with connected(tmp_path) as control:
        assert isinstance(control, Control)


def test_without_a_server_it_is_said_which_folder_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NoServerError) as caught, connected(tmp_path):
        pytest.fail("nobody is there")
    assert str(tmp_path) in caught.value.message
    assert "webui serve" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_folder_in_use_by_who_takes_no_commands_is_said_so(tmp_path: Path) -> None:
    with (
        FolderLock(tmp_path / "hearthside.db"),
        pytest.raises(NoServerError, match="is in use"),
        connected(tmp_path, wait_s=0),
    ):
        pytest.fail("nobody is there")


def test_server_that_is_starting_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listeners: list[socket.socket] = []

    def wait(_seconds: float) -> None:
        listeners.append(endpoint.listen(tmp_path / "control.sock"))

    monkeypatch.setattr(control_module.time, "sleep", wait)
    with FolderLock(tmp_path / "hearthside.db"), connected(tmp_path):
        assert len(listeners) == 1
    monkeypatch.undo()
    listeners[0].close()


def test_socket_that_may_not_be_opened_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> socket.socket:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(endpoint, "connect", refuse)
    with (
        pytest.raises(NoServerError, match=r"control\.sock cannot be opened: Permission denied"),
        found(Settings(data_dir=tmp_path)),
    ):
        pytest.fail("it was opened")
