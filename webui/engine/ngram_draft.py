"""Guesses how a text goes on by looking up where its last tokens stood before.

Knows the tokens of one sequence; knows no model and no cost. A guess may be wrong: whoever uses
it asks the model. Copies (edits of code, quotations, lists) are guessed for long stretches.

Source: Saxena, "Prompt Lookup Decoding", 2023; llama.cpp, common/ngram-cache.cpp.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

GRAM = 3  # tokens that must agree: with fewer most guesses of prose are wrong
MAX_CANDIDATES = 8  # earlier places that are compared, latest first
MAX_MATCH = 16  # tokens that are compared at each
MAX_INDEXED = 4096  # tokens taken into the index at once: a few milliseconds
NOWHERE = -1


class NgramDraft:
    """The places of all n-grams of a text that grows, and now and then shrinks, at its end.

    A token costs the same wherever it stands: each place points to the one before it with the
    same n-gram, and taking a token back follows that pointer.
    """

    def __init__(self) -> None:
        self._tokens: list[int] = []
        self._latest: dict[int, int] = {}  # hash of an n-gram to the place behind it
        self._earlier = array("q")  # for the place behind each token the one before it

    def follow(self, tokens: Sequence[int]) -> bool:
        """Take in what came behind the tokens known so far; False while some are left.

        Args:
            tokens: The whole sequence; it begins with what is known.
        """
        known = len(self._tokens)
        for token in tokens[known : known + MAX_INDEXED]:
            self._tokens.append(token)
            place = len(self._tokens)
            key = self._key(place)
            self._earlier.append(self._latest.get(key, NOWHERE))
            self._latest[key] = place
        return len(self._tokens) == len(tokens)

    def rewind(self, num_tokens: int) -> None:
        """Take back what stands behind the first `num_tokens`."""
        while len(self._tokens) > num_tokens:
            key = self._key(len(self._tokens))
            earlier = self._earlier.pop()
            self._tokens.pop()
            if earlier == NOWHERE:
                del self._latest[key]
            else:
                self._latest[key] = earlier

    def guess(self, max_tokens: int) -> list[int]:
        """Return what may come next, at most `max_tokens`; nothing when the end is new.

        Where the text repeats itself the guess goes on repeating it.
        """
        place = self._best_place()
        if place == NOWHERE:
            return []
        guessed: list[int] = []
        num_known = len(self._tokens)
        for index in range(place, place + max_tokens):
            is_known = index < num_known
            guessed.append(self._tokens[index] if is_known else guessed[index - num_known])
        return guessed

    def _best_place(self) -> int:
        """Return the earlier place with the longest match, the latest of equals."""
        num_known = len(self._tokens)
        if num_known <= GRAM:
            return NOWHERE
        best, longest = NOWHERE, GRAM - 1
        place = self._earlier[num_known - 1]
        for _ in range(MAX_CANDIDATES):
            if place == NOWHERE:
                break
            length = self._match(place)
            if length > longest:
                best, longest = place, length
            place = self._earlier[place - 1]
        return best

    def _match(self, place: int) -> int:
        tokens, end = self._tokens, len(self._tokens)
        most = min(MAX_MATCH, place)
        for length in range(most):
            if tokens[place - 1 - length] != tokens[end - 1 - length]:
                return length
        return most

    def _key(self, place: int) -> int:
        # Two n-grams may share a hash: every place is compared before it is used.
        return hash(tuple(self._tokens[max(0, place - GRAM) : place]))
