"""Medians, intervals, percentiles: figures that can be worked out by hand."""

from __future__ import annotations

import math
import random

import pytest

from webui.cli.bench.statistics import Pair, estimate, percentile


def test_quotient_is_ours_over_the_reference() -> None:
    assert Pair(3.0, 2.0).quotient == 1.5
    assert Pair(7.0).quotient == 7.0
    assert Pair(1.0, 0.0).quotient == math.inf


def test_estimate_of_one_value_is_that_value() -> None:
    only = estimate([0.97])
    assert (only.median, only.low, only.high) == (0.97, 0.97, 0.97)


def test_estimate_of_equal_values_has_no_width() -> None:
    same = estimate([1.0] * 7)
    assert (same.low, same.high) == (1.0, 1.0)


def test_interval_holds_the_median_and_ignores_the_order_of_runs_hardly() -> None:
    values = [0.91, 0.95, 0.97, 1.0, 1.02, 1.05, 1.4]
    found = estimate(values)
    assert found.median == 1.0
    assert min(values) < found.low < 1.0 < found.high < max(values)
    assert estimate(values) == found


def test_interval_covers_the_true_median_about_nine_times_in_ten() -> None:
    draw = random.Random(1)
    num_covered = 0
    for _ in range(40):
        found = estimate([draw.gauss(1.0, 0.05) for _ in range(15)])
        num_covered += found.low <= 1.0 <= found.high
    assert 31 <= num_covered <= 40


@pytest.mark.parametrize(
    ("share", "value"), [(0.0, 1), (0.05, 1), (0.5, 10), (0.95, 19), (0.951, 20), (1.0, 20)]
)
def test_percentile_is_the_nearest_rank(share: float, value: int) -> None:
    assert percentile(list(range(20, 0, -1)), share) == value
