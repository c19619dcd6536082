"""Choosing tokens that a grammar allows; a reply without a grammar passes none of this.

The grammar stands outside the sampler chain: penalties look back on the prompt, which a grammar
must not see, and asking it about each token of the vocabulary is dear. So the chain chooses first,
and only where the grammar refuses that token is it asked about all of them.

llama.cpp ends the process when a token is accepted that its grammar does not allow, so none is
accepted that it was not asked about.

Source: llama.cpp, common/sampling.cpp, common_sampler_sample.
"""

from __future__ import annotations

import copy
import ctypes
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import llama_cpp
import numpy as np

from webui.errors import EngineError, InvalidRequest, NothingAllowed
from webui.loaders.llama_cpp.first_bytes import names_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from webui.loaders.llama_cpp.chain import Chain
    from webui.loaders.llama_cpp.first_bytes import FirstBytes

ROOT = b"root"
NO_TOKEN = -1
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

    def fill_alike(self) -> None:
        """Begin anew with all tokens, none likelier than another; for others as `fill`."""
        self.fill(np.zeros(len(self._ids), np.float32))

    def fill_with(self, tokens: NDArray[np.int32], logits: NDArray[np.float32]) -> None:
        """Begin anew with some tokens only, in the order of their ids; for others as `fill`."""
        self._logits = logits
        self._part = np.zeros(len(tokens), TOKEN_DATA)
        self._part["id"] = tokens
        self._part["logit"] = logits[tokens]
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
        handle: llama.cpp's vocabulary.
        eog: Tokens that end a reply.
        candidates: Shared by all replies of the model.
        first_bytes: What rules tokens out.
    """

    handle: int
    eog: frozenset[int]
    candidates: Candidates
    first_bytes: FirstBytes


class GrammarSampler:
    """Where a reply stands in its grammar.

    Args:
        vocab: Of the model.
        grammar: GBNF that `engine.grammar.check_grammar` has passed.
        reply: The tokens of the reply so far, all of them allowed; never those of the prompt.

    Raises:
        InvalidRequest: llama.cpp does not take the grammar.
    """

    def __init__(self, vocab: GrammarVocab, grammar: str, reply: Sequence[int]) -> None:
        self._vocab = vocab
        self._names_tokens = names_tokens(grammar)
        self._handle: int | None = llama_cpp.llama_sampler_init_grammar(
            vocab.handle, grammar.encode(), ROOT
        )
        if not self._handle:
            raise InvalidRequest(
                "grammar: llama.cpp does not take it with this model",
                "Name only tokens that the model has.",
                field="grammar",
            )
        for token in reply:
            self.accept(token)

    def sample(self, chain: Chain, logits: NDArray[np.float32]) -> int | None:
        """Choose the next token, and accept it into the chain and the grammar.

        Args:
            chain: How to choose.
            logits: Shape (vocab_size,).

        Returns:
            None when no token is both allowed and not banned. Where the grammar is at its end,
            a token that ends the reply is chosen even if it is banned.
        """
        token = self._choose(chain, logits)
        if token is not None:
            self.accept(token)
            chain.accept(token)
        return token

    def allows(self, token: int) -> bool:
        """Return whether a token may come next."""
        return bool(self._allowed(np.array([token], np.int32))[0])

    def accept(self, token: int) -> None:
        """Go on behind a token, which must be allowed: else llama.cpp ends the process."""
        llama_cpp.llama_sampler_accept(self._handle, token)

    def copy(self) -> GrammarSampler:
        """Return another that stands at the same place; it must be closed too.

        Raises:
            EngineError: llama.cpp made none.
        """
        handle = llama_cpp.llama_sampler_clone(self._handle)
        if not handle:
            raise EngineError("llama.cpp made no copy of a grammar")
        other = copy.copy(self)
        other._handle = handle  # noqa: SLF001 - one of this class
        return other

    def check_begins(self, banned: frozenset[int]) -> None:
        """Check that some token may come next, or the grammar may be at its end.

        Raises:
            NothingAllowed: None may.
        """
        if any(map(self.allows, self._vocab.eog)):
            return
        letters = (
            self._vocab.first_bytes.letters
        )  # few, so that the vocabulary is mostly left alone
        if any(token not in banned for token in letters[self._allowed(letters)]):
            return
        if not self._has_tokens(banned):
            raise self.refusal()

    def refusal(self) -> NothingAllowed:
        """Return why no token may come next."""
        if self._has_tokens(frozenset()):
            return NothingAllowed(
                "All that the grammar or schema allows here is banned",
                "Ban fewer tokens and strings, or let the grammar or schema allow more.",
            )
        return NothingAllowed(
            "No token of this model is what the grammar or schema allows here",
            "Let the grammar or schema allow other characters or tokens.",
        )

    def _has_tokens(self, banned: frozenset[int]) -> bool:
        """Return whether the grammar allows any token but those that are banned."""
        candidates = self._vocab.candidates
        candidates.fill_alike()
        candidates.refuse(list(banned))
        candidates.apply(self._handle)
        return candidates.has_chance()

    def close(self) -> None:
        """Free the grammar; idempotent."""
        if self._handle:
            llama_cpp.llama_sampler_free(self._handle)
            self._handle = None

    def _choose(self, chain: Chain, logits: NDArray[np.float32]) -> int | None:
        candidates = self._vocab.candidates
        candidates.fill(logits)
        token = chain.choose(candidates)
        if token is not None and self.allows(token):
            return token
        if self._names_tokens:
            candidates.fill(logits)
        else:
            candidates.fill_with(self._vocab.first_bytes.candidates(self._allowed), logits)
        candidates.apply(self._handle)
        if candidates.has_chance():
            token = chain.choose(candidates)
            if token is not None and self.allows(token):
                return token
        return next(filter(self.allows, sorted(self._vocab.eog)), None)

    def _allowed(self, tokens: NDArray[np.int32]) -> NDArray[np.bool_]:
        data = np.zeros(len(tokens), TOKEN_DATA)
        data["id"] = tokens
        llama_cpp.llama_sampler_apply(self._handle, ctypes.byref(_token_array(data)))
        return np.asarray(data["logit"] == 0)


def _token_array(data: NDArray[np.void]) -> llama_cpp.llama_token_data_array:
    """Return llama.cpp's view of tokens; it lives as long as they do."""
    return llama_cpp.llama_token_data_array(
        data=data.ctypes.data_as(llama_cpp.llama_token_data_p),
        size=len(data),
        selected=-1,
        sorted=False,
    )
