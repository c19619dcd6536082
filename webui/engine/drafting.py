"""Puts guessed tokens behind the last token of rows, for the model to check in the same step.

Ties together where guesses come from and whether checking them pays; knows no cells (the caller
says how many are spare) and no model. What is said stays the same to the bit: a guess holds only
where the sequence's own sampler chooses the same token.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from webui.engine.ngram_draft import NgramDraft
from webui.engine.runner import Verified
from webui.engine.speculation import MAX_ROWS, Acceptance, Guess, SpeculationControl

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Sequence as Several

    from webui.engine.runner import ModelRunner, Row, RowResult
    from webui.engine.sequence import Sequence

# From 64 tokens on llama.cpp computes attention by tiles, which changes low bits of the logits
# (measured with SmolLM2 Q4_1); below that a step gives what single tokens give.
MAX_STEP_TOKENS = 63

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Draft:
    """What is known for guessing one sequence."""

    ngrams: NgramDraft
    acceptance: Acceptance


class Drafting:
    """The guesses of all sequences of one model.

    Args:
        runner: The open model; a token that ends a reply is never guessed.
        max_draft: The most tokens guessed at once for a sequence; 0 guesses none.
        control: Says how many pay; made to learn it when left out.
    """

    def __init__(
        self, runner: ModelRunner, max_draft: int, control: SpeculationControl | None = None
    ) -> None:
        self._is_eog = runner.is_eog
        self._max_tokens = min(MAX_STEP_TOKENS, runner.max_batch_tokens)
        self._max_draft = max_draft
        self._control = control or SpeculationControl()

    def extend(
        self,
        rows: list[Row],
        sequences: Several[Sequence],
        num_spare: Callable[[Sequence], int],
    ) -> list[Row]:
        """Return the rows of a step with what they may check.

        Args:
            rows: What the scheduler chose.
            sequences: Theirs, in order.
            num_spare: Says how many cells a sequence may use beyond those of its tokens.
        """
        if not self._max_draft or len(rows) > MAX_ROWS or not _is_writing(rows):
            return rows
        if any(sequence.is_doubted for sequence in sequences):
            return rows
        room = self._max_tokens // len(rows) - 1
        guessed = [
            self._guess(s, min(room, num_spare(s)), is_alone=len(rows) == 1) for s in sequences
        ]
        length = self._control.choose(
            [
                Guess(len(tokens), self._draft(s).acceptance, s.owner)
                for s, tokens in zip(sequences, guessed, strict=True)
            ]
        )
        if not length:
            return rows
        return [
            replace(row, tokens=[*row.tokens, *tokens[:length]], num_draft=len(tokens[:length]))
            for row, tokens in zip(rows, guessed, strict=True)
        ]

    def note(
        self,
        rows: Several[Row],
        results: Several[RowResult],
        sequences: Several[Sequence],
        step_s: float,
    ) -> None:
        """Learn from a step."""
        if not self._max_draft or len(rows) > MAX_ROWS or not _is_writing(rows):
            return
        num_made = len(rows)
        for row, result, sequence in zip(rows, results, sequences, strict=True):
            if isinstance(result, Verified):
                num_held = len(result.chosen) - 1
                num_made += num_held
                self._draft(sequence).acceptance.note(row.num_draft, num_held)
        self._control.note(len(rows), sum(row.num_draft for row in rows), num_made, step_s)

    def rewind(self, sequence: Sequence) -> None:
        """Forget what a sequence took back, before it goes on."""
        if sequence.draft is not None:
            sequence.draft.ngrams.rewind(len(sequence.tokens))

    def stop(self) -> None:
        """Guess no more: the model cannot drop what it read of wrong guesses."""
        if self._max_draft:
            _log.warning("Speculation is off: this model's memory cannot drop its last tokens")
        self._max_draft = 0

    def _guess(self, sequence: Sequence, room: int, *, is_alone: bool) -> list[int]:
        if sequence.is_background and not is_alone:
            return []
        draft = self._draft(sequence)
        # A step makes one token more than it was given, which must be wanted, too.
        most = min(self._max_draft, room, sequence.max_left - 1)
        if not draft.ngrams.follow(sequence.tokens) or most <= 0:
            return []
        tokens = self._propose(sequence, most)
        ends = (i for i, token in enumerate(tokens) if self._is_eog(token))
        return tokens[: next(ends, len(tokens))]

    def _propose(self, sequence: Sequence, most: int) -> list[int]:
        return self._draft(sequence).ngrams.guess(most)

    def _draft(self, sequence: Sequence) -> Draft:
        if sequence.draft is None:
            sequence.draft = Draft(NgramDraft(), Acceptance())
        return sequence.draft


def _is_writing(rows: Several[Row]) -> bool:
    """Return whether a step only makes tokens: beside prompts nothing is guessed."""
    return all(row.sample and len(row.tokens) == row.num_draft + 1 for row in rows)
