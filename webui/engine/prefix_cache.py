"""Which tokens lie in the KV cells of each slot, and who may use them again.

Knows token lists and owners; touches no cells itself. Tokens are compared, never hashes, and
only with those of the same owner.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence as Tokens

MIN_KEPT_SHARE = 1 / 3  # of a resident, that must serve on for its rest to be given up


@dataclass(slots=True)
class _Resident:
    """What a free slot still holds."""

    owner: str | None = None
    tokens: list[int] = field(default_factory=list)
    left: int = 0


class ResidentSlots:
    """The slots of a runner: taken by running sequences, else holding what was read last.

    Args:
        num_slots: How many there are.
    """

    def __init__(self, num_slots: int) -> None:
        self._free = {slot: _Resident() for slot in range(num_slots)}
        self._clock = 0

    @property
    def num_free(self) -> int:
        """Slots that no sequence runs in."""
        return len(self._free)

    def take(self, owner: str, prompt: Tokens[int]) -> tuple[int, int]:
        """Choose a free slot for a prompt; return it and how many of its cells serve.

        The last prompt token never counts: it is read again to get what follows it.
        A slot with a common beginning is taken when that is worth the rest it holds; else an
        empty one, else the one left longest ago.
        """
        common = {
            slot: _num_common(resident.tokens, prompt) if resident.owner == owner else 0
            for slot, resident in self._free.items()
        }
        best = max(common, key=lambda slot: (common[slot], -slot))
        held = len(self._free[best].tokens)
        if not common[best] or common[best] < held * MIN_KEPT_SHARE:
            best = min(self._free, key=lambda slot: (self._free[slot].left, slot))
        del self._free[best]
        return best, min(common[best], len(prompt) - 1)

    def held(self) -> dict[int, int]:
        """Return how many cells each free slot still holds, by slot; those that hold any."""
        return {slot: len(kept.tokens) for slot, kept in self._free.items() if kept.tokens}

    def by_age(self, owner: str) -> list[int]:
        """Return the free slots that hold anything: left longest ago first, this owner's last."""
        holding = [
            (kept.owner == owner, kept.left, slot)
            for slot, kept in self._free.items()
            if kept.tokens
        ]
        return [slot for _, _, slot in sorted(holding)]

    def clear(self, slot: int) -> None:
        """Forget what a free slot holds."""
        self._free[slot] = _Resident()

    def leave(self, slot: int, owner: str, tokens: Tokens[int]) -> None:
        """Free a slot whose cells hold `tokens`; an empty list says they are in doubt."""
        self._clock += 1
        self._free[slot] = (
            _Resident(owner, list(tokens), self._clock) if tokens else _Resident(left=0)
        )


def _num_common(a: Tokens[int], b: Tokens[int]) -> int:
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
