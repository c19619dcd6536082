"""Choosing tokens that a grammar allows; a reply without a grammar passes none of this.

The grammar stands outside the sampler chain: penalties look back on the prompt, which a grammar
must not see, and asking it about each token of the vocabulary is dear. So the chain chooses first,
and only where the grammar refuses that token is it asked about all of them.

llama.cpp's own grammars are not used: they follow each way through a grammar by itself, which can
be two to the power of a token's letters, and end the process over a token that is not allowed.

Source: llama.cpp, common/sampling.cpp, common_sampler_sample.
"""

from __future__ import annotations

import copy
import ctypes
import math
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import llama_cpp
import numpy as np

from webui.engine.grammar_automaton import Automaton, Partial, State, TooMuchWork
from webui.errors import EngineError, GrammarTooAmbiguous, InvalidRequest, NothingAllowed
from webui.loaders.llama_cpp.token_trie import TokenMasks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from webui.loaders.llama_cpp.chain import Chain
    from webui.loaders.llama_cpp.token_trie import TokenTrie
    from webui.loaders.llama_cpp.vocabulary import Vocabulary

NO_TOKEN = -1
# Items of a grammar that are looked at for a reply, at most a microsecond each: so many at once,
# and no more than this with each token.
MAX_WORK = 200_000
WORK_PER_TOKEN = 5_000
TOKEN_DATA = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])


class Candidates:
    """All tokens of a model with their logits, for samplers to change in place.

    Args:
        vocab_size: Number of tokens.
        silent: Those that say nothing though their names are text; never chosen.
    """

    def __init__(self, vocab_size: int, silent: frozenset[int]) -> None:
        self._ids = np.arange(vocab_size, dtype=np.int32)
        self._silent = np.fromiter(silent, dtype=np.int32)
        self._data = np.zeros(vocab_size, TOKEN_DATA)
        self._array = _token_array(self._data)
        self._part = self._data
        self._logits = np.zeros(vocab_size, np.float32)

    def fill(self, logits: NDArray[np.float32], *, is_free: bool = False) -> None:
        """Begin anew with all tokens.

        Args:
            logits: Shape (vocab_size,); read until the next call.
            is_free: Let those that say nothing be chosen too: no grammar is at work yet.
        """
        self._logits = logits
        self._data["id"] = self._ids
        self._data["logit"] = logits
        if not is_free:
            self.refuse(self._silent)
        self._data["p"] = 0
        self._part = self._data
        self._array = _token_array(self._data)

    def keep(self, tokens: NDArray[np.int32]) -> None:
        """Go on with some tokens only, in the order of their ids; none was moved since `fill`."""
        self._part = self._data[tokens]
        self._array = _token_array(self._part)

    def refuse(self, tokens: Sequence[int] | NDArray[np.int32]) -> None:
        """Take the chance from some tokens."""
        self._data["logit"][np.asarray(tokens, np.int32)] = -np.inf

    def apply(self, sampler: int | None) -> None:
        """Let a sampler of llama.cpp change them."""
        llama_cpp.llama_sampler_apply(sampler, ctypes.byref(self._array))

    def selected(self) -> tuple[int, float]:
        """Return the token that the last sampler chose, with its logit before all samplers.

        The logit is no number where the sampler chose none.
        """
        array = self._array
        if not 0 <= array.selected < array.size:
            return NO_TOKEN, math.nan
        token: int = array.data[array.selected].id  # type: ignore[assignment]  # ctypes gives an int
        return token, float(self._logits[token])

    def has_chance(self) -> bool:
        """Return whether any token is left."""
        return bool((self._part["logit"] > -np.inf).any())


@dataclass(frozen=True, slots=True)
class GrammarVocab:
    """What a grammar needs to know of a model.

    Attributes:
        vocabulary: Of the model.
        eog: Tokens that end a reply.
        candidates: Shared by all replies of the model.
        trie: What all tokens say that may be chosen.
    """

    vocabulary: Vocabulary
    eog: NDArray[np.int32]
    candidates: Candidates
    trie: TokenTrie


class Grammar:
    """A grammar with one vocabulary; all replies that keep to it share what was found out.

    Args:
        vocab: Of the model.
        text: GBNF that `engine.grammar.check_grammar` has passed.

    Raises:
        InvalidRequest: It names a token that the model does not have.
    """

    def __init__(self, vocab: GrammarVocab, text: str) -> None:
        self.vocab = vocab
        self.automaton = Automaton(text)
        self._masks = TokenMasks(vocab.trie, self.automaton)
        self._named = {name: _named(vocab.vocabulary, name) for name in self.automaton.token_names}

    def after(self, state: State | Partial, token: int) -> State | Partial | None:
        """Return the state behind a token; None where it cannot come.

        Raises:
            TooMuchWork: More than the automaton was allowed.
        """
        if token in self.vocab.vocabulary.eog:
            return state if isinstance(state, State) and state.is_end else None
        data = self.vocab.vocabulary.piece(token)
        if not data or not data[0]:
            return None
        said = self.automaton.after_bytes(state, data)
        if isinstance(state, Partial) or not state.tokens:
            return said
        named = self.automaton.after_items(
            item
            for element, item in state.tokens
            if (self._named[element.text] == token) != element.is_negated
        )
        if named is None or said is None:
            return named or said
        return self.automaton.join(named, said) if isinstance(said, State) else named

    def mask(self, state: State | Partial) -> NDArray[np.bool_]:
        """Return which tokens may come, shape (vocab_size,); never those that say nothing.

        Raises:
            TooMuchWork: More than the automaton was allowed.
        """
        found = self._masks.at(state)
        for element, _ in () if isinstance(state, Partial) else state.tokens:
            token = self._named[element.text]
            if element.is_negated:
                was_allowed = found[token]
                found |= self.vocab.trie.is_said
                found[token] = was_allowed
            else:
                found[token] |= self.vocab.trie.is_said[token]
        found[self.vocab.eog] = isinstance(state, State) and state.is_end
        return found


