"""The vectors of a text's tokens, made one as they come.

Pure: knows numbers and no llama_cpp, whose own pooling sees one pass alone.
"""

from __future__ import annotations

from typing import assert_never

import numpy as np

from webui.engine.interface import Pooling


class TokenVectors:
    """The vectors of one text, of which it keeps no more than its pooling needs.

    Args:
        pooling: How they become one; with none they stay as many.
    """

    def __init__(self, pooling: Pooling) -> None:
        self._pooling = pooling
        self._sum: np.ndarray | float = 0.0
        self._num = 0
        self._kept: list[np.ndarray] = []

    def add(self, numbers: np.ndarray) -> None:
        """Take those of more tokens, shape (tokens, numbers of each), at least one; copies them."""
        match self._pooling:
            case Pooling.MEAN:
                self._sum = self._sum + numbers.sum(axis=0, dtype=np.float64)
                self._num += len(numbers)
            case Pooling.CLS:
                self._kept = self._kept or [numbers[:1].copy()]
            case Pooling.LAST:
                self._kept = [numbers[-1:].copy()]
            case Pooling.NONE:
                self._kept.append(numbers.copy())
            case Pooling.RANK:
                raise AssertionError("a score is no vector of a token")
            case _:
                assert_never(self._pooling)

    def pooled(self) -> np.ndarray:
        """Return what they come to, shape (vectors, numbers of each)."""
        if self._pooling is Pooling.MEAN:
            return np.atleast_2d(self._sum / self._num)
        return np.concatenate(self._kept)
