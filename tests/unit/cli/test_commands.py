"""Flags become settings; `serve` is the default; errors are one line."""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from tests.unit.hub.gguf_bytes import Gguf
from webui.cli import commands as commands_module
from webui.cli import serve as serve_module
from webui.cli.commands import commands, line
from webui.errors import Conflict
from webui.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Settings]:
    """Run the command line; return the settings that would be served."""
    seen: list[Settings] = []
    monkeypatch.setattr(serve_module, "run", lambda settings, listener: seen.append(settings))
    monkeypatch.setattr(serve_module.log, "configure", lambda level: None)
    monkeypatch.setenv("WEBUI_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("WEBUI_PORT", "0")

    def serve(*arguments: str) -> Settings:
        result = CliRunner().invoke(commands, list(arguments), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return seen.pop()

    return serve


def test_flags_without_a_command_are_those_of_serve(served: Callable[..., Settings]) -> None:
    assert served("--log-level", "debug").log_level == "debug"
    assert served("serve", "--no-ui").ui is False
    assert served().ui is True


def test_flags_become_settings(served: Callable[..., Settings]) -> None:
    settings = served("--fake-engine", "50", "--no-browser", "--model", "a.gguf", "--build", "cpu")
    assert (settings.fake_engine, settings.browser) == (50, False)
    assert (settings.model, settings.build) == ("a.gguf", "cpu")


@pytest.mark.parametrize(
    ("arguments", "starter"),
    [
        ((), False),
        (("--starter",), True),
        (("--starter", "--no-ui"), True),
        (("--starter", "a.gguf"), Path("a.gguf")),
    ],
)
def test_starter_is_a_switch_or_takes_a_path(
    served: Callable[..., Settings], arguments: tuple[str, ...], starter: object
) -> None:
    assert served(*arguments).starter == starter


def test_flags_that_may_be_repeated_are_collected(served: Callable[..., Settings]) -> None:
    assert served("--allowed-hosts", "A.example", "--allowed-hosts", "b").allowed_hosts == (
        "a.example",
        "b",
    )
    assert served().allowed_hosts == ()
    assert served("--trusted-proxy", "10.1.2.3/8").trusted_proxy == ("10.0.0.0/8",)


def test_port_that_was_really_taken_is_served(served: Callable[..., Settings]) -> None:
    assert served().port > 0


def test_version_and_help_are_of_the_whole() -> None:
    assert "Hearthside, version" in CliRunner().invoke(commands, ["--version"]).output
    assert "doctor" in CliRunner().invoke(commands, ["--help"]).output


def test_error_is_one_line_and_exit_code_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["webui", "--host", "example.org"])
    with pytest.raises(SystemExit) as caught:
        commands_module.main()
    assert str(caught.value).startswith("Error: host example.org is not an address")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [("nope", "Models there: tiny-chat."), ("tinychat", "Is 'tiny-chat' meant?")],
)
def test_unknown_model_ends_the_start_with_one_line_and_exit_code_two(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    wanted: str,
    said: str,
) -> None:
    (tmp_path / "tiny-chat.gguf").write_bytes(Gguf().encode())
    monkeypatch.setattr(serve_module, "run", lambda settings, listener: pytest.fail("served"))
    places = ["--data-dir", str(tmp_path / "data"), "--models-dir", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["webui", *places, "--model", wanted])
    with pytest.raises(SystemExit) as caught:
        commands_module.main()
    assert caught.value.code == 2
    output = capsys.readouterr().err
    assert output == f"Error: There is no model {wanted!r} in {tmp_path}. {said}\n"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_full_or_closed_disk_is_one_line(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fail(**given: object) -> None:
        raise OSError(number, "no room", "/data/x")

    monkeypatch.setattr(commands_module, "commands", fail)
    with pytest.raises(SystemExit, match="/data/x: no room"):
        commands_module.main()


def test_line_holds_message_and_hint() -> None:
    error = Conflict("two\nlines.", "Do this.")
    assert line(error.message, error.hint) == "Error: two lines. Do this."
    assert line("\x1b[2J is no model", "\x07") == "Error: \\x1b[2J is no model. \\x07"


@pytest.mark.parametrize(
    ("platform", "environment", "terminal", "opens"),
    [
        ("linux", {"DISPLAY": ":0"}, True, True),
        ("linux", {"DISPLAY": ":0"}, False, False),
        ("linux", {}, True, False),
        ("linux", {"DISPLAY": ":0", "SSH_CONNECTION": "x"}, True, False),
        ("linux", {"WSL_DISTRO_NAME": "Debian"}, True, True),
        ("darwin", {}, True, True),
    ],
)
def test_browser_is_opened_only_where_somebody_sees_it(
    monkeypatch: pytest.MonkeyPatch,
    platform: str,
    environment: dict[str, str],
    *,
    terminal: bool,
    opens: bool,
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION", "WSL_DISTRO_NAME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    assert serve_module.can_open_browser() is opens


def test_starter_is_offered_only_where_no_model_is(tmp_path: Path) -> None:
    settings = Settings(models_dir=tmp_path)
    assert serve_module.lacks_model(settings)
    assert not serve_module.lacks_model(Settings(models_dir=tmp_path, starter=True))
    assert not serve_module.lacks_model(Settings(models_dir=tmp_path, fake_engine=5))
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.gguf").touch()
    assert serve_module.lacks_model(settings), "an empty file is no model"
    (tmp_path / "sub" / "b.gguf").write_bytes(Gguf().encode())
    assert not serve_module.lacks_model(settings)
