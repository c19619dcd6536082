"""What a step costs with one number of threads: something by itself and something for each token.

Pure: the line through what small steps took and what large ones took, the latest of which count
most.
"""

from __future__ import annotations

SMALL_TOKENS = 8  # a step of so few costs hardly more than its fixed part
LARGE_TOKENS = 16
NEW_SHARE = 0.5
MAX_RISE = 4  # one step may be slow for a reason of its own
TINY_S = 1e-7


class StepCosts:
    """The seconds of steps by their tokens.

    Args:
        first_token_s: How long a step of one token took.

    Attributes:
        latest: Tokens of the latest large step.
    """

    def __init__(self, first_token_s: float) -> None:
        self._small = _Mean(1.0, first_token_s)
        self._large: _Mean | None = None
        self.latest = LARGE_TOKENS

    @property
    def is_known(self) -> bool:
        """Whether there was a large step."""
        return self._large is not None

    @property
    def small_s(self) -> float:
        """Seconds of a small step."""
        return self._small.step_s

    @property
    def large_s(self) -> float:
        """Seconds of a large step; once it is known."""
        assert self._large is not None
        return self._large.step_s

    def line(self) -> tuple[float, float]:
        """Return the seconds of a step by itself and of each token; once it is known."""
        small, large = self._small, self._large
        assert large is not None
        slope_s = (large.step_s - small.step_s) / (large.num_tokens - small.num_tokens)
        token_s = max(slope_s, TINY_S)
        return max(min(small.step_s, large.step_s) - token_s * small.num_tokens, 0.0), token_s

    def expected_s(self, num_tokens: int) -> float | None:
        """Return the seconds of a step of so many tokens; None as long as that is not known."""
        if self._large is None:
            return None
        fixed_s, token_s = self.line()
        return fixed_s + token_s * num_tokens

    def note(self, num_tokens: int, step_s: float) -> None:
        """Learn from a step."""
        if num_tokens < LARGE_TOKENS:
            self._small.add(num_tokens, step_s)
            return
        self.latest = num_tokens
        if self._large is None:
            self._large = _Mean(num_tokens, step_s)
        else:
            self._large.add(num_tokens, step_s)


class _Mean:
    """Tokens and seconds of steps of one size, the latest of which count most."""

    def __init__(self, num_tokens: float, step_s: float) -> None:
        self.num_tokens = num_tokens
        self.step_s = step_s

    def add(self, num_tokens: float, step_s: float) -> None:
        step_s = min(step_s, MAX_RISE * self.step_s)
        self.num_tokens += NEW_SHARE * (num_tokens - self.num_tokens)
        self.step_s += NEW_SHARE * (step_s - self.step_s)
