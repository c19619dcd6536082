"""Medians of paired runs and how sure they are. Pure: no clock, no process."""

from __future__ import annotations

import math
import random
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

NUM_RESAMPLES = 10_000
CONFIDENCE = 0.90
SEED = 0  # the same runs always give the same interval


@dataclass(frozen=True, slots=True)
class Pair:
    """One figure of one A B pair.

    Attributes:
        ours: Hearthside's.
        reference: What it is divided by; None where the figure stands alone (a count, a share).
    """

    ours: float
    reference: float | None = None

    @property
    def quotient(self) -> float:
        """Ours over the reference, or ours alone; infinite over nothing."""
        if self.reference is None:
            return self.ours
        return self.ours / self.reference if self.reference else math.inf


@dataclass(frozen=True, slots=True)
class Estimate:
    """Median and the two ends of its interval."""

    median: float
    low: float
    high: float


def estimate(values: Sequence[float]) -> Estimate:
    """Return the median and its 90 % bootstrap interval.

    Source: Efron, Bootstrap methods: another look at the jackknife (1979), percentile interval.
    """
    draw = random.Random(SEED)  # noqa: S311 - statistics, not secrets
    num = len(values)
    medians = sorted(statistics.median(draw.choices(values, k=num)) for _ in range(NUM_RESAMPLES))
    tail = (1 - CONFIDENCE) / 2
    return Estimate(
        statistics.median(values), percentile(medians, tail), percentile(medians, 1 - tail)
    )


def percentile(values: Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile; `share` is in 0 … 1, `values` not empty."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
