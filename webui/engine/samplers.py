"""The samplers of all sequences: in their slots, or beside those that gave theirs up.

Knows the runner. A sampler that waits goes on where it stood, so that a reply with a seed may give
up its slot in the middle: nothing is drawn twice and nothing is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from webui.engine.runner import ModelRunner, OpenSampler
    from webui.engine.sequence import Sequence


class Samplers:
    """Opens, keeps and closes the samplers of one model.

    Args:
        runner: The open model.
    """

    def __init__(self, runner: ModelRunner) -> None:
        self._runner = runner
        self._waiting: dict[str, OpenSampler] = {}  # by request

    def open(self, sequence: Sequence) -> None:
        """Let a sequence go on with the sampler it had, else with a new one.

        Raises:
            EngineError: None could be made.
            InvalidRequest: What was asked for does not fit this model, or bans what it must say.
        """
        if (kept := self._waiting.pop(sequence.request_id, None)) is not None:
            self._runner.put_sampler(sequence.slot, kept)
            return
        sequence.rewinds.check()
        self._runner.open_sampler(
            sequence.slot,
            sequence.sampler_params(),
            sequence.tokens,
            num_reply=min(sequence.num_reply, len(sequence.tokens)),
            banned=sequence.banned_here(),
            grammar=sequence.request.grammar,
            triggers=sequence.request.grammar_triggers,
        )

    def keep(self, slot: int, request_id: str) -> None:
        """Take the sampler of a request out of a slot that it gave up."""
        if (sampler := self._runner.take_sampler(slot)) is not None:
            self._waiting[request_id] = sampler

    def close(self, sequence: Sequence) -> None:
        """Free that of a sequence, wherever it is; idempotent."""
        if sequence.slot >= 0:
            self._runner.close_sampler(sequence.slot)
        if (kept := self._waiting.pop(sequence.request_id, None)) is not None:
            kept.close()
