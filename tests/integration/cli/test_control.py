"""Commands beside a running server, and what happens where one died or two come at once."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.serving import Server
from tests.tiny_gguf import write_tiny_gguf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

GOOD, OTHER = "four words in a row", "another row of words"
LINE_S = 60


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start_server(*flags: str, data_dir: Path | None = None) -> Server:
        server = Server(data_dir or tmp_path / "data", "--no-ui", *flags)
        servers.append(server)
        return server.start()

    yield start_server
    for server in servers:
        server.close()


def begin(data_dir: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "webui", *arguments, "--data-dir", str(data_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(command: subprocess.Popen[str], typed: str = "", code: int = 0) -> str:
    out, err = command.communicate(typed, timeout=LINE_S)
    assert command.returncode == code, out + err
    if code:
        assert len(err.splitlines()) == 1, err
    return err if code else out


def say(data_dir: Path, *arguments: str, typed: str = "") -> str:
    """Run a command that must succeed; return what it printed."""
    return ended(begin(data_dir, *arguments), typed)


def refused(data_dir: Path, *arguments: str) -> str:
    """Run a command that must fail; return its one line."""
    return ended(begin(data_dir, *arguments), code=1)


def made_up(words: str) -> str:
    return words.partition("The password is ")[2].split()[0]


def test_accounts_are_seen_to_while_the_server_runs(start: Callable[..., Server]) -> None:
    server = start("--fake-engine", "50")
    folder = server.data_dir
    conversation = server.new_conversation()
    assert "Ann is the administrator" in say(
        folder, "user", "add", "Ann", "--password-stdin", typed=GOOD
    )
    assert server.request("GET", "/api/conversations")[0] == 401, "everybody signs in from now on"
    server.token = server.sign_in("Ann", GOOD)
    assert server.transcript(conversation)["conversation"]["id"] == conversation

    password = made_up(say(folder, "user", "add", "Bob"))
    bob = server.sign_in("Bob", password)
    assert server.ask("GET", "/api/users")["users"][1]["name"] == "Bob"
    assert [one["name"] for one in json.loads(say(folder, "user", "list", "--json"))] == [
        "Ann",
        "Bob",
    ]
    ann, server.token = server.token, bob
    assert server.request("GET", "/api/me")[0] == 200
    say(folder, "user", "disable", "bob")
    assert server.request("GET", "/api/me")[0] == 401, "shut out at once"

    server.token = ann
    new = made_up(say(folder, "user", "reset", "Ann"))
    assert server.request("GET", "/api/me")[0] == 401
    assert server.sign_in("Ann", new)
    assert "Bob is gone" in say(folder, "user", "delete", "Bob", "--yes")
    assert "no user 'Bob'" in refused(folder, "user", "reset", "Bob")
    assert password not in server.log.read_text()

    say(folder, "user", "reset", "Ann", "--password-stdin", typed=OTHER)
    server.token = server.sign_in("Ann", OTHER)
    entries = server.ask("GET", "/api/audit")["entries"]
    by_hand = [one["action"] for one in entries if one["actor_name"] == "command line"]
    assert by_hand == [
        "reset_password",
        "delete_user",
        "reset_password",
        "change_user",
        "add_user",
        "claim",
    ]


def test_ps_tells_who_runs_and_no_word_of_what_is_said(start: Callable[..., Server]) -> None:
    server = start("--fake-engine", "20")
    folder = server.data_dir
    assert "Nobody waits." in say(folder, "ps")
    say(folder, "user", "add", "Ann", "--password-stdin", typed=GOOD)
    server.token = server.sign_in("Ann", GOOD)
    conversation = server.new_conversation()
    server.send(conversation, "long 5000 words about xylophones")
    server.wait_for(lambda: server.reply(conversation)["text"] != "")
    running = json.loads(say(folder, "ps", "--json"))
    (reply,) = running["requests"]
    assert (reply["name"], reply["is_api"], reply["doing"]) == ("Ann", False, "writing")
    assert reply["num_tokens"] > 0
    assert running["status"]["state"] == "ready"
    words = say(folder, "ps")
    assert "is loaded." in words
    assert "writing" in words
    assert not [w for w in ("xylophones", "long 5000") if w in words or w in str(running)]


def test_models_are_listed_loaded_and_unloaded(
    start: Callable[..., Server], tmp_path: Path
) -> None:
    models = tmp_path / "models"
    models.mkdir()
    write_tiny_gguf(models / "tiny.gguf")
    (models / "broken.gguf").write_bytes(b"GGUF and nothing more")
    server = start("--models-dir", str(models))
    folder = server.data_dir
    assert "No model is loaded." in say(folder, "ps")
    assert say(folder, "unload") == "No model is loaded.\n"
    assert "is loaded, " in say(folder, "load", "tiny.gguf")
    server.wait_for_model()
    lines = say(folder, "models").splitlines()
    assert [line.split()[0] for line in lines] == ["NAME", "broken.gguf", "tiny.gguf"]
    assert "cannot be loaded: " in lines[1]
    assert lines[2].endswith("loaded")
    assert json.loads(say(folder, "models", "--json"))["status"]["state"] == "ready"
    assert "There is no model 'nope'" in refused(folder, "load", "nope")
    assert "broken" in refused(folder, "load", "broken.gguf")
    server.wait_for_model("ready")
    assert "is unloaded." in say(folder, "unload", "--force")
    server.wait_for_model("none")


def test_command_after_a_kill_needs_no_server_and_the_next_server_hears(
    start: Callable[..., Server],
) -> None:
    server = start("--fake-engine", "50")
    folder = server.data_dir
    say(folder, "user", "add", "Ann", "--password-stdin", typed=GOOD)
    server.stop(signal.SIGKILL)
    assert (folder / "control.sock").is_socket()
    assert "no server runs" in refused(folder, "ps")
    assert "Added Bob" in say(folder, "user", "add", "Bob")
    server.start()
    assert "Bob" in say(folder, "user", "list")
    assert "Nobody waits." in say(folder, "ps")
    server.stop()
    assert not (folder / "control.sock").exists()


def test_two_commands_at_once_both_do_their_work(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    commands = [begin(folder, "user", "add", name) for name in ("Ann", "Bob")]
    words = [ended(command) for command in commands]
    assert sum("is the administrator" in one for one in words) == 1
    users = json.loads(say(folder, "user", "list", "--json"))
    assert {one["name"] for one in users} == {"Ann", "Bob"}
    assert sorted(one["role"] for one in users) == ["administrator", "user"]


def test_two_commands_at_once_beside_a_server_both_do_their_work(
    start: Callable[..., Server],
) -> None:
    folder = start("--fake-engine", "50").data_dir
    commands = [begin(folder, "user", "add", name) for name in ("Ann", "Bob")]
    words = [ended(command) for command in commands]
    assert sum("is the administrator" in one for one in words) == 1
    users = json.loads(say(folder, "user", "list", "--json"))
    assert sorted(one["role"] for one in users) == ["administrator", "user"]


def test_data_folder_with_a_long_path_will_do(start: Callable[..., Server], tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 40) / "data"
    folder.parent.mkdir()
    server = start("--fake-engine", "50", data_dir=folder)
    assert "commands cannot reach" not in server.log.read_text()
    assert "is loaded." in say(folder, "ps")
    say(folder, "backup")


def test_password_is_asked_for_without_an_echo(tmp_path: Path) -> None:
    mine, theirs = pty.openpty()
    command = subprocess.Popen(
        [sys.executable, "-m", "webui", "user", "add", "Ann", "--data-dir", str(tmp_path / "data")],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    seen = b""

    def wait_for(words: bytes) -> None:
        nonlocal seen
        while words not in seen:
            seen += os.read(mine, 1000)

    try:
        for prompt, typed in (
            (b"none makes one up): ", GOOD),
            (b"again: ", OTHER),
            (b"They differ.", None),
        ):
            wait_for(prompt)
            if typed is not None:
                os.write(mine, f"{typed}\n".encode())
        seen = seen.partition(b"They differ.")[2]
        wait_for(b"none makes one up): ")
        os.write(mine, f"{GOOD}\n".encode())
        wait_for(b"again: ")
        os.write(mine, f"{GOOD}\n".encode())
        wait_for(b"Ann is the administrator")
        assert command.wait(LINE_S) == 0
    finally:
        command.kill()
        command.wait()
        os.close(mine)
    assert GOOD.encode() not in seen
    assert b"The password is" not in seen
