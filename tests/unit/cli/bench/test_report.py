"""Bars are judged by the worse end of the interval; tables say what was compared."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from webui.cli.bench.report import EngineReport, ScenarioReport, head, judge, table
from webui.cli.bench.scenario import at_least, at_most
from webui.cli.bench.served_scenarios import DECODE, FIRST_TOKEN, OneStream
from webui.cli.bench.statistics import Estimate, Pair

INFO = "system_info: n_threads = 2 (n_threads_batch = 2) / 2 | CPU : AVX2 = 1 | OPENMP = 1 |"


@pytest.mark.parametrize(
    ("low", "high", "floor_met", "ceiling_met"),
    [
        (0.98, 1.2, True, False),
        (0.97, 1.03, True, True),
        (0.9699, 1.03, False, True),
        (0.5, 1.0301, False, False),
    ],
)
def test_bar_is_met_within_three_hundredths(
    low: float, high: float, floor_met: bool, ceiling_met: bool
) -> None:
    found = Estimate(1.0, low, high)
    assert at_least("x", 1.0).is_met(found) is floor_met
    assert at_most("x", 1.0).is_met(found) is ceiling_met


@pytest.mark.parametrize(
    ("limit", "high", "is_met"),
    [
        (0.05, 0.05, True),
        (0.05, 0.0514, True),
        (0.05, 0.052, False),
        (0.05, 0.08, False),
        (0.1, 0.1029, True),
        (0.1, 0.104, False),
        (0.15, 0.16, False),
        (1.25, 1.279, True),
        (1.25, 1.29, False),
        (0, 0, True),
        (0, 0.001, False),
    ],
)
def test_small_ceiling_has_a_small_slack(limit: float, high: float, is_met: bool) -> None:
    assert at_most("x", limit).is_met(Estimate(limit, limit, high)) is is_met


def test_bar_without_slack_is_exact() -> None:
    bar = at_most("errors", 0, slack=0)
    assert bar.is_met(Estimate(0, 0, 0))
    assert not bar.is_met(Estimate(0.01, 0.01, 0.01))


def report() -> EngineReport:
    samples = [
        {FIRST_TOKEN: Pair(2.0, 1.0), DECODE: Pair(ours, 40.0)} for ours in (39.0, 40.0, 41.0)
    ]
    findings = judge(OneStream(), 2, samples)
    one = ScenarioReport("1 stream", "HTTP", "llama-server -np 1", {"slots": 1}, 1.5, findings)
    return EngineReport("a.gguf", "0.3.36 CPU : AVX2 = 1 OPENMP = 1", INFO, (one,))


def test_judge_takes_medians_of_each_metric() -> None:
    first, decode = report().scenarios[0].findings
    assert (first.metric, first.ours, first.reference, first.ratio) == (FIRST_TOKEN, 2.0, 1.0, 2.0)
    assert not first.is_met
    assert (decode.ours, decode.reference, decode.ratio, decode.num_pairs) == (40.0, 40.0, 1.0, 3)
    assert (decode.low, decode.high, decode.bar) == (0.975, 1.025, "≥ 0.98")
    assert decode.is_met


def test_table_names_both_builds_the_command_and_the_verdicts() -> None:
    text = table(report())
    assert INFO in text
    assert "llama-server -np 1" in text
    assert "slots=1" in text
    assert "0.975 … 1.025" in text
    rows = {line.split("  ")[0]: line.split()[-1] for line in text.splitlines() if "…" in line}
    assert rows == {FIRST_TOKEN: "MISSED", DECODE: "met"}
    assert "1.5 % of a core" in text
    assert "NOT THE SAME BUILD" not in text


def test_builds_that_differ_are_told() -> None:
    other = EngineReport("a.gguf", "0.3.36 CPU : AVX2 = 1 AVX512 = 1 OPENMP = 1", INFO, ())
    assert head(other).splitlines()[-1].endswith("two compilers: AVX512")


def test_report_becomes_json() -> None:
    (one,) = json.loads(json.dumps(asdict(report())))["scenarios"]
    assert one["findings"][1]["ratio"] == 1.0
