"""A sampler of the fake runner that has no slot for a while."""

from __future__ import annotations

from typing import Any


class TakenSampler:
    """A sampler without a slot; notes that it is there until it is put back or closed."""

    def __init__(self, parts: list[Any], others: list[TakenSampler]) -> None:
        self.parts, self._others = parts, others
        others.append(self)

    def close(self) -> None:
        if self in self._others:
            self._others.remove(self)
