"""How much of the texts is read between two steps of replies, so that these keep most of the time.

Pure: told how long steps took. While somebody waits for a reply, all texts together have
`TEXT_SHARE` of the time; what they took too much of, they give back before they go on. A part of
them is no longer than leaves room for a step of replies within the longest gap; what reads texts
whole may take longer for one, and comes the more seldom.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from webui.engine.prefill_budget import PrefillBudget

TEXT_SHARE = 0.25
MAX_STEP_SHARE = 0.5  # of the gap, for a step of replies: one that reads a prompt makes way


class TextPace:
    """Plans what is read of texts.

    Args:
        budget: Of steps that read texts, by what they take.
    """

    def __init__(self, budget: PrefillBudget) -> None:
        self._budget = budget
        self._credit_s = 0.0  # below zero they took more than their share
        self._latest_s = 0.0  # a step of replies

    def tokens_alone(self) -> int:
        """Return how much may be read at once while nobody waits for a reply."""
        self._credit_s = 0.0
        return self._budget.tokens(num_decoding=0)

    def tokens_beside(self) -> int:
        """Return how much may be read now beside replies; 0 is nothing."""
        if self._credit_s <= 0:
            return 0
        self._budget.pause(min(self._latest_s, MAX_STEP_SHARE * self._budget.max_gap_s))
        return self._budget.tokens(num_decoding=1)

    def note_replies(self, step_s: float, *, have_texts: bool) -> None:
        """Learn from a step of replies; texts that are not there save nothing up."""
        self._latest_s = step_s
        if have_texts:
            self._credit_s += step_s * TEXT_SHARE / (1 - TEXT_SHARE)
        else:
            self._credit_s = min(self._credit_s, 0.0)

    def note_texts(self, num_tokens: int, step_s: float) -> None:
        """Learn from a step that read so many tokens of texts."""
        self._credit_s -= step_s
        if num_tokens:
            self._budget.note(num_tokens, step_s)
