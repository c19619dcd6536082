"""How many prompt tokens a step may read, so that Stop and other people never wait long.

Pure: learns from the step times it is told; measured, not guessed. A step costs something by
itself and something for each token. On a machine that is busy with other things the first part
grows to most of a step (compute threads wait for each other at every operation); shorter steps
would then not be shorter, only more, so no step spends more than half on its fixed cost.
"""

from __future__ import annotations

from webui.engine.interface import MAX_GAP_MS

ALONE_STEP_S = (
    0.6  # with nobody to wait for, only newcomers bound it; short chunks cost a tenth more
)
AIMED_SHARE = 0.78  # of the longest gap, so that most steps that take longer stay within it
SMALL_TOKENS = 8  # a step of so few costs hardly more than its fixed part
LARGE_TOKENS = 16
ROUND_TOKENS = 4  # llama.cpp multiplies so many at once; those left over cost as much each
NEW_SHARE = 0.5
MAX_GROWTH = 2
MAX_RISE = 4  # one step may be slow for a reason of its own
PROBE_STEPS = 8
TINY_S = 1e-7


class PrefillBudget:
    """Keep steps short by the measured cost of a step and of a token.

    Args:
        max_tokens: The runner's bound for a step.
        first_token_s: How long a step of one token took.
        max_gap_s: How long a step may take while replies are being written.
    """

    def __init__(
        self, max_tokens: int, first_token_s: float, max_gap_s: float = MAX_GAP_MS / 1000
    ) -> None:
        self._max_tokens = max_tokens
        self._shared_step_s = max_gap_s * AIMED_SHARE
        self._min_tokens = min(SMALL_TOKENS, max_tokens)
        self._small = _Mean(1.0, first_token_s)
        self._large: _Mean | None = None
        self._latest = LARGE_TOKENS
        self._num_long = 0  # long steps since the fixed cost was last measured
        self._paused_s = 0.0  # since the latest step
        self._num_short = 0  # least steps since the cost of a token was last measured

    def tokens(self, *, num_decoding: int) -> int:
        """Return the bound for the next step."""
        if self._num_long >= PROBE_STEPS:
            self._num_long = 0
            return self._min_tokens
        if self._large is None or self._num_short >= PROBE_STEPS:
            return min(LARGE_TOKENS, self._max_tokens)
        step_s = self._shared_step_s - self._paused_s if num_decoding else ALONE_STEP_S
        if num_decoding and self._small.step_s >= self._large.step_s > step_s:
            return self._min_tokens  # fewer tokens cannot cost more: measure again what they do
        fixed_s, token_s = self._costs(self._small, self._large)
        num = int(max(step_s - fixed_s, fixed_s) / token_s)
        num = min(num, MAX_GROWTH * self._latest, self._max_tokens)
        num -= num % ROUND_TOKENS
        # Sizes between small and large would tell nothing about either cost.
        return num if num >= LARGE_TOKENS else self._min_tokens

    def tokens_in(self, share: float) -> float:
        """Return how many tokens cost this share of a step that reads nothing."""
        if self._large is None:
            return share
        _, token_s = self._costs(self._small, self._large)
        return share * self._small.step_s / token_s

    def pause(self, pause_s: float) -> None:
        """Note that something else took time since the latest step; the next one is shorter."""
        self._paused_s += pause_s

    def note(self, num_tokens: int, step_s: float) -> None:
        """Learn from a step that read and decoded this many tokens in all."""
        self._paused_s = 0.0
        if num_tokens < LARGE_TOKENS:
            self._small.add(num_tokens, step_s)
            self._num_short += num_tokens >= SMALL_TOKENS
            return
        if self._large is None:
            self._large = _Mean(num_tokens, step_s)
        else:
            self._large.add(num_tokens, step_s)
        self._latest = num_tokens
        self._num_short = 0
        self._num_long = self._num_long + 1 if step_s > ALONE_STEP_S else 0

    @staticmethod
    def _costs(small: _Mean, large: _Mean) -> tuple[float, float]:
        """Return the seconds of a step by itself and of each token: the line through both."""
        slope_s = (large.step_s - small.step_s) / (large.num_tokens - small.num_tokens)
        token_s = max(slope_s, TINY_S)
        return max(min(small.step_s, large.step_s) - token_s * small.num_tokens, 0.0), token_s


class _Mean:
    """Tokens and seconds of steps of one kind, the latest of which count most."""

    def __init__(self, num_tokens: float, step_s: float) -> None:
        self.num_tokens = num_tokens
        self.step_s = step_s

    def add(self, num_tokens: float, step_s: float) -> None:
        step_s = min(step_s, MAX_RISE * self.step_s)
        self.num_tokens += NEW_SHARE * (num_tokens - self.num_tokens)
        self.step_s += NEW_SHARE * (step_s - self.step_s)
