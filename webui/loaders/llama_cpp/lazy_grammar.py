"""A grammar that waits: the reply is free until a trigger comes, and keeps to it from there on.

The grammar is told the trigger too, as in llama.cpp, so that it must begin with it. A token that
completes a trigger but goes on as the grammar does not allow is not chosen.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from webui.engine.trigger_watch import FIELD, Opening, TriggerWatch
from webui.errors import InvalidRequest, NothingAllowed
from webui.loaders.llama_cpp.grammar import GrammarSampler

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from webui.engine.interface import GrammarTrigger
    from webui.loaders.llama_cpp.chain import Chain
    from webui.loaders.llama_cpp.grammar import Grammar

MAX_CHECK_S = 0.5  # others wait meanwhile; 2,000 ways to begin cost 0.04 s a letter
MAX_REFUSED = 64  # tokens in one place that complete a trigger and go on wrongly


class LazyGrammarSampler:
    """Where a reply stands before and in its grammar.

    Args:
        grammar: What the reply keeps to behind a trigger.
        triggers: What `engine.trigger_watch.check_triggers` has passed, at least one.
        reply: The tokens of the reply so far, all of them chosen here; never those of the prompt.

    Raises:
        GrammarTooAmbiguous: Following the reply through the grammar takes too much work.
        InvalidRequest: The model has no such token, or the grammar cannot begin with one of the
            triggers, or it takes too long to find out.
    """

    def __init__(
        self,
        grammar: Grammar,
        *,
        triggers: Sequence[GrammarTrigger],
        reply: Sequence[int],
    ) -> None:
        self._candidates = grammar.vocab.candidates
        self._vocabulary = grammar.vocab.vocabulary
        self._fresh = GrammarSampler(grammar, ())
        self._begun: GrammarSampler | None = None
        words, tokens = self._read(triggers)
        self._watch = TriggerWatch(words, frozenset(tokens))
        for token in reply:
            self._take(token)

    def sample(self, chain: Chain, logits: NDArray[np.float32]) -> int | None:
        """Choose the next token, and accept it into the chain and the grammar.

        Args:
            chain: How to choose.
            logits: Shape (vocab_size,).

        Returns:
            None when no token is both allowed and not banned.
        """
        if self._begun is not None:
            return self._begun.sample(chain, logits)
        candidates = self._candidates
        refused: list[int] = []
        while len(refused) < MAX_REFUSED:
            candidates.fill(logits, is_free=True)
            candidates.refuse(refused)
            token = chain.choose(candidates)
            if token is None or token in refused:
                return None
            if self._take(token):
                chain.accept(token)
                return token
            refused.append(token)
        return None

    def refusal(self) -> NothingAllowed:
        """Return why no token may come next."""
        if self._begun is not None:
            return self._begun.refusal()
        return NothingAllowed(
            "All tokens that could come here are banned, or end a trigger behind which the grammar "
            "or schema does not go on as they do",
            "Ban fewer tokens and strings, or let the grammar or schema allow more.",
        )

    def _read(self, triggers: Sequence[GrammarTrigger]) -> tuple[list[bytes], set[int]]:
        """Return the words and the tokens to wait for.

        A word that is the name of a control token is that token: it says nothing by itself.
        """
        words: list[bytes] = []
        tokens: set[int] = set()
        begun_s = time.thread_time()  # what others cost us does not count
        for index, trigger in enumerate(triggers):
            place = f"{FIELD}[{index}]"
            if trigger.token is None:
                word = trigger.word.encode()
                words.append(word)
                named = self._vocabulary.tokenize(trigger.word, special=True)
                is_token = len(named) == 1
                if is_token and not self._vocabulary.token_bytes(named[0]):
                    tokens.add(named[0])
                begun = self._begin(named[0], Opening(word, is_token=is_token))
            else:
                self._check_token(place, trigger.token)
                tokens.add(trigger.token)
                begun = self._begin_with([trigger.token])
            if begun is None:
                name = repr(trigger.word) if trigger.token is None else f"token {trigger.token}"
                raise InvalidRequest(
                    f"{place}: the grammar cannot begin with {name}",
                    "The grammar is told the trigger too: let its rule root begin with it.",
                    field=FIELD,
                )
            if time.thread_time() - begun_s > MAX_CHECK_S:
                raise InvalidRequest(
                    f"{place}: finding out whether the grammar begins with it takes too long",
                    "Let the grammar have fewer ways to begin, or send fewer and shorter triggers.",
                    field=FIELD,
                )
        return words, tokens

    def _check_token(self, place: str, token: int) -> None:
        if token >= self._vocabulary.size:
            raise InvalidRequest(
                f"{place}: this model has no token {token}; its vocabulary has "
                f"{self._vocabulary.size}",
                "Token ids belong to one model.",
                field=FIELD,
            )

    def _take(self, token: int) -> bool:
        """Follow the reply by a token; False, and nothing is done, where it cannot come."""
        if self._begun is not None:
            self._begun.accept(token)
            return True
        data = self._vocabulary.token_bytes(token)
        openings = self._watch.openings(token, data)
        if not openings:
            self._watch.pass_by(data)
            return True
        for opening in openings:
            self._begun = self._begin(token, opening)
            if self._begun is not None:
                return True
        return False

    def _begin(self, token: int, opening: Opening) -> GrammarSampler | None:
        if opening.is_token and (begun := self._begin_with([token])) is not None:
            return begun
        return self._begin_with_text(opening.text)

    def _begin_with_text(self, text: bytes) -> GrammarSampler | None:
        letters = self._vocabulary.letters
        return self._begin_with([letters.get(byte, -1) for byte in text])

    def _begin_with(self, tokens: Sequence[int]) -> GrammarSampler | None:
        """Return the grammar after some tokens; None where it does not begin with them."""
        if not tokens or min(tokens) < 0:
            return None
        begun = self._fresh.copy()
        for token in tokens:
            if not begun.allows(token):
                return None
            begun.accept(token)
        return begun
