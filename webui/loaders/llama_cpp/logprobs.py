"""Log-probabilities of tokens from a row of logits, as the model itself gives them.

Knows numbers only. Computed where a request asks for them, never else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def logprobs_of(
    logits: NDArray[np.float32], token: int, num_top: int
) -> tuple[float, tuple[tuple[int, float], ...]]:
    """Return the log-probability of a token, and the likeliest tokens with theirs.

    The softmax runs over the raw logits of the whole vocabulary: no temperature, penalty or
    other sampler has touched them.

    Args:
        logits: Shape (vocabulary,); the token's own is finite.
        token: Id of the token that was chosen.
        num_top: How many of the likeliest to return; equal ones come in the order of their ids.
    """
    wide = logits.astype(np.float64)
    peak = wide.max()
    total = peak + np.log(np.exp(wide - peak).sum())
    num_top = min(num_top, len(wide))
    if not num_top:
        return float(wide[token] - total), ()
    least = np.partition(wide, -num_top)[-num_top]
    candidates = np.flatnonzero(wide >= least)
    likeliest = candidates[np.argsort(-wide[candidates], kind="stable")][:num_top]
    return (
        float(wide[token] - total),
        tuple((int(i), float(wide[i] - total)) for i in likeliest),
    )
