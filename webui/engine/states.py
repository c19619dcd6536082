"""What the prefix cache keeps: the tokens that were read for somebody, and the state behind them.

A value file. Tokens are compared, never hashes; a state is bytes that only a runner understands.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence as Several

    from webui.engine.adapters import Scales

# Owner of what the administrator gave everybody to read; no request comes from it.
SHARED_OWNER = "\0shared"
MIN_STATE_TOKENS = 48  # fewer are read again sooner than their state is kept and found
MIN_GAIN_TOKENS = 16  # by so many a state must beat what lies in the slots


@dataclass(frozen=True, slots=True, eq=False)
class Prefix:
    """Tokens that were read.

    Attributes:
        owner: Whose they are.
        conversation_id: Which conversation they belong to; None for none.
        tokens: All of them from the beginning.
        used_ns: When they were used last, in nanoseconds of the wall clock: the order in which
            states are kept must outlive the process.
        is_unfinished: Whether they end in a reply that is to go on: read anew in one piece its
            tokens would not give the same bits as one after the other.
        is_seeded: Whether the seed of that reply was asked for, and must hold.
        scales: How strongly each adapter worked while they were read.
    """

    owner: str
    conversation_id: str | None
    tokens: list[int]
    used_ns: int = field(default_factory=time.time_ns)
    is_unfinished: bool = False
    is_seeded: bool = False
    scales: Scales = ()

    def is_for(self, owner: str, scales: Scales) -> bool:
        """Return whether it may serve an owner whose adapters work so strongly."""
        return self.owner == owner and self.scales == scales

    def contains(self, other: Prefix) -> bool:
        """Return whether it serves all that another one does."""
        return self.is_for(other.owner, other.scales) and begins_with(self.tokens, other.tokens)

    def belongs_to(self, owner: str, conversation_id: str | None) -> bool:
        """Return whether it is of an owner and, unless that is None, of a conversation."""
        return self.owner == owner and conversation_id in {None, self.conversation_id}

    def is_expired(self, before_ns: int) -> bool:
        """Return whether it belongs to no conversation and was last used before a time.

        What everybody may read never expires: nobody's words are in it.
        """
        is_nobodys = self.conversation_id is None and self.owner != SHARED_OWNER
        return is_nobodys and self.used_ns < before_ns


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """A prefix and the model's memory of it, as `ModelRunner.save_state` gave it."""

    prefix: Prefix
    data: memoryview

    @property
    def num_bytes(self) -> int:
        """Bytes of the state itself."""
        return self.data.nbytes

    def used_now(self) -> State:
        """Return the same state with this moment as its last use."""
        return replace(self, prefix=replace(self.prefix, used_ns=time.time_ns()))


def begins_with(tokens: Several[int], start: Several[int]) -> bool:
    """Return whether one list of tokens begins with another."""
    num = len(start)
    # Texts that differ mostly do so at the end, too: most are not compared any further.
    if not num or len(tokens) < num or tokens[num - 1] != start[-1]:
        return not num
    return tokens[:num] == start


def num_common(a: Several[int], b: Several[int]) -> int:
    """Return the length of the longest common prefix."""
    longest = min(len(a), len(b))
    if a[:longest] == b[:longest]:
        return longest
    low, high = 0, longest  # a[:low] agrees, a[:high] does not; slices compare in C
    while high - low > 1:
        middle = (low + high) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle
    return low
