"""How many prompt tokens a step may read, so that Stop and other people never wait long.

Pure: learns from the step times it is told; measured, not guessed.
"""

from __future__ import annotations

ALONE_STEP_S = 0.2
SHARED_STEP_S = 0.1  # while others decode, whose text should keep flowing
MIN_TOKENS = 8
ROUND_TOKENS = 32
NEW_SHARE = 0.5


class PrefillBudget:
    """Keep steps short by the measured cost of a token.

    Args:
        max_tokens: The runner's bound for a step.
        first_token_s: How long one token took; reading many at once is taken to be four
            times as fast until a step has shown it.
    """

    def __init__(self, max_tokens: int, first_token_s: float) -> None:
        self._max_tokens = max_tokens
        self._token_s = max(first_token_s / 4, 1e-6)

    def tokens(self, *, num_decoding: int) -> int:
        """Return the bound for the next step."""
        step_s = SHARED_STEP_S if num_decoding else ALONE_STEP_S
        num = int(step_s / self._token_s)
        if num > ROUND_TOKENS:
            num -= num % ROUND_TOKENS
        return max(min(MIN_TOKENS, self._max_tokens), min(num, self._max_tokens))

    def note(self, num_tokens: int, step_s: float) -> None:
        """Learn from a step that read this many prompt tokens.

        A slow step counts at once, a fast one by half: too long a step is what people feel.
        """
        if num_tokens < MIN_TOKENS:
            return  # the fixed cost of a step would drown the cost of a token
        token_s = max(step_s / num_tokens, 1e-6)
        if token_s >= self._token_s:
            self._token_s = token_s
        else:
            self._token_s += NEW_SHARE * (token_s - self._token_s)
