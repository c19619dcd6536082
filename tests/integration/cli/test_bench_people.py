"""`bench people`: a few people, of whom one leaves and one never reads."""

from __future__ import annotations

import re

import pytest
from click.testing import CliRunner

from webui.cli.bench import people

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


def test_replies_of_those_who_stay_are_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(people, "WARM_UP_S", 0.3)
    flags = ["--people", "4", "--seconds", "2", "--rate", "50", "--drop", "1", "--hold", "1"]
    done = CliRunner().invoke(people.people, flags, catch_exceptions=False)
    assert "all read: 4 of 4 replies whole" in done.output
    assert "some leave: 2 of 2 replies whole" in done.output
    cores = [float(found) for found in re.findall(r"web process (\d+\.\d+) cores", done.output)]
    assert len(cores) == 2
    assert all(0 < one < 2 for one in cores)


@pytest.mark.parametrize(
    "num_people", [20, pytest.param(100, marks=[pytest.mark.soak, pytest.mark.timeout(300)])]
)
def test_many_who_chat_at_once_leave_the_web_process_half_a_core(
    monkeypatch: pytest.MonkeyPatch, num_people: int
) -> None:
    """Replies of 40 tokens a second each, events and saving included; counted in CPU seconds."""
    monkeypatch.setattr(people, "WARM_UP_S", 1.0)
    flags = ["--people", str(num_people), "--seconds", "8", "--rate", "40", "--drop", "0"]
    done = CliRunner().invoke(people.people, [*flags, "--hold", "0"], catch_exceptions=False)
    assert f"all read: {num_people} of {num_people} replies whole" in done.output
    cores = [float(found) for found in re.findall(r"web process (\d+\.\d+) cores", done.output)]
    assert max(cores) <= 0.5 * num_people / 100 + 0.05  # what a server does by itself, besides
