"""Makes room in a full context while a reply is being written.

Knows runner and scheduler. The older half of the tokens that may go leaves the cells and those behind take their positions, so that nothing is read again. What
the model sees of it is near, not equal, to what the tokens left would give by themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from webui.engine.runner import ModelRunner
    from webui.engine.scheduler import Scheduler
    from webui.engine.sequence import Sequence


def make_room(runner: ModelRunner, scheduler: Scheduler) -> list[Sequence]:
    """Shift every sequence that is full; return those that ended because theirs cannot be."""
    full: list[Sequence] = []
    for sequence in scheduler.decoding:
        if sequence.num_places > 0:
            continue
        start, stop = half_to_leave(
            len(sequence.tokens), num_kept=sequence.num_kept, num_told=sequence.num_told
        )
        if start < stop and runner.shift(sequence.slot, start, stop):
            sequence.shift(start, stop)
        else:
            scheduler.end_full(sequence)
            full.append(sequence)
    return full


def half_to_leave(num_tokens: int, *, num_kept: int, num_told: int) -> tuple[int, int]:
    """Return the range of tokens that a shift leaves out.

    As `n_discard` of llama.cpp's server (tools/server/server-context.cpp): the older half of what
    is not to be kept. The last token stays, as it is read next, and so does what may be taken back.

    Args:
        num_tokens: In the context.
        num_kept: At its beginning; more than half of all are not kept.
        num_told: So many will not be taken back.
    """
    start = min(num_kept, num_tokens // 2)
    return start, min(start + (num_tokens - start) // 2, num_told - 1)