class GrammarSampler:
    """Where a reply stands in its grammar.

    Args:
        grammar: What it keeps to.
        reply: The tokens of the reply so far, all of them allowed; never those of the prompt.

    Raises:
        EngineError: The reply does not keep to the grammar.
        GrammarTooAmbiguous: Following the reply takes too much work.
    """

    def __init__(self, grammar: Grammar, reply: Sequence[int]) -> None:
        self._grammar = grammar
        self._vocab = grammar.vocab
        self._state: State | Partial = grammar.automaton.start
        self._has_way = True  # as the latest mask said
        self._left = MAX_WORK + WORK_PER_TOKEN * len(reply)
        with self._counted():
            for token in reply:
                self._take(token)
        self._left = min(self._left, MAX_WORK)

    def sample(self, chain: Chain, logits: NDArray[np.float32]) -> int | None:
        """Choose the next token, and accept it into the chain and the grammar.

        Args:
            chain: How to choose.
            logits: Shape (vocab_size,).

        Returns:
            None when no token is both allowed and not banned. Where the grammar is at its end,
            a token that ends the reply is chosen even if it is banned.

        Raises:
            GrammarTooAmbiguous: Following the grammar takes too much work.
        """
        token = self._choose(chain, logits)
        if token is not None:
            self.accept(token)
            chain.accept(token)
        return token

    def allows(self, token: int) -> bool:
        """Return whether a token may come next.

        Raises:
            GrammarTooAmbiguous: Finding out takes too much work.
        """
        with self._counted():
            return self._grammar.after(self._state, token) is not None

    def accept(self, token: int) -> None:
        """Go on behind a token, which must be allowed.

        Raises:
            EngineError: It is not.
            GrammarTooAmbiguous: Following takes too much work.
        """
        self._left = min(self._left + WORK_PER_TOKEN, MAX_WORK)
        with self._counted():
            self._take(token)

    def copy(self) -> GrammarSampler:
        """Return another that stands at the same place."""
        return copy.copy(self)

    def check_begins(self, banned: frozenset[int]) -> None:
        """Check that some token may come next, or the grammar may be at its end.

        Raises:
            NothingAllowed: None may.
            GrammarTooAmbiguous: Finding out takes too much work.
        """
        allowed = self._mask()
        if not (allowed[self._vocab.eog].any() or self._has_tokens(allowed, banned)):
            raise self.refusal()

    def refusal(self) -> NothingAllowed:
        """Return why no token may come next, once that was found; finds out nothing anew."""
        if self._has_way:
            return NothingAllowed(
                "All that the grammar or schema allows here is banned",
                "Ban fewer tokens and strings, or let the grammar or schema allow more.",
            )
        return NothingAllowed(
            "No token of this model is what the grammar or schema allows here",
            "Let the grammar or schema allow other characters or tokens.",
        )

    def _take(self, token: int) -> None:
        state = self._grammar.after(self._state, token)
        if state is None:
            raise EngineError(f"The token {token} does not keep to the grammar")
        self._state = state

    def _has_tokens(self, allowed: NDArray[np.bool_], banned: frozenset[int]) -> bool:
        allowed[np.fromiter(banned, np.int32)] = False
        return bool(allowed.any())

    def _mask(self) -> NDArray[np.bool_]:
        with self._counted():
            mask = self._grammar.mask(self._state)
        self._has_way = bool(mask.any())
        return mask

    def _choose(self, chain: Chain, logits: NDArray[np.float32]) -> int | None:
        candidates = self._vocab.candidates
        candidates.fill(logits)
        token = chain.choose(candidates)
        if token is not None and self.allows(token):
            return token
        allowed = np.flatnonzero(self._mask()).astype(np.int32)
        if len(allowed):
            candidates.fill(logits)
            if (token := chain.choose_among(candidates, allowed)) is not None:
                return token
        return next(filter(self.allows, self._vocab.eog.tolist()), None)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Count the work on the grammar's automaton as that of this reply."""
        automaton = self._grammar.automaton
        automaton.allow(self._left)
        try:
            yield
        except TooMuchWork as error:
            raise GrammarTooAmbiguous(
                "The grammar or schema can be kept in too many ways here to follow them all",
                "Let fewer ways begin alike, and bound repetitions within repetitions.",
            ) from error
        finally:
            self._left = max(0, automaton.left)


def _named(vocabulary: Vocabulary, name: str) -> int:
    """Return the token that a grammar names, in angle brackets as it stands there.

    Source: llama.cpp, src/llama-grammar.cpp, parse_token.
    """
    is_id = name.startswith("<[")
    found = [int(name[2:-2])] if is_id else vocabulary.tokenize(name, special=True)
    if len(found) != 1 or found[0] >= vocabulary.size:
        raise InvalidRequest(
            f"grammar: this model has no token {name}",
            "Name only tokens that the model has.",
            field="grammar",
        )
    return found[0]


def _token_array(data: NDArray[np.void]) -> llama_cpp.llama_token_data_array:
    """Return llama.cpp's view of tokens; it lives as long as they do."""
    return llama_cpp.llama_token_data_array(
        data=data.ctypes.data_as(llama_cpp.llama_token_data_p),
        size=len(data),
        selected=-1,
        sorted=False,
    )
