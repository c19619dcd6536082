"""The grammars of one model that replies keep to, or kept to of late.

What would stall replies is done elsewhere: the pass over the vocabulary when the model is loaded,
reading a grammar on a thread of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from webui.engine.grammar_probe import check_ways
from webui.loaders.llama_cpp.grammar import Candidates, Grammar, GrammarVocab
from webui.loaders.llama_cpp.made_ahead import MadeAhead
from webui.loaders.llama_cpp.token_trie import TokenTrie

if TYPE_CHECKING:
    from collections.abc import Sequence

    from webui.loaders.llama_cpp.vocabulary import Vocabulary


class Grammars:
    """Makes each grammar once.

    Args:
        vocabulary: Of the model.
        spelled: What each of its tokens says.
    """

    def __init__(self, vocabulary: Vocabulary, spelled: Sequence[bytes]) -> None:
        self._vocab = GrammarVocab(
            vocabulary,
            np.fromiter(sorted(vocabulary.eog), np.int32),
            Candidates(vocabulary.size, vocabulary.silent),
            TokenTrie(spelled),
        )
        self._made: MadeAhead[str, Grammar] = MadeAhead(lambda text: Grammar(self._vocab, text))

    def has(self, text: str) -> bool:
        """Return whether `read` has nothing to do; any thread may ask."""
        return self._made.has(text)

    def read(self, text: str) -> None:
        """Make a grammar that `get` is going to return; called by the thread that makes samplers.

        Raises:
            GrammarTooAmbiguous: It can be kept in too many ways at once.
            InvalidRequest: It names a token that the model does not have.
        """
        self._made.prepare(text, lambda grammar: check_ways(grammar.automaton))

    def get(self, text: str) -> Grammar:
        """Return the grammar of a text that `engine.grammar.check_grammar` has passed.

        Called by the loop thread.

        Raises:
            InvalidRequest: It names a token that the model does not have.
        """
        return self._made.get(text)
