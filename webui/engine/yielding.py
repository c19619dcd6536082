"""When one that runs gives up its slot to one that waits.

Background work does at once. Else its owner must run at least two more than the other's, and it
must have had a quantum that outweighs reading its tokens again, as far as another can wait for
that.

Pure: knows sequences, no slots and no cells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from webui.engine.sequence import Phase

if TYPE_CHECKING:
    from collections import Counter

    from webui.engine.sequence import Sequence

QUANTUM_TOKENS = 64
MAX_QUANTUM_TOKENS = 512
REREAD_SHARE = 8  # a quantum is longer by one token for so many that must be read again
READ_QUANTUM_TOKENS = 1024  # of a prompt, twice as many each time it had to begin anew
MAX_DOUBLINGS = 12


def must_yield(
    victim: Sequence,
    newcomer: Sequence,
    busy: Counter[str],
    *,
    reader: Sequence,
    quantum_tokens: int,
) -> bool:
    """Return whether one that runs gives up its slot.

    Args:
        victim: Who would.
        newcomer: Who waits.
        busy: How many each owner runs.
        reader: Who reads the victim's prompt: itself, or whom it lets read for it.
        quantum_tokens: So many a surplus may write at least.
    """
    if newcomer.is_background:
        return False
    # Its seed will not hold any more, so that it yields as late as others can stand.
    if victim.would_break_seed and victim.num_since_place < MAX_QUANTUM_TOKENS:
        return False
    if victim.is_background:
        return True
    if busy[victim.owner] - busy[newcomer.owner] < 2:
        return False
    if victim.phase is Phase.PREFILL:
        doublings = min(reader.num_given_up, MAX_DOUBLINGS)
        return reader.num_read_since_place >= READ_QUANTUM_TOKENS << doublings
    quantum = quantum_tokens + len(victim.tokens) // REREAD_SHARE
    return victim.num_since_place >= min(quantum, MAX_QUANTUM_TOKENS)
