"""The grammars of one model that replies keep to, or kept to of late.

What would stall replies is done elsewhere: the pass over the vocabulary when the model is loaded,
reading a grammar on the template thread.
"""

from __future__ import annotations

import queue
from typing import TYPE_CHECKING

import numpy as np

from webui.engine.grammar_probe import check_ways
from webui.loaders.llama_cpp.grammar import Candidates, Grammar, GrammarVocab
from webui.loaders.llama_cpp.token_trie import TokenTrie

if TYPE_CHECKING:
    from webui.loaders.llama_cpp.vocabulary import Vocabulary

MAX_KEPT = 16


class Grammars:
    """Makes each grammar once.

    Args:
        vocabulary: Of the model.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocab = GrammarVocab(
            vocabulary,
            np.fromiter(sorted(vocabulary.eog), np.int32),
            Candidates(vocabulary.size, vocabulary.silent),
            TokenTrie(vocabulary.spelled()),
        )
        self._read: queue.SimpleQueue[tuple[str, Grammar]] = queue.SimpleQueue()
        self._kept: dict[str, Grammar] = {}  # the one used last comes last; the loop's own

    def read(self, text: str) -> None:
        """Make a grammar that `get` is going to return; called by the template thread.

        Raises:
            GrammarTooAmbiguous: It can be kept in too many ways at once.
            InvalidRequest: It names a token that the model does not have.
        """
        if text not in self._kept:
            grammar = Grammar(self._vocab, text)
            check_ways(grammar.automaton)
            self._read.put((text, grammar))

    def get(self, text: str) -> Grammar:
        """Return the grammar of a text that `engine.grammar.check_grammar` has passed.

        Called by the loop thread; makes it where `read` did not, or long ago.

        Raises:
            InvalidRequest: It names a token that the model does not have.
        """
        while not self._read.empty():
            self._keep(*self._read.get())
        grammar = self._kept.get(text) or Grammar(self._vocab, text)
        self._keep(text, grammar)
        return grammar

    def _keep(self, text: str, grammar: Grammar) -> None:
        self._kept.pop(text, None)
        self._kept[text] = grammar
        if len(self._kept) > MAX_KEPT:
            del self._kept[next(iter(self._kept))]
