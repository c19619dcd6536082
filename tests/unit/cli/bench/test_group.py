"""`bench` without a measurement is `bench stack`, with its flags."""

from __future__ import annotations

import subprocess
import sys

import pytest
from click.testing import CliRunner

from webui.cli.bench import bench
from webui.cli.bench import stack as stack_module
from webui.errors import LoadFailed


@pytest.mark.parametrize("words", [[], ["stack"]])
def test_flags_without_a_measurement_are_those_of_stack(
    monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    asked: list[tuple[object, ...]] = []

    def measure(*given: object) -> None:
        asked.append(given)
        raise LoadFailed("enough")

    monkeypatch.setattr(stack_module, "measure", measure)
    arguments = [*words, "--model", __file__, "--threads", "3", "--pairs", "2", "--tokens", "16"]
    result = CliRunner().invoke(bench, arguments)
    assert isinstance(result.exception, LoadFailed)
    ((path, *numbers),) = asked
    assert str(path) == __file__
    assert numbers == [3, 2, 256, 16]


def test_help_names_the_measurements_and_the_flags_of_the_default() -> None:
    text = CliRunner().invoke(bench, ["--help"]).output
    for word in ("engine", "stack", "--prompt"):
        assert word in text


def test_unknown_measurement_is_refused() -> None:
    assert "No such command 'nothing'" in CliRunner().invoke(bench, ["nothing"]).output


@pytest.mark.parametrize("threads", ["0", "1,", "two", "1;2"])
def test_threads_are_numbers_with_commas(threads: str) -> None:
    result = CliRunner().invoke(bench, ["engine", "--threads", threads])
    assert result.exit_code == 2
    assert "such as 1,2" in result.output


def test_engine_without_a_peer_gives_no_figure() -> None:
    result = CliRunner().invoke(bench, ["engine"])
    assert isinstance(result.exception, LoadFailed)
    assert result.output == ""


def test_command_line_loads_no_measurement_before_it_is_asked_for() -> None:
    code = (
        "import sys, webui.cli\n"
        "loaded = [name for name in sys.modules if name.startswith('webui.cli.bench.')]\n"
        "assert loaded == ['webui.cli.bench.group'], loaded\n"
        "assert 'webui.engine.process' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
