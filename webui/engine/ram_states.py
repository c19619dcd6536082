"""States in memory: the second tier of the prefix cache, bounded by bytes.

Knows prefixes and bytes, no slots and no disk. What was used longest ago goes first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from webui.engine.states import num_common

if TYPE_CHECKING:
    from collections.abc import Sequence as Several

    from webui.engine.adapters import Scales
    from webui.engine.states import State


class RamStates:
    """A bounded number of bytes of states.

    Args:
        max_bytes: Of all states together; 0 keeps none.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._states: dict[int, State] = {}  # used longest ago first
        self._num_bytes = 0
        self._num_put = 0

    def __len__(self) -> int:
        return len(self._states)

    @property
    def num_bytes(self) -> int:
        """Bytes of all states."""
        return self._num_bytes

    @property
    def states(self) -> list[State]:
        """All of them, used longest ago first."""
        return list(self._states.values())

    def put(self, state: State) -> list[State]:
        """Keep a state; return those that had to go for it, itself where it is too large.

        States of the same owner whose tokens it holds as well are dropped: it does all they did.
        """
        if state.num_bytes > self._max_bytes:
            return [state]
        self._drop_contained(state)
        self._num_put += 1
        self._states[self._num_put] = state
        self._num_bytes += state.num_bytes
        gone: list[State] = []
        while self._num_bytes > self._max_bytes:
            gone.append(self._remove(next(iter(self._states))))
        return gone

    def find(
        self, owner: str, tokens: Several[int], max_tokens: int, scales: Scales = ()
    ) -> tuple[State | None, int]:
        """Return the state that has most of the tokens' beginning, and how many that are.

        Args:
            owner: Whose states are looked at.
            tokens: What is to be read.
            max_tokens: How many of them may be taken from a state.
            scales: How strongly adapters must have worked on it.
        """
        best, most = None, 0
        for name, state in self._states.items():
            if not state.prefix.is_for(owner, scales):
                continue
            num = min(num_common(state.prefix.tokens, tokens), max_tokens)
            if num > most:
                best, most = name, num
        if best is None:
            return None, 0
        state = self._states.pop(best).used_now()
        self._states[best] = state
        return state, most

    def purge(self, owner: str, conversation_id: str | None) -> None:
        """Drop all states of an owner, or only those of one conversation."""
        for name, state in list(self._states.items()):
            if state.prefix.belongs_to(owner, conversation_id):
                self._remove(name)

    def expire(self, before_ns: int) -> None:
        """Drop what belongs to no conversation and was last used before a time."""
        for name, state in list(self._states.items()):
            if state.prefix.is_expired(before_ns):
                self._remove(name)

    def drop(self, state: State) -> None:
        """Let a state go, if it is kept."""
        for name, other in list(self._states.items()):
            if other.data is state.data:
                self._remove(name)

    def _drop_contained(self, state: State) -> None:
        for name, other in list(self._states.items()):
            if state.prefix.contains(other.prefix):
                self._remove(name)

    def _remove(self, name: int) -> State:
        state = self._states.pop(name)
        self._num_bytes -= state.num_bytes
        return state
