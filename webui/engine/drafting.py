"""Puts guessed tokens behind the last token of rows, for the model to check in the same step.

Ties together where guesses come from and whether checking them pays; knows no cells (the caller
says how many are spare) and no model. A guess holds only where the sequence's own sampler
chooses the same token: what is said stays the same, to the bit where several tokens at once give
the numbers of single ones.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from webui.engine.drafter import DraftRow
from webui.engine.ngram_draft import NgramDraft
from webui.engine.runner import Verified
from webui.engine.speculation import MAX_ROWS, Acceptance, Guess, SpeculationControl

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Sequence as Several

    from webui.engine.model_draft import ModelDraft
    from webui.engine.runner import ModelRunner, Row, RowResult
    from webui.engine.sequence import Sequence

# From 64 tokens on llama.cpp computes attention by tiles, which changes low bits of the logits
# (measured with SmolLM2 Q4_1); below that a step gives what single tokens give, but where a lone
# token is computed in parts: of 512 cells or more, on a processor, by several threads.
# Source: llama.cpp, ggml-cpu/ops.cpp, ggml_compute_forward_flash_attn_ext_f16.
MAX_STEP_TOKENS = 63

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Draft:
    """What is known for guessing one sequence.

    Attributes:
        ngrams: What stood there before.
        looked_up: How often guesses from there held.
        modelled: How often those of the draft model did.
        is_modelled: Whether the latest ones were of the draft model.
    """

    ngrams: NgramDraft = field(default_factory=NgramDraft)
    looked_up: Acceptance = field(default_factory=Acceptance)
    modelled: Acceptance = field(default_factory=Acceptance)
    is_modelled: bool = False

    @property
    def acceptance(self) -> Acceptance:
        """Return that of the latest guesses."""
        return self.modelled if self.is_modelled else self.looked_up


class Drafting:
    """The guesses of all sequences of one model.

    Args:
        runner: The open model; a token that ends a reply is never guessed.
        max_draft: The most tokens guessed at once for a sequence; 0 guesses none.
        control: Says how many pay; made to learn it when left out.
        model: Guesses where nothing was looked up; None has no draft model.
        looks_up: Guess from what stood there before.
    """

    def __init__(
        self,
        runner: ModelRunner,
        max_draft: int,
        control: SpeculationControl | None = None,
        model: ModelDraft | None = None,
        *,
        looks_up: bool = True,
    ) -> None:
        self._is_eog = runner.is_eog
        self._max_tokens = min(MAX_STEP_TOKENS, runner.max_batch_tokens)
        self._max_draft = max_draft
        self._control = control or SpeculationControl()
        self._model = model
        self._looks_up = looks_up
        self._modelled = Acceptance()  # of all sequences
        # For whom the draft model may have read in each slot: an owner and conversations.
        self._readers: dict[int, tuple[str, set[str | None]]] = {}

    @property
    def model_s(self) -> float:
        """Seconds of the latest step that the draft model took."""
        return self._model.reading_s + self._model.guessing_s if self._model else 0.0

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
        if self._model:
            self._model.begin_step()
        if not self._max_draft or len(rows) > MAX_ROWS or not _is_writing(rows):
            return rows
        if any(sequence.is_doubted for sequence in sequences):
            return rows
        room = self._max_tokens // len(rows) - 1
        most = [self._most(s, min(room, num_spare(s)), is_alone=len(rows) == 1) for s in sequences]
        guessed = self._guess(sequences, most)
        return [
            replace(row, tokens=[*row.tokens, *tokens], num_draft=len(tokens)) if tokens else row
            for row, tokens in zip(rows, guessed, strict=True)
        ]

    def note(
        self,
        rows: Several[Row],
        results: Several[RowResult],
        sequences: Several[Sequence],
        step_s: float,
    ) -> None:
        """Learn from a step; `step_s` counts the draft model, too."""
        if not self._max_draft or len(rows) > MAX_ROWS or not _is_writing(rows):
            return
        num_made = len(rows)
        for row, result, sequence in zip(rows, results, sequences, strict=True):
            if isinstance(result, Verified):
                num_held = len(result.chosen) - 1
                num_made += num_held
                draft = self._draft(sequence)
                draft.acceptance.note(row.num_draft, num_held)
                if draft.is_modelled:
                    self._modelled.note(row.num_draft, num_held)
        num_extra = sum(row.num_draft for row in rows)
        reading_s, guessing_s = 0.0, 0.0
        if self._model:
            reading_s, guessing_s = self._model.reading_s, self._model.guessing_s
        self._control.note(len(rows), num_extra, num_made, step_s - reading_s, guessing_s)

    def begin(self, sequence: Sequence) -> None:
        """Note that a sequence has a slot: what the draft model read there for another owner goes.

        How much it must read anew, and so its time, must not tell what others wrote.
        """
        owner, conversations = self._readers.get(sequence.slot, ("", set()))
        if owner != sequence.owner:
            self.forget(sequence.slot)
            conversations = set()
        self._readers[sequence.slot] = (
            sequence.owner,
            conversations | {sequence.request.conversation_id},
        )

    def forget(self, slot: int) -> None:
        """Let the draft model keep nothing of what it read in a slot."""
        if self._model and slot in self._readers:
            self._model.forget(slot)

    def purge(self, owner: str, conversation_id: str | None) -> None:
        """Forget what was read for an owner, or only for one conversation."""
        for slot, (reader, conversations) in self._readers.items():
            if reader == owner and conversation_id in {None, *conversations}:
                self.forget(slot)

    def rewind(self, sequence: Sequence) -> None:
        """Forget what a sequence took back, before it goes on."""
        if sequence.draft is not None:
            sequence.draft.ngrams.rewind(len(sequence.tokens))

    def stop(self) -> None:
        """Guess no more: the model cannot drop what it read of wrong guesses."""
        if self._max_draft:
            _log.warning("Speculation is off: this model's memory cannot drop its last tokens")
        self._max_draft = 0

    def set_threads(self, decode: int, batch: int) -> None:
        """Let the draft model compute with so many threads, too."""
        if self._model:
            self._model.set_threads(decode, batch)

    def _most(self, sequence: Sequence, room: int, *, is_alone: bool) -> int:
        """Return how many tokens may be guessed for a sequence."""
        if sequence.is_background and not is_alone:
            return 0
        # A step makes one token more than it was given, which must be wanted, too.
        return max(0, min(self._max_draft, room, sequence.max_left - 1))

    def _guess(self, sequences: Several[Sequence], most: Several[int]) -> list[list[int]]:
        """Return as many guesses for each sequence as are worth checking."""
        found = [self._look_up(s, num) for s, num in zip(sequences, most, strict=True)]
        asked = [
            self._model_row(s, num) if self._model and not tokens else None
            for s, num, tokens in zip(sequences, most, found, strict=True)
        ]
        choice = self._control.choose(
            [
                Guess(
                    row.max_tokens if row else len(tokens),
                    self._draft(s).modelled if row else self._draft(s).looked_up,
                    s.owner,
                    is_modelled=row is not None,
                )
                for s, tokens, row in zip(sequences, found, asked, strict=True)
            ]
        )
        wanted = [
            replace(row, max_tokens=min(row.max_tokens, choice.length))
            for row in asked
            if row and choice.is_modelled
        ]
        if self._model and wanted:
            is_shared = len({sequence.owner for sequence in sequences}) > 1
            num = len(sequences)
            made = self._model.propose(wanted, self._control, num_rows=num, is_shared=is_shared)
            found = [
                self._unended(made.get(row.slot, [])) if row else tokens
                for row, tokens in zip(asked, found, strict=True)
            ]
        for sequence, row in zip(sequences, asked, strict=True):
            self._draft(sequence).is_modelled = row is not None
        return [tokens[: choice.length] for tokens in found]

    def _model_row(self, sequence: Sequence, most: int) -> DraftRow | None:
        """Return what the draft model may be asked; None when there is nothing to ask."""
        assert self._model is not None
        num = min(most, self._model.room(len(sequence.tokens)))
        return DraftRow(sequence.slot, sequence.tokens, num) if num > 0 else None

    def _look_up(self, sequence: Sequence, most: int) -> list[int]:
        if not self._looks_up or not self._draft(sequence).ngrams.follow(sequence.tokens):
            return []
        return self._unended(self._propose(sequence, most)) if most else []

    def _propose(self, sequence: Sequence, most: int) -> list[int]:
        return self._draft(sequence).ngrams.guess(most)

    def _unended(self, tokens: list[int]) -> list[int]:
        """Return guesses up to one that would end the reply."""
        ends = (i for i, token in enumerate(tokens) if self._is_eog(token))
        return tokens[: next(ends, len(tokens))]

    def _draft(self, sequence: Sequence) -> Draft:
        if sequence.draft is None:
            # What stood before is another text each time; the draft model is the same.
            sequence.draft = Draft(modelled=Acceptance(self._modelled.chance))
        return sequence.draft


def _is_writing(rows: Several[Row]) -> bool:
    """Return whether a step only makes tokens: beside prompts nothing is guessed."""
    return all(row.sample and len(row.tokens) == row.num_draft + 1 for row in rows)
