"""The promises about a server that dies, is stopped, or finds its place taken."""

from __future__ import annotations

import random
import signal
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.serving import Server
from tests.tiny_gguf import write_tiny_gguf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

# The tiny model writes thousands of tokens a second: what shall outlast a kill must be long.
LONG_CONTEXT = 1 << 18
LONG_OPTIONS = {"context_length": LONG_CONTEXT, "slots": 1}


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start_server(*flags: str, data_dir: Path | None = None, ready: bool = True) -> Server:
        server = Server(data_dir or tmp_path / "data", "--no-ui", *flags)
        servers.append(server)
        return server.start(ready=ready)

    yield start_server
    for server in servers:
        server.close()


@pytest.fixture
def tiny_model(tmp_path: Path) -> Path:
    path = tmp_path / "models" / "tiny.gguf"
    path.parent.mkdir()
    return write_tiny_gguf(path, says=[b"on ", b"and "], ends=False, context_length=LONG_CONTEXT)


def test_reply_after_kill_of_server_is_interrupted_and_at_most_a_second_old(
    start: Callable[..., Server],
) -> None:
    server = start("--fake-engine", "50")
    conversation = server.new_conversation()
    server.send(conversation, "long 2000 words")
    server.wait_for(lambda: len(server.reply(conversation)["text"]) > 400)
    seen = ""
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        seen = server.reply(conversation)["text"]
    server.stop(signal.SIGKILL)

    server.start()
    reply = server.reply(conversation)
    assert reply["status"] == "interrupted"
    assert seen.startswith(reply["text"]) or reply["text"].startswith(seen)
    # 50 words a second; the text may be at most a second old.
    assert len(seen.split()) - len(reply["text"].split()) <= 55
    assert [m["role"] for m in server.transcript(conversation)["messages"]] == ["user", "assistant"]

    server.ask(
        "POST",
        f"/api/conversations/{conversation}/messages",
        {"mode": "continue", "message_id": reply["id"]},
    )
    server.wait_for(lambda: len(server.reply(conversation)["text"]) > len(reply["text"]))
    assert server.reply(conversation)["text"].startswith(reply["text"])


def test_user_message_is_kept_when_the_server_dies_right_after_the_answer(
    start: Callable[..., Server],
) -> None:
    server = start("--fake-engine", "5")
    conversation = server.new_conversation()
    server.send(conversation, "remember me")
    server.stop(signal.SIGKILL)
    server.start()
    assert server.transcript(conversation)["messages"][0]["text"] == "remember me"


def test_sigterm_ends_server_and_worker_and_keeps_the_text(
    start: Callable[..., Server], tiny_model: Path
) -> None:
    server = start("--models-dir", str(tiny_model.parent), "--model", "tiny.gguf")
    server.wait_for_model()
    children = server.children()
    assert children
    conversation = server.new_conversation()
    server.ask("PUT", "/api/parameters", {"max_tokens": 100_000})
    server.send(conversation, "tell me everything")
    server.wait_for(lambda: server.reply(conversation)["text"] != "")

    started = time.monotonic()
    assert server.stop(signal.SIGTERM) == 0
    assert time.monotonic() - started < 10
    assert not [child for child in children if child.is_running()]

    server.start()
    assert server.reply(conversation)["text"] != ""


def test_reply_ends_with_an_error_when_the_worker_is_killed_and_the_next_one_works(
    start: Callable[..., Server], tiny_model: Path
) -> None:
    server = start("--models-dir", str(tiny_model.parent))
    server.ask("POST", "/api/models/load", {"model_id": "tiny.gguf", "options": LONG_OPTIONS})
    server.wait_for_model()
    server.ask("PUT", "/api/parameters", {"max_tokens": 1_000_000, "temperature": 0})
    conversation = server.new_conversation()
    with server.events() as events:
        turn = server.send(conversation, "tell me everything")
        for event in events:
            if event["type"] == "text":
                break
        for child in server.children():
            child.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        error = next(event for event in events if event["type"] == "error")
    assert time.monotonic() - killed < 2
    assert error["code"] == "engine_died"
    assert error["message"]
    assert error["hint"]
    assert error["generation_id"] == turn["generation"]["id"]
    kept = server.reply(conversation)
    assert kept["text"]
    assert kept["status"] == "interrupted"

    server.ask("PUT", "/api/parameters", {"max_tokens": 8})
    server.send(conversation, "again", parent_id=kept["id"])
    assert server.wait_for_reply(conversation)["status"] == "complete"


