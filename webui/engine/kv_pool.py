"""Slots and the KV cells behind them: who holds how many, and who must give way.

Knows token lists, owners and counts; touches no cells itself. Either every slot has a pool of
its own, or all slots share one; both are counted alike. A running sequence holds what was
reserved for it, a free slot holds what was read there last until others need the cells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from webui.engine.resident_slots import ResidentSlots

if TYPE_CHECKING:
    from collections.abc import Sequence as Several

    from webui.engine.adapters import Scales
    from webui.engine.states import Prefix

GROWTH_CELLS = 16  # asked for at once, so that not every token asks


class KVPool:
    """The cells of a runner.

    Args:
        num_slots: Sequences that may run at once.
        num_cells: Cells of a pool.
        is_shared: All slots share one pool; else each has its own.
    """

    def __init__(self, num_slots: int, num_cells: int, *, is_shared: bool) -> None:
        self._num_cells = num_cells
        self._is_shared = is_shared
        self._slots = ResidentSlots(num_slots)
        self._reserved: dict[int, int] = {}  # by running slot
        self._evicted: list[int] = []

    @property
    def residents(self) -> ResidentSlots:
        """What lies in the free slots."""
        return self._slots

    @property
    def num_free_slots(self) -> int:
        """Slots that no sequence runs in."""
        return self._slots.num_free

    @property
    def num_held_cells(self) -> int:
        """Cells that are reserved or hold what was read last, of all pools."""
        return sum(self._reserved.values()) + sum(self._slots.held().values())

    def reserved(self, slot: int) -> int:
        """Return the cells of a running slot that its pool would have back."""
        return self._reserved[slot] if self._is_shared else 0

    def fits(self, num_cells: int, *, num_more_slots: int = 0, num_more_cells: int = 0) -> bool:
        """Return whether a new sequence could have so many cells, had all idle ones given way.

        Args:
            num_cells: What it needs; a whole pool is always enough.
            num_more_slots: Slots that others would give up for it.
            num_more_cells: Cells that they would give up with them.
        """
        room = self._room(None) + num_more_cells
        num_slots = self._slots.num_free + num_more_slots
        return num_slots > 0 and min(num_cells, self._num_cells) <= room

    def place(
        self, owner: str, tokens: Several[int], num_cells: int, scales: Scales = ()
    ) -> tuple[int, int]:
        """Reserve cells in a slot; return it and how many of its cells serve already.

        The caller has asked `fits` and drops the cells behind those that serve.
        """
        slot, num_cached = self._slots.take(owner, tokens, scales)
        self._reserved[slot] = min(num_cells, self._num_cells)
        self._evict(slot, owner)
        return slot, num_cached

    def grow(self, slot: int, owner: str, num_cells: int) -> bool:
        """Let a running sequence have so many cells; False when the pool has no more."""
        missing = num_cells - self._reserved[slot]
        if missing <= 0:
            return True
        room = self._room(slot)
        if missing > room:
            return False
        self._reserved[slot] += min(max(missing, GROWTH_CELLS), room)
        self._evict(slot, owner)
        return True

    def spare(self, slot: int, num_cells: int) -> int:
        """Return the cells a running sequence may use beyond `num_cells` without asking."""
        own = self._reserved[slot] if self._is_shared else self._num_cells
        return max(0, own - num_cells)

    def clear(self, slot: int) -> None:
        """Note that a slot in which nothing runs holds nothing any more."""
        assert slot not in self._reserved
        self._slots.lose(slot)

    def leave(self, slot: int, prefix: Prefix | None) -> None:
        """Free a slot whose cells hold these tokens; None says they are in doubt."""
        del self._reserved[slot]
        self._slots.leave(slot, prefix)

    def take_evicted(self) -> list[int]:
        """Return the slots whose cells must be dropped before the next step."""
        evicted, self._evicted = self._evicted, []
        return [slot for slot in evicted if slot not in self._reserved]

    def _room(self, slot: int | None) -> int:
        """Return the cells that running sequences leave to a slot, or to one that is free."""
        if self._is_shared:
            return self._num_cells - sum(self._reserved.values())
        return self._num_cells - (self._reserved[slot] if slot is not None else 0)

    def _evict(self, slot: int, owner: str) -> None:
        """Give up idle cells until what is reserved fits: left longest ago first, own ones last."""
        if not self._is_shared:
            return
        room = self._room(slot)
        held = self._slots.held()
        num_idle = sum(held.values())
        for idle in self._slots.by_age(owner):
            if num_idle <= room:
                return
            num_idle -= held[idle]
            self._slots.clear(idle)
            self._evicted.append(idle)
