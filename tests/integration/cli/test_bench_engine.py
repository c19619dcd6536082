"""`webui bench engine` beside a stand-in for llama-server: clients, processes, the whole command."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from tests import fake_llama_server
from tests.tiny_gguf import write_tiny_gguf
from webui.cli.bench.own_engine import ask_behind, own_engine
from webui.cli.bench.own_server import own_server
from webui.cli.bench.owner_scenarios import REPLY_TOKENS, _ask_peer_behind
from webui.cli.bench.peers import Shape, peer_server, peer_system_info
from webui.cli.bench.scenario import chat_body
from webui.cli.bench.served import Served
from webui.cli.bench.streams import Stream, ask, ask_all
from webui.errors import Busy, EngineError, LoadFailed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

SHAPE = Shape(threads=1, num_streams=4, context_length=1024)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return fake_llama_server.install(tmp_path)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "models" / "tiny.gguf"
    path.parent.mkdir()
    return write_tiny_gguf(path, says=[b"on ", b"and "], ends=False, context_length=2048)


@pytest.fixture
def peer(program: Path, model: Path) -> Iterator[Served]:
    with peer_server(program, model, SHAPE) as served:
        yield served


def test_peer_tells_its_build_before_it_opens_a_model(program: Path) -> None:
    assert peer_system_info(program) == fake_llama_server.SYSTEM_INFO.strip()


def test_peer_that_ends_is_told_with_its_last_words(program: Path, tmp_path: Path) -> None:
    with (
        pytest.raises(LoadFailed, match="exiting due to model loading error"),
        peer_server(program, tmp_path / "nowhere.gguf", SHAPE),
    ):
        pass


def test_peer_is_ended_with_its_block(program: Path, model: Path) -> None:
    with peer_server(program, model, SHAPE) as served:
        assert psutil.pid_exists(served.pid)
    assert not psutil.pid_exists(served.pid)


def test_client_takes_text_stamps_and_counts(peer: Served) -> None:
    reply = ask(peer, chat_body("hello", 20, 1))
    assert reply.text == " é" * 20
    assert len(reply.stamps_s) == 20
    assert list(reply.stamps_s) == sorted(reply.stamps_s)
    assert reply.started_s < reply.stamps_s[0]
    assert (reply.prompt_tokens, reply.completion_tokens) == (10, 20)
    assert reply.cached_tokens == fake_llama_server.CACHED_TOKENS


def test_several_clients_are_served_at_once(peer: Served) -> None:
    endless = Stream(peer, chat_body("ENDLESS", 1, 1))
    endless.wait_tokens(3)
    replies = ask_all(peer, [chat_body("hello", num, 1) for num in (5, 6, 7)])
    assert [reply.completion_tokens for reply in replies] == [5, 6, 7]
    assert len(endless.cancel().stamps_s) >= 3


@pytest.mark.parametrize(("question", "said"), [("REFUSE", "answered 400"), ("BREAK", "broken")])
def test_refusals_and_broken_streams_are_errors(peer: Served, question: str, said: str) -> None:
    with pytest.raises(EngineError, match=said):
        ask(peer, chat_body(question, 5, 1))
    with pytest.raises(EngineError, match="ended after 0 tokens"):
        Stream(peer, chat_body(question, 5, 1)).wait_tokens(1)


def test_refusal_for_want_of_room_is_told_apart(peer: Served) -> None:
    with pytest.raises(Busy):
        ask(peer, chat_body("BUSY", 5, 1))
    with pytest.raises(Busy):
        ask(peer, chat_body("FULL", 5, 1))


def test_end_of_a_stream_is_seen_from_outside(peer: Served) -> None:
    endless = Stream(peer, chat_body("ENDLESS", 1, 1))
    assert not endless.has_ended(0.05)
    endless.cancel()
    assert endless.has_ended()
    assert Stream(peer, chat_body("REFUSE", 1, 1)).has_ended(10)


def test_own_server_has_owners_with_keys_and_says_nothing(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    kept, options = tmp_path / "kept", SHAPE.load_options()
    with own_server(model, options, kept, num_owners=2) as server:
        assert len(set(server.keys)) == 2
        replies = ask_all(server, [chat_body("hello", 8, 1)] * 2, [0, 1])
        assert [reply.completion_tokens for reply in replies] == [8, 8]
        with pytest.raises(EngineError, match="answered 401"):
            ask(Served(server.port, server.pid), chat_body("hello", 8, 1))
    assert not psutil.pid_exists(server.pid)
    with own_server(model, options, kept, keys=server.keys) as again:
        assert again.keys == server.keys
        assert ask(again, chat_body("hello", 8, 1), 1).completion_tokens == 8
    assert capfd.readouterr() == ("", "")


def test_own_server_that_cannot_load_shows_what_it_said(
    model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = {**SHAPE.load_options(), "lora": "nowhere.gguf"}
    with pytest.raises(LoadFailed), own_server(model, options):
        pass
    out, err = capfd.readouterr()
    assert out == ""
    assert "Hearthside is at" in err


def run(program: Path, model: Path, *flags: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "webui", "bench", "engine", "--llama-server", str(program)]
    command += ["--model", str(model), "--pairs", "1", "--threads", "1", "--json", *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=150)
    assert done.stderr == ""
    parsed: dict[str, Any] = json.loads(done.stdout)
    return parsed


def test_streams_over_http_give_every_figure(program: Path, model: Path) -> None:
    report = run(program, model, "--scenario", "several_streams_4")
    assert report["peer_system_info"] == fake_llama_server.SYSTEM_INFO.strip()
    (scenario,) = report["scenarios"]
    assert "-np 4 -c 4096" in scenario["peer_command"]
    assert scenario["path"].startswith("HTTP")
    aggregate, gap = scenario["findings"]
    assert aggregate["ours"] > 0
    assert aggregate["reference"] > 0
    assert aggregate["ratio"] == pytest.approx(aggregate["ours"] / aggregate["reference"])
    assert gap["threads"] == 1


def test_several_owners_are_asked_over_http(program: Path, model: Path) -> None:
    report = run(
        program, model, "--scenario", "owner_share", "--scenario", "pool_filled", "--soak", "2"
    )
    share, pool = report["scenarios"]
    assert share["path"] == pool["path"] == "HTTP, an API key for each owner"
    assert share["peer_command"] == pool["peer_command"] == ""
    assert all(finding["reference"] > 0 for finding in share["findings"])
    errors, refused = pool["findings"]
    assert (errors["reference"], errors["bar"], errors["ours"]) == (None, "≤ 0", 0)
    assert (refused["bar"], refused["is_met"]) == ("≥ 1", True)


def test_speculation_is_measured_against_none(program: Path, model: Path) -> None:
    (scenario,) = run(program, model, "--scenario", "speculation")["scenarios"]
    assert scenario["peer_command"] == ""
    copy, prose = scenario["findings"]
    assert (copy["bar"], prose["bar"]) == ("≥ 1", "≥ 0.97")
    assert min(copy["ours"], copy["reference"], prose["ours"], prose["reference"]) > 0


def test_speculation_is_measured_with_a_draft_model(program: Path, model: Path) -> None:
    asked = ("--scenario", "speculation", "--draft-model", str(model))
    (scenario,) = run(program, model, *asked)["scenarios"]
    copy, prose = scenario["findings"]
    assert min(copy["ours"], copy["reference"], prose["ours"], prose["reference"]) > 0


async def test_others_ask_once_the_first_has_its_first_token(model: Path) -> None:
    async with own_engine(model, SHAPE) as engine:
        owners = ["a", "b", "c"]
        first, *others = await ask_behind(engine, owners, ["one", "two", "three"], 16, "Be brief.")
    assert [reply.completion_tokens for reply in (first, *others)] == [16] * 3
    assert all(reply.started_s >= first.stamps_s[0] for reply in others)


def test_peer_is_asked_behind_the_first_as_our_engine_is(peer: Served) -> None:
    first, *others = _ask_peer_behind(peer, ["one", "two", "three"], "Be brief.")
    assert [reply.completion_tokens for reply in (first, *others)] == [REPLY_TOKENS] * 3
    assert all(reply.started_s >= first.stamps_s[0] for reply in others)