def test_worker_dies_with_a_killed_server(start: Callable[..., Server], tiny_model: Path) -> None:
    server = start("--models-dir", str(tiny_model.parent), "--model", "tiny.gguf")
    server.wait_for_model()
    children = server.children()
    server.stop(signal.SIGKILL)
    _, alive = psutil.wait_procs(children, timeout=5)
    assert not alive


def test_last_model_is_loaded_again_at_the_next_start(
    start: Callable[..., Server], tiny_model: Path
) -> None:
    server = start("--models-dir", str(tiny_model.parent))
    server.ask("POST", "/api/models/load", {"model_id": "tiny.gguf"})
    server.wait_for_model()
    server.stop()
    server.start()
    server.wait_for_model()
    assert server.health()["model"]["name"]  # type: ignore[index]  # it just answered


def test_listener_that_comes_and_goes_loses_and_doubles_nothing(
    start: Callable[..., Server],
) -> None:
    server = start("--fake-engine", "400")
    conversation = server.new_conversation()
    server.send(conversation, "echo " + " ".join(f"word{i} 🙂é" for i in range(600)))
    chance = random.Random(7)
    transcript = server.transcript(conversation)
    text, cursor = transcript["messages"][-1]["text"], transcript["cursor"]
    attached, done = 1, False
    while not done:
        with server.events(cursor) as events:
            left = chance.randrange(1, 12)
            for event in events:
                assert event["type"] != "reset"
                cursor = event["id"] or cursor
                if event["type"] == "text":
                    text += event["text"]
                    left -= 1
                done = event["type"] == "done"
                if done or left == 0:
                    break
        attached += 1
    assert attached > 10
    assert text == server.reply(conversation)["text"]
    assert text.endswith("word599 🙂é")


def test_second_server_on_the_same_folder_is_refused(
    start: Callable[..., Server], tmp_path: Path
) -> None:
    start("--fake-engine", "50")
    second = start("--fake-engine", "50", ready=False)
    assert second.process is not None
    assert second.process.wait(30) == 1
    assert str(tmp_path / "data") in second.log.read_text()


def test_port_in_use_is_one_clear_line(start: Callable[..., Server], tmp_path: Path) -> None:
    first = start("--fake-engine", "50")
    second = Server(tmp_path / "other", "--no-ui", "--fake-engine", "50")
    second.port = first.port
    second.start(ready=False)
    assert second.process is not None
    assert second.process.wait(30) == 1
    words = second.log.read_text()
    assert str(first.port) in words
    assert "Traceback" not in words


@pytest.mark.parametrize("flags", [("--host", "0.0.0.0"), ("--host", "127.0.0.2")])
def test_stranger_gets_no_further_than_the_code_that_the_terminal_prints(
    start: Callable[..., Server], flags: tuple[str, ...]
) -> None:
    server = start("--fake-engine", "50", *flags, ready=False)
    server.wait_for(lambda: "/first-run#" in server.log.read_text())
    words = server.log.read_text()
    code = server.first_run_code()
    assert f"/first-run#{code}\n" in words
    assert len(code) == 14
    server.stop()
    server.start(ready=False)
    server.wait_for(lambda: server.log.read_text().count("The code is") == 2)
    assert server.first_run_code() != code  # good for one run of the server


def test_web_process_has_loaded_neither_llama_cpp_nor_torch(
    start: Callable[..., Server], tiny_model: Path
) -> None:
    server = start("--models-dir", str(tiny_model.parent), "--model", "tiny.gguf")
    server.wait_for_model()
    maps = [entry.path for entry in psutil.Process(server.pid).memory_maps()]
    assert not [path for path in maps if "llama" in path or "ggml" in path or "torch" in path]
