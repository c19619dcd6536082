"""What the terminal says of other devices."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING

import pytest

from tests.unit.api.fakes import fake_lan
from webui.cli.other_devices import PLAIN_HTTP, code_of, tell_others
from webui.network import qr
from webui.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

URL = "http://192.168.1.5:7860/"


def test_server_of_this_machine_alone_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    tell_others(fake_lan(Settings(), "192.168.1.5"))
    assert capsys.readouterr().out == ""


def test_listening_server_prints_its_addresses_and_what_plain_http_lacks(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tell_others(fake_lan(Settings(listen=True), "192.168.1.5", "fd00::5"))
    assert capsys.readouterr().out.splitlines() == [
        "On other devices of this network:",
        "  http://192.168.1.5:7860",
        "  http://desk.local:7860",
        "  http://[fd00::5]:7860",
        PLAIN_HTTP,
    ]


def test_listening_server_without_a_network_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    tell_others(fake_lan(Settings(listen=True)))
    assert "no network yet" in capsys.readouterr().out


def test_https_prints_the_fingerprint_and_no_warning(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    lan = fake_lan(Settings(listen=True, tls=True, data_dir=tmp_path), "192.168.1.5")
    assert lan.certificates is not None
    lan.certificates.open(lan.reachable())
    tell_others(lan)
    said = capsys.readouterr().out
    assert "  https://192.168.1.5:7860" in said
    assert f"SHA-256 {lan.certificates.fingerprint}" in said
    assert PLAIN_HTTP not in said


@pytest.mark.parametrize(
    ("is_terminal", "columns", "encoding", "is_drawn"),
    [
        (True, 80, "utf-8", True),
        (True, 20, "utf-8", False),
        (True, 80, "ascii", False),
        (False, 80, "utf-8", False),
    ],
)
def test_code_is_drawn_where_a_person_can_see_it_whole(
    monkeypatch: pytest.MonkeyPatch, is_terminal, columns, encoding, is_drawn
) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return bool(is_terminal)

    Terminal.encoding = encoding  # type: ignore[attr-defined]
    monkeypatch.setattr(sys, "stdout", Terminal())
    size = os.terminal_size((columns, 24))
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: size)
    assert code_of(URL) == (qr.lines(URL) if is_drawn else [])
