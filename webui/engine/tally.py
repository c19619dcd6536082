"""Counts what an engine does, step by step and message by message.

Knows rows, sequences and what is told of them; knows no clock, no text and no owner. Called by
the thread that owns the model.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

import msgspec

from webui.engine.interface import Embedded, Finish, FinishReason, Text
from webui.engine.ipc import Outputs, RequestError
from webui.engine.stats import NO_STEPS, STEP_BOUNDS_S, EngineStats

if TYPE_CHECKING:
    from collections.abc import Sequence as Several

    from webui.engine.interface import Delta, Usage, VectorPart
    from webui.engine.ipc import ToParent
    from webui.engine.runner import Row
    from webui.engine.sequence import Sequence


class Tally:
    """What one worker did since it has its model."""

    def __init__(self) -> None:
        self._num_steps = 0
        self._num_rows = 0
        self._num_step_tokens = 0
        self._num_prompt_tokens = 0
        self._num_reply_tokens = 0
        self._num_embedded_tokens = 0
        self._num_drafted_tokens = 0
        self._num_accepted_tokens = 0
        self._ended = dict.fromkeys(FinishReason, 0)
        self._num_failed = 0
        self._prefill_s = 0.0
        self._decode_s = 0.0
        self._idle_s = 0.0
        self._writing_steps = list(NO_STEPS)
        self._writing_s = 0.0
        self._max_waiting = 0

    def note_step(self, rows: Several[Row], sequences: Several[Sequence], step_s: float) -> None:
        """Count a step that the model made.

        Args:
            rows: At least one.
            sequences: Whose they are, in the same order.
            step_s: How long it took, in seconds.
        """
        num_prompt_tokens, is_writing = 0, False
        for row, sequence in zip(rows, sequences, strict=True):
            num_left = max(0, sequence.num_prompt - row.position)
            num_prompt_tokens += min(len(row.tokens), num_left)
            is_writing = is_writing or not num_left
        self._num_steps += 1
        self._num_rows += len(rows)
        self._num_step_tokens += sum(len(row.tokens) for row in rows)
        self._num_prompt_tokens += num_prompt_tokens
        self._note_time(step_s, is_reading=num_prompt_tokens > 0)
        if is_writing:
            self._writing_steps[bisect_left(STEP_BOUNDS_S, step_s)] += 1
            self._writing_s += step_s

    def note_lost(self, rows: Several[Row], sequences: Several[Sequence], step_s: float) -> None:
        """Count the time of a step that came to nothing: it was broken off, or it failed.

        Args:
            rows: At least one.
            sequences: Whose they are, in the same order.
            step_s: How long it took, in seconds.
        """
        both = zip(rows, sequences, strict=True)
        is_reading = any(row.position < sequence.num_prompt for row, sequence in both)
        self._note_time(step_s, is_reading=is_reading)

    def note_wait(self, waited_s: float) -> None:
        """Count seconds without anything to do."""
        self._idle_s += waited_s

    def note_abort(self, usage: Usage | None) -> None:
        """Count a reply that was taken back, with what was done for it if it was begun."""
        self._ended[FinishReason.ABORT] += 1
        if usage is not None:
            self._note_drafts(usage)

    def note_queue(self, num_waiting: int) -> None:
        """Note how many wait now."""
        self._max_waiting = max(self._max_waiting, num_waiting)

    def note_message(self, message: ToParent) -> None:
        """Count what is told to the web process."""
        if isinstance(message, RequestError):
            self._num_failed += 1
        elif isinstance(message, Outputs):
            for output in message.items:
                self.note_delta(output.delta)

    def note_delta(self, delta: Delta | VectorPart | Embedded) -> None:
        """Count what is told of one request."""
        if isinstance(delta, Text):
            self._num_reply_tokens += delta.num_tokens
        elif isinstance(delta, Finish):
            self._ended[delta.reason] += 1
            self._note_drafts(delta.usage)
        elif isinstance(delta, Embedded):
            self._num_embedded_tokens += delta.num_tokens

    def _note_time(self, step_s: float, *, is_reading: bool) -> None:
        if is_reading:
            self._prefill_s += step_s
        else:
            self._decode_s += step_s

    def _note_drafts(self, usage: Usage) -> None:
        self._num_drafted_tokens += usage.drafted_tokens
        self._num_accepted_tokens += usage.accepted_tokens

    def stats(self, present: EngineStats) -> EngineStats:
        """Return all counts, with what others know of the present and of their own."""
        return msgspec.structs.replace(
            present,
            num_steps=self._num_steps,
            num_rows=self._num_rows,
            num_step_tokens=self._num_step_tokens,
            num_prompt_tokens=self._num_prompt_tokens,
            num_reply_tokens=self._num_reply_tokens,
            num_embedded_tokens=self._num_embedded_tokens,
            num_drafted_tokens=self._num_drafted_tokens,
            num_accepted_tokens=self._num_accepted_tokens,
            num_stopped=self._ended[FinishReason.STOP],
            num_full=self._ended[FinishReason.LENGTH] + self._ended[FinishReason.CONTEXT],
            num_aborted=self._ended[FinishReason.ABORT],
            num_failed=self._num_failed,
            prefill_s=self._prefill_s,
            decode_s=self._decode_s,
            idle_s=self._idle_s,
            writing_steps=tuple(self._writing_steps),
            writing_s=self._writing_s,
            max_waiting=self._max_waiting,
        )
