"""A server of our own: its code, its owners' keys, and what is shown of it when it fails."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from webui.cli.bench import own_server
from webui.cli.bench.own_server import Hearthside
from webui.cli.bench.served import Served
from webui.errors import LoadFailed

if TYPE_CHECKING:
    from pathlib import Path

SAID = "Hearthside is at http://127.0.0.1:1\nThe code is ABCD-EFGH-JKLM; it is good until …\n"


def started(tmp_path: Path, said: str, returncode: int | None = None) -> Hearthside:
    log = tmp_path / "log"
    log.write_text(said, "utf-8")
    return Hearthside(SimpleNamespace(poll=lambda: returncode), 1, log)


def test_request_of_an_owner_shows_that_owners_key() -> None:
    served = Served(1, 2, ("one", "two"))
    assert served.headers()["authorization"] == "Bearer one"
    assert served.headers(1)["authorization"] == "Bearer two"
    with pytest.raises(IndexError):
        served.headers(2)


def test_peer_knows_no_owners_and_is_shown_no_key() -> None:
    assert Served(1, 2).headers(7) == {"content-type": "application/json"}


def test_code_is_read_from_what_the_server_said(tmp_path: Path) -> None:
    assert started(tmp_path, SAID).first_run_code() == "ABCD-EFGH-JKLM"


def test_server_that_ends_without_a_code_did_not_start(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match="did not start") as caught:
        started(tmp_path, "Error: port 1 is in use\n", returncode=1).first_run_code()
    assert caught.value.hint == "See its output above."


def test_code_that_does_not_come_in_time_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_server, "START_TIMEOUT_S", 0.01)
    monkeypatch.setattr(own_server, "LOOK_S", 0.001)
    with pytest.raises(LoadFailed, match="did not start"):
        started(tmp_path, "Hearthside is at …\n").first_run_code()


def test_what_a_server_said_is_shown_only_where_it_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with started(tmp_path, SAID).told_if_it_fails():
        pass
    assert capsys.readouterr() == ("", "")
    with pytest.raises(LoadFailed), started(tmp_path, SAID).told_if_it_fails():
        raise LoadFailed("no")
    assert capsys.readouterr() == ("", SAID)


@pytest.mark.parametrize(("states", "fails"), [(["loading", "ready"], False), (["failed"], True)])
def test_model_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, states: list[str], fails: bool
) -> None:
    left = list(states)

    def is_ready(process, port, is_wanted):
        while left:
            if is_wanted({"status": "ok", "model": {"state": left.pop(0)}}):
                return True
        return False

    monkeypatch.setattr(own_server, "is_ready", is_ready)
    waiting = started(tmp_path, "")
    if fails:
        with pytest.raises(LoadFailed, match="did not get ready"):
            waiting.wait_for_model()
    else:
        waiting.wait_for_model()
    assert not left


def test_model_that_does_not_come_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_server, "is_ready", lambda *_: False)
    with pytest.raises(LoadFailed, match="did not get ready"):
        started(tmp_path, "", returncode=1).wait_for_model()
