"""Which tokens lie in the KV cells of each slot, and who may use them again.

Knows token lists and owners; touches no cells itself. Tokens are compared, never hashes, and
only with those of the same owner.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from webui.engine.states import MIN_STATE_TOKENS, Prefix, num_common

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Sequence as Tokens

    from webui.engine.adapters import Scales

MIN_KEPT_SHARE = 1 / 3  # of a resident, that must serve on for its rest to be given up
MIN_LOST_SHARE = 1 / 2  # of a resident, for which its state is worth keeping


@dataclass(slots=True)
class _Resident:
    """What a free slot still holds."""

    prefix: Prefix | None = None
    left: int = 0
    is_kept: bool = False  # its state is on disk as well

    @property
    def tokens(self) -> list[int]:
        return self.prefix.tokens if self.prefix else []


@dataclass(frozen=True, slots=True)
class Displaced:
    """What a slot holds that is to be overwritten or dropped, and may be worth keeping."""

    slot: int
    prefix: Prefix


class ResidentSlots:
    """The slots of a runner: taken by running sequences, else holding what was read last.

    Args:
        num_slots: How many there are.
    """

    def __init__(self, num_slots: int) -> None:
        self._free = {slot: _Resident() for slot in range(num_slots)}
        self._clock = 0
        self._displaced: list[Displaced] = []

    @property
    def num_free(self) -> int:
        """Slots that no sequence runs in."""
        return len(self._free)

    def find(self, owner: str, tokens: Tokens[int], scales: Scales = ()) -> tuple[int, int, int]:
        """Return the free slot of an owner that has most of the tokens' beginning.

        Returns:
            The slot, how many cells it holds, and how many of them have these tokens; if there is
            none, both are 0.
        """
        held = (
            (slot, len(kept.tokens), num_common(kept.tokens, tokens))
            for slot, kept in self._serving(owner, scales).items()
        )
        return max(held, key=lambda it: (it[2], -it[1]), default=(0, 0, 0))

    def take(self, owner: str, prompt: Tokens[int], scales: Scales = ()) -> tuple[int, int]:
        """Choose a free slot for a prompt; return it and how many of its cells serve.

        The last prompt token never counts: it is read again to get what follows it.
        A slot with a common beginning is taken when that is worth the rest it holds; else an
        empty one, else the one left longest ago.
        """
        mine = self._serving(owner, scales)
        common = {
            slot: num_common(kept.tokens, prompt) if slot in mine else 0
            for slot, kept in self._free.items()
        }
        best = max(common, key=lambda slot: (common[slot], -slot))
        held = len(self._free[best].tokens)
        if not common[best] or common[best] < held * MIN_KEPT_SHARE:
            best = min(self._free, key=lambda slot: (self._free[slot].left, slot))
        self._displace(best, common[best])
        del self._free[best]
        return best, min(common[best], len(prompt) - 1)

    def held(self) -> dict[int, int]:
        """Return how many cells each free slot still holds, by slot; those that hold any."""
        return {slot: len(kept.tokens) for slot, kept in self._free.items() if kept.tokens}

    def by_age(self, owner: str) -> list[int]:
        """Return the free slots that hold anything: left longest ago first, this owner's last."""
        holding = [
            (kept.prefix is not None and kept.prefix.owner == owner, kept.left, slot)
            for slot, kept in self._free.items()
        ]
        return [slot for _, _, slot in sorted(holding) if self._free[slot].tokens]

    def idle(self) -> list[Displaced]:
        """Return what free slots hold, left longest ago first."""
        holding = [
            (kept.left, Displaced(slot, kept.prefix))
            for slot, kept in self._free.items()
            if kept.prefix is not None
        ]
        return [resident for _, resident in sorted(holding, key=lambda item: item[0])]

    def unkept(self) -> list[Displaced]:
        """Return what free slots hold whose state is not on disk, left latest first."""
        worth = [
            (kept.left, Displaced(slot, kept.prefix))
            for slot, kept in self._free.items()
            if kept.prefix and not kept.is_kept and len(kept.tokens) >= MIN_STATE_TOKENS
        ]
        return [resident for _, resident in sorted(worth, key=lambda item: -item[0])]

    def mark_kept(self, slot: int) -> None:
        """Note that the state of a free slot is on disk."""
        self._free[slot].is_kept = True

    def clear(self, slot: int) -> None:
        """Forget what a free slot holds; it may be worth keeping."""
        self._displace(slot, 0)
        self._free[slot] = _Resident()

    def lose(self, slot: int) -> None:
        """Note that the cells of a free slot are gone already."""
        self._free[slot] = _Resident()

    def purge(self, owner: str, conversation_id: str | None) -> list[int]:
        """Forget what belongs to an owner or a conversation; return its slots."""
        purged = [
            slot
            for slot, kept in self._free.items()
            if kept.prefix and kept.prefix.belongs_to(owner, conversation_id)
        ]
        for slot in purged:
            self._free[slot] = _Resident()
        return purged

    def expire(self, before_ns: int) -> list[int]:
        """Forget what belongs to no conversation and was left before a time; return its slots."""
        expired = [
            slot
            for slot, kept in self._free.items()
            if kept.prefix and kept.prefix.is_expired(before_ns)
        ]
        for slot in expired:
            self._free[slot] = _Resident()
        return expired

    def doubt_kept(self, is_written: Callable[[Prefix], bool]) -> None:
        """Look again which states of free slots are on disk."""
        for kept in self._free.values():
            if kept.prefix and kept.is_kept:
                kept.is_kept = is_written(kept.prefix)

    def leave(self, slot: int, prefix: Prefix | None) -> None:
        """Free a slot whose cells hold these tokens; None says they are in doubt."""
        self._clock += 1
        holds_any = prefix is not None and bool(prefix.tokens)
        self._free[slot] = _Resident(prefix, self._clock) if holds_any else _Resident()

    def take_displaced(self) -> list[Displaced]:
        """Return what was given up since the last call, while the cells still hold it."""
        displaced, self._displaced = self._displaced, []
        return displaced

    def _serving(self, owner: str, scales: Scales) -> dict[int, _Resident]:
        return {
            slot: kept
            for slot, kept in self._free.items()
            if kept.prefix is not None and kept.prefix.is_for(owner, scales)
        }

    def _displace(self, slot: int, num_kept: int) -> None:
        """Note what is lost when only so many tokens of a slot serve on."""
        prefix = self._free[slot].prefix
        if prefix is None:
            return
        num, num_lost = len(prefix.tokens), len(prefix.tokens) - num_kept
        is_worth = num >= MIN_STATE_TOKENS and num_lost > num * MIN_LOST_SHARE
        if is_worth or (prefix.is_unfinished and num_lost):
            self._displaced.append(Displaced(slot, prefix))
