"""The command at its edges: what it says, what it refuses, how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.serving import Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "data", "--no-ui", "--models-dir", str(tmp_path / "models"))
    yield made
    made.close()


def refused(*arguments: str) -> str:
    """Run a command that must fail; return its one line."""
    done = subprocess.run(
        [sys.executable, "-m", "webui", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr


def test_address_and_starter_are_printed_once_it_listens(server: Server) -> None:
    server.start()
    server.wait_for(lambda: "starter" in server.log.read_text())
    assert f"Hearthside is at {server.url}\n" in server.log.read_text()


def test_free_port_is_printed(tmp_path: Path) -> None:
    server = Server(tmp_path / "data", "--no-ui", "--fake-engine", "9")
    server.port = 0
    server.start(ready=False)
    try:
        server.wait_for(lambda: "http://127.0.0.1:" in server.log.read_text(), 60)
        assert "http://127.0.0.1:0" not in server.log.read_text()
    finally:
        server.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_it_cleanly_with_a_stream_open(server: Server, number: signal.Signals) -> None:
    server.flags = (*server.flags, "--fake-engine", "20")
    server.start()
    conversation = server.new_conversation()
    with server.events() as events:
        server.send(conversation, "long 5000 words")
        for event in events:
            if event["type"] == "text":
                break
        started = time.monotonic()
        assert server.stop(number) == 0
        assert time.monotonic() - started < 10
    words = server.log.read_text()
    assert "Traceback" not in words
    assert "level=error" not in words


def test_data_folder_that_is_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    words = refused("--no-ui", "--port", "0", "--data-dir", str(tmp_path / "file"))
    assert str(tmp_path / "file") in words


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_data_folder_without_rights_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    words = refused("--no-ui", "--port", "0", "--data-dir", str(tmp_path / "closed" / "data"))
    assert "closed" in words


def test_certificate_of_no_use_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("no certificate")
    flags = ("--no-ui", "--port", "0", "--data-dir", str(tmp_path / "data"))
    words = refused(*flags, "--tls-cert", str(tmp_path / "cert.pem"))
    assert "cert.pem: not a certificate with its key" in words
    words = refused(*flags, "--tls-cert", str(tmp_path / "gone.pem"))
    assert "gone.pem: No such file or directory" in words


def test_root_path_of_our_own_is_one_line(tmp_path: Path) -> None:
    words = refused("--no-ui", "--port", "0", "--data-dir", str(tmp_path), "--root-path", "/api/x")
    assert "--root-path /api/x begins as" in words


def test_broken_database_is_one_line_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "hearthside.db").write_bytes(b"not a database at all")
    words = refused("--no-ui", "--port", "0", "--data-dir", str(tmp_path))
    assert "hearthside.db" in words
    assert (tmp_path / "hearthside.db").read_bytes() == b"not a database at all"


def test_wrong_settings_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text("prot = 8000\n")
    assert "prot" in refused("--data-dir", str(tmp_path))
