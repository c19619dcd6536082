"""What `bench engine` found, as a table for people and as JSON. Pure."""

from __future__ import annotations

import re
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from webui.cli.bench.statistics import estimate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from webui.cli.bench.scenario import Bar, Scenario
    from webui.cli.bench.statistics import Pair

HEADINGS = ("threads", "ours", "reference", "ratio", "90 % interval", "bar", "")
WIDTHS = (9, 10, 11, 9, 18, 9, 9)
_FEATURE = re.compile(r"(\w+) = (\d+)")


@dataclass(frozen=True, slots=True)
class Finding:
    """One figure of one scenario, judged.

    Attributes:
        scenario: Its name.
        metric: What was measured, with its unit.
        threads: Compute threads of both sides; None: each its default.
        num_pairs: How many pairs it is the median of.
        ours: Median of our figures.
        reference: Median of what they are divided by; None where they stand alone.
        reference_name: What that is.
        ratio: Median of the quotients, pair by pair; `ours` where there is no reference.
        low: Lower end of its 90 % bootstrap interval.
        high: Upper end.
        bar: What is to be reached, as `≥ 0.98`.
        is_met: Whether the worse end reaches it, within the slack.
    """

    scenario: str
    metric: str
    threads: int | None
    num_pairs: int
    ours: float
    reference: float | None
    reference_name: str
    ratio: float
    low: float
    high: float
    bar: str
    is_met: bool


@dataclass(frozen=True, slots=True)
class ScenarioReport:
    """One scenario at one number of threads.

    Attributes:
        title: One line for people.
        path: Where Hearthside was entered.
        peer_command: llama-server's full command; empty where it took no part.
        own_options: What our loader was given.
        client_cpu_percent: Of a core, what the load itself took while measuring.
        findings: One for each bar.
    """

    title: str
    path: str
    peer_command: str
    own_options: Mapping[str, int | str]
    client_cpu_percent: float
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class EngineReport:
    """All of `bench engine`."""

    model: str
    own_system_info: str
    peer_system_info: str
    scenarios: tuple[ScenarioReport, ...]


def judge(
    scenario: Scenario, threads: int | None, samples: Sequence[Mapping[str, Pair]]
) -> tuple[Finding, ...]:
    """Turn the pairs of a scenario into one finding for each of its bars."""
    return tuple(
        _finding(scenario.name, bar, threads, [sample[bar.metric] for sample in samples])
        for bar in scenario.bars
    )


def _finding(name: str, bar: Bar, threads: int | None, pairs: Sequence[Pair]) -> Finding:
    ratio = estimate([pair.quotient for pair in pairs])
    references = [pair.reference for pair in pairs if pair.reference is not None]
    return Finding(
        scenario=name,
        metric=bar.metric,
        threads=threads,
        num_pairs=len(pairs),
        ours=statistics.median(pair.ours for pair in pairs),
        reference=statistics.median(references) if references else None,
        reference_name=bar.reference,
        ratio=ratio.median,
        low=ratio.low,
        high=ratio.high,
        bar=f"{'≥' if bar.is_floor else '≤'} {bar.limit:g}",
        is_met=bar.is_met(ratio),
    )


def features(system_info: str) -> frozenset[tuple[str, str]]:
    """Return the instruction sets and libraries that a system_info line names."""
    return frozenset(_FEATURE.findall(system_info)) - {
        pair
        for pair in _FEATURE.findall(system_info)
        if pair[0] in {"n_threads", "n_threads_batch"}
    }


def head(report: EngineReport) -> str:
    """Lay out what was compared with what."""
    lines = [
        f"model: {report.model}",
        f"ours:  {report.own_system_info}",
        f"peer:  {report.peer_system_info}",
    ]
    differing = features(report.own_system_info) ^ features(report.peer_system_info)
    if differing:
        named = ", ".join(sorted({name for name, _ in differing}))
        lines.append(f"NOT THE SAME BUILD, the figures compare two compilers: {named}")
    return "\n".join(lines)


def table(report: EngineReport) -> str:
    """Lay a whole report out for reading."""
    return "\n\n".join([head(report), *map(section, report.scenarios)])


def section(scenario: ScenarioReport) -> str:
    """Lay out one scenario."""
    options = " ".join(f"{name}={value}" for name, value in scenario.own_options.items())
    metric_width = max(len(finding.metric) for finding in scenario.findings)
    lines = [f"{scenario.title} [{scenario.path}]", f"  ours: {options}"]
    if scenario.peer_command:
        lines.append(f"  peer: {scenario.peer_command}")
    lines.append(" " * metric_width + _row(HEADINGS))
    lines += [
        f"{finding.metric:<{metric_width}}" + _row(_cells(finding)) for finding in scenario.findings
    ]
    lines += [
        f"  {finding.metric}: ratio to {finding.reference_name}"
        for finding in scenario.findings
        if finding.reference_name
    ]
    num_pairs = scenario.findings[0].num_pairs
    lines.append(
        f"  medians of {num_pairs} pair(s); the load took "
        f"{scenario.client_cpu_percent:.1f} % of a core"
    )
    return "\n".join(lines)


def _cells(finding: Finding) -> tuple[str, ...]:
    return (
        "default" if finding.threads is None else str(finding.threads),
        f"{finding.ours:.4g}",
        "-" if finding.reference is None else f"{finding.reference:.4g}",
        f"{finding.ratio:.3f}",
        f"{finding.low:.3f} … {finding.high:.3f}",
        finding.bar,
        "met" if finding.is_met else "MISSED",
    )


def _row(cells: Sequence[str]) -> str:
    return "".join(f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS, strict=True))
