"""How many prompt tokens a step may read, so that Stop and other people never wait long.

Pure: learns from the step times it is told; measured, not guessed, for each number of threads. A
step costs something by itself and something for each token. On a machine that is busy with other
things the first part grows to most of a step (compute threads wait for each other at every
operation); shorter steps would then not be shorter, only more, so no step spends more than half
on its fixed cost.
"""

from __future__ import annotations

from dataclasses import dataclass

from webui.engine.interface import MAX_GAP_MS
from webui.engine.step_costs import LARGE_TOKENS, SMALL_TOKENS, StepCosts

ALONE_STEP_S = (
    0.6  # with nobody to wait for, only newcomers bound it; short chunks cost a tenth more
)
AIMED_SHARE = 0.78  # of the longest gap, so that most steps that take longer stay within it
ROUND_TOKENS = 4  # llama.cpp multiplies so many at once; those left over cost as much each
MAX_GROWTH = 2
PROBE_STEPS = 8


@dataclass(slots=True)
class _Measured:
    """What is known of steps with one number of threads.

    Attributes:
        costs: What they take.
        num_long: Long steps since the fixed cost was last measured.
        num_short: Least steps since the cost of a token was last measured.
    """

    costs: StepCosts
    num_long: int = 0
    num_short: int = 0


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
        self._first_token_s = first_token_s
        self.max_gap_s = max_gap_s
        self._shared_step_s = max_gap_s * AIMED_SHARE
        self._min_tokens = min(SMALL_TOKENS, max_tokens)
        self._measured: dict[int, _Measured] = {}  # by threads
        self._paused_s = 0.0  # since the latest step

    def tokens(self, *, num_decoding: int, num_threads: int = 1) -> int:
        """Return the bound for the next step, which so many threads compute."""
        measured = self._with(num_threads)
        costs = measured.costs
        if measured.num_long >= PROBE_STEPS:
            measured.num_long = 0
            return self._min_tokens
        if not costs.is_known or measured.num_short >= PROBE_STEPS:
            return min(LARGE_TOKENS, self._max_tokens)
        step_s = self._shared_step_s - self._paused_s if num_decoding else ALONE_STEP_S
        if num_decoding and costs.small_s >= costs.large_s > step_s:
            return self._min_tokens  # fewer tokens cannot cost more: measure again what they do
        fixed_s, token_s = costs.line()
        num = int(max(step_s - fixed_s, fixed_s) / token_s) - num_decoding
        num = min(num, MAX_GROWTH * costs.latest, self._max_tokens)
        num -= num % ROUND_TOKENS
        # Sizes between small and large would tell nothing about either cost.
        return num if num >= LARGE_TOKENS else self._min_tokens

    def tokens_in(self, share: float, num_threads: int = 1) -> float:
        """Return how many tokens cost this share of a step that reads nothing."""
        costs = self._with(num_threads).costs
        return share * costs.small_s / costs.line()[1] if costs.is_known else share

    def expected_s(self, num_tokens: int, num_threads: int = 1) -> float | None:
        """Return how long a step of so many tokens should take; None if that is not known."""
        return self._with(num_threads).costs.expected_s(num_tokens)

    def pause(self, pause_s: float) -> None:
        """Note that something else took time since the latest step; the next one is shorter."""
        self._paused_s += pause_s

    def forget(self, num_threads: int) -> None:
        """Measure steps of so many threads anew."""
        self._measured.pop(num_threads, None)

    def note(self, num_tokens: int, step_s: float, num_threads: int = 1) -> None:
        """Learn from a step that read and decoded this many tokens in all."""
        self._paused_s = 0.0
        measured = self._with(num_threads)
        measured.costs.note(num_tokens, step_s)
        if num_tokens < LARGE_TOKENS:
            measured.num_short += num_tokens >= SMALL_TOKENS
            return
        measured.num_short = 0
        measured.num_long = measured.num_long + 1 if step_s > ALONE_STEP_S else 0

    def _with(self, num_threads: int) -> _Measured:
        if num_threads not in self._measured:
            self._measured[num_threads] = _Measured(StepCosts(self._first_token_s))
        return self._measured[num_threads]
