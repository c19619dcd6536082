"""Which tokens of a vocabulary a grammar allows at one place, all of them at once.

Tokens that begin alike are asked about together, byte by byte: a trie, one level after the other.
What was found for a place of a grammar is remembered, since replies come back to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from webui.engine.grammar_automaton import Automaton, Partial, State

MAX_TOKEN_BYTES = 512  # a longer one is never chosen where a grammar is kept
MAX_MASKS = 64  # of one grammar, a bit for each token
NUM_BYTES = 256
DEAD = -1
UNKNOWN = -2


@dataclass(frozen=True, slots=True)
class _Level:
    """The nodes of a trie that lie equally deep.

    Attributes:
        parents: Index of each node's parent among those of the level above.
        bytes: By which each is reached from there.
        tokens: Those that end here.
        nodes: Index of the node at which each of them ends.
    """

    parents: NDArray[np.int32]
    bytes: NDArray[np.int32]
    tokens: NDArray[np.int32]
    nodes: NDArray[np.int32]


class TokenTrie:
    """The tokens of a vocabulary by their bytes; made in a pass over it.

    Args:
        spelled: What each token says; those that say nothing are never allowed.

    Attributes:
        size: Number of tokens.
        is_said: Which tokens say something; a zero byte is nothing.
    """

    def __init__(self, spelled: Sequence[bytes]) -> None:
        self.size = len(spelled)
        lengths = np.fromiter(map(len, spelled), np.int64, self.size)
        ends = np.cumsum(lengths)
        data = np.frombuffer(b"".join(spelled), np.uint8)
        begins = ends - lengths
        tokens = np.flatnonzero((lengths > 0) & (lengths <= MAX_TOKEN_BYTES))
        self.is_said = np.zeros(self.size, np.bool_)
        self.is_said[tokens] = data[begins[tokens]] != 0
        nodes = np.zeros(len(tokens), np.int64)
        self.levels: list[_Level] = []
        while len(tokens):
            depth = len(self.levels)
            keys = nodes * NUM_BYTES + data[begins[tokens] + depth]
            unique, nodes = np.unique(keys, return_inverse=True)
            is_last = lengths[tokens] == depth + 1
            self.levels.append(
                _Level(
                    (unique // NUM_BYTES).astype(np.int32),
                    (unique % NUM_BYTES).astype(np.int32),
                    tokens[is_last].astype(np.int32),
                    nodes[is_last].astype(np.int32),
                )
            )
            tokens, nodes = tokens[~is_last], nodes[~is_last]


class TokenMasks:
    """The tokens that one grammar allows, place by place.

    Args:
        trie: Of the vocabulary.
        automaton: Of the grammar; its `allow` is to be called before each use.
    """

    def __init__(self, trie: TokenTrie, automaton: Automaton) -> None:
        self._trie = trie
        self._automaton = automaton
        self._forget()

    def at(self, state: State | Partial) -> NDArray[np.bool_]:
        """Return which tokens may come by what they say, shape (vocab_size,).

        Raises:
            TooMuchWork: More than the automaton was allowed.
        """
        if self._num_cleared != self._automaton.num_cleared:
            self._forget()
        known = self._masks.get(state)
        if known is None:
            if len(self._masks) == MAX_MASKS:
                del self._masks[next(iter(self._masks))]
            known = self._masks[state] = np.packbits(self._find(state))
        return np.unpackbits(known, count=self._trie.size).view(np.bool_)

    def _find(self, state: State | Partial) -> NDArray[np.bool_]:
        allowed = np.zeros(self._trie.size, np.bool_)
        current = np.array([self._row(state)], np.int32)
        for level in self._trie.levels:
            rows = current[level.parents]
            alive = np.flatnonzero(rows >= 0)
            if not len(alive):
                break
            following = np.full(len(rows), DEAD, np.int32)
            following[alive] = self._after(rows[alive] * NUM_BYTES + level.bytes[alive])
            allowed[level.tokens] = following[level.nodes] >= 0
            current = following
        return allowed

    def _after(self, keys: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return the rows that follow rows by bytes; what is not known is found out."""
        found = self._table.ravel()[keys]
        unknown = keys[found == UNKNOWN]
        if not len(unknown):
            return found
        for key in np.unique(unknown).tolist():
            row, byte = divmod(key, NUM_BYTES)
            following = self._automaton.after_byte(self._states[row], byte)
            index = DEAD if following is None else self._row(following)
            self._table[row, byte] = index
        return self._table.ravel()[keys]

    def _row(self, state: State | Partial) -> int:
        """Return the index of a state among those that are known."""
        row = self._rows.get(state)
        if row is None:
            row = self._rows[state] = len(self._states)
            self._states.append(state)
            if row == len(self._table):
                more = np.full_like(self._table, UNKNOWN)
                self._table = np.concatenate([self._table, more])
        return row

    def _forget(self) -> None:
        self._num_cleared = self._automaton.num_cleared
        self._masks: dict[State | Partial, NDArray[np.uint8]] = {}
        self._states: list[State | Partial] = []
        self._rows: dict[State | Partial, int] = {}
        self._table = np.full((16, NUM_BYTES), UNKNOWN, np.int32)
