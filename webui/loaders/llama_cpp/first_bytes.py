"""Which tokens a grammar need not be asked about: those whose first byte it does not allow.

llama.cpp spells out every token that it is asked about, which takes 19 ms for a vocabulary of
150,000. Where a grammar allows few bytes next, as between the values of JSON, most tokens fall out
by their first one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from webui.loaders.llama_cpp.vocabulary import Vocabulary

NUM_BYTES = 256
NOTHING = 0  # stands for the first byte of what says nothing
# What may hold a "<" that names no token: comments, literals, sets of characters.
NO_NAMES = re.compile(r'#[^\n]*|"(?:[^"\\]|\\.)*"|\[(?:[^\]\\]|\\.)*\]', re.DOTALL)


def names_tokens(grammar: str) -> bool:
    """Return whether a grammar asks for tokens by name or id; those are not matched by bytes."""
    return "<" in NO_NAMES.sub("", grammar)


class FirstBytes:
    """The first byte of each token; found in a pass over the vocabulary.

    Args:
        vocabulary: Of the model.

    Attributes:
        letters: The tokens that say one byte each.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._first = np.frombuffer(vocabulary.first_bytes(), np.uint8).copy()
        self._first[list(vocabulary.silent)] = NOTHING
        self._ends = np.fromiter(vocabulary.eog, np.int32)
        letters = vocabulary.letters
        self._bytes = np.fromiter(letters.keys(), np.int16)
        self.letters = np.fromiter(letters.values(), np.int32)

    def candidates(
        self, allowed: Callable[[NDArray[np.int32]], NDArray[np.bool_]]
    ) -> NDArray[np.int32]:
        """Return the tokens that may be allowed, in order; the others are surely not.

        Args:
            allowed: Asks the grammar about some tokens.
        """
        table = np.ones(NUM_BYTES, np.bool_)  # what has no token of its own is not ruled out
        table[self._bytes] = allowed(self.letters)
        table[NOTHING] = False
        kept = table[self._first]
        kept[self._ends] = True
        return np.flatnonzero(kept).astype(np.int32)
