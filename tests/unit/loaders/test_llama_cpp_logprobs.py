"""Log-probabilities out of logits."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from webui.loaders.llama_cpp.logprobs import logprobs_of

logits = st.lists(st.floats(-80, 80, width=32), min_size=1, max_size=40).map(
    lambda values: np.array(values, dtype=np.float32)
)


@given(logits, st.integers(0, 50), st.data())
def test_logprobs_are_the_softmax_by_definition(row, num_top, data) -> None:
    token = data.draw(st.integers(0, len(row) - 1))
    mine, top = logprobs_of(row, token, num_top)
    total = math.fsum(math.exp(float(x) - float(row.max())) for x in row)
    expected = [float(x) - float(row.max()) - math.log(total) for x in row]
    assert mine == pytest.approx(expected[token], abs=1e-9)
    order = sorted(range(len(row)), key=lambda i: (-row[i], i))[:num_top]
    assert [i for i, _ in top] == order
    assert [chance for _, chance in top] == pytest.approx([expected[i] for i in order], abs=1e-9)


def test_tokens_that_cannot_come_are_told_as_minus_infinity() -> None:
    row = np.array([-np.inf, 2.0, -np.inf], dtype=np.float32)
    assert logprobs_of(row, 1, 3) == (0.0, ((1, 0.0), (0, -math.inf), (2, -math.inf)))
