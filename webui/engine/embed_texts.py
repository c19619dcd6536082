"""From texts to their tokens, never more work than texts that fit would make.

Runs on a thread of its own in the worker. Nothing that would fit is refused.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from webui.engine.embedding import check_size
from webui.errors import ContextLengthExceeded, InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from webui.engine.embedder import Embedder
    from webui.engine.interface import EmbedRequest

    Tokenize = Callable[[str, int | None], list[int]]

LIKELY_CHARS_PER_TOKEN = 12
PROBE_GROWTH = 4
COUNTED_CHARS = 250_000  # takes less than a second, as in `prompt`; counted to the end to say so
CUT_TOKENS = 16  # by so many a cut may make a text longer: its last word is torn


class TextMaker:
    """The tokenizer of one model; used by one thread.

    Args:
        embedder: Whose tokenizer is asked.
    """

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._max_tokens = embedder.max_text_tokens

    def make(self, request: EmbedRequest) -> list[Sequence[int]]:
        """Return the tokens of each input, with the query before it where there is one.

        Raises:
            ContextLengthExceeded: One of them is longer than the model reads at once.
            InvalidRequest: One of them has no token at all, or all have more than an answer may
                hold vectors.
        """
        tokenize: Tokenize = self._embedder.tokenize_text
        name, field = "Input", "input"
        if request.query is not None:
            tokenize = self._pairs_with(request.query)
            name, field = "Document", "documents"
        hint = self._hint("split it into several", "have it cut (truncate)")
        texts = [
            self._tokens(
                tokenize, text, f"{name} {index}", field, hint=hint, truncate=request.truncate
            )
            for index, text in enumerate(request.inputs)
        ]
        check_size(request, sum(map(len, texts)), self._embedder.size)
        return texts

    def _pairs_with(self, query: str) -> Tokenize:
        embedder = self._embedder

        def tokenize(document: str, max_tokens: int | None) -> list[int]:
            return embedder.tokenize_pair(query, document, max_tokens)

        def tokenize_query(text: str, _max_tokens: int | None) -> list[int]:
            return embedder.tokenize_pair(text, "", None)

        hint = self._hint()
        self._tokens(tokenize_query, query, "The query", "query", hint=hint, truncate=False)
        return tokenize

    def _hint(self, *ways: str) -> str:
        """Return what may be done with a text that is too long."""
        longest = self._embedder.longest_text_tokens
        if longest > self._max_tokens:
            ways = (*ways, f"load the model with a larger context_length, up to {longest:,}")
        return f"{', '.join(('Shorten it', *ways[:-1]))}, or {ways[-1]}." if ways else "Shorten it."

    def _tokens(
        self, tokenize: Tokenize, text: str, name: str, field: str, *, hint: str, truncate: bool
    ) -> Sequence[int]:
        size = self._max_tokens * LIKELY_CHARS_PER_TOKEN
        tokens = tokenize(text[:size], None)
        while size < len(text) and len(tokens) - CUT_TOKENS <= self._max_tokens:
            size *= PROBE_GROWTH
            tokens = tokenize(text[:size], None)
        if len(tokens) > self._max_tokens and truncate:
            tokens = tokenize(text[:size], self._max_tokens)
        if len(tokens) > self._max_tokens:
            if size < len(text) <= COUNTED_CHARS:
                tokens, size = tokenize(text, None), len(text)
            least = len(tokens) - CUT_TOKENS
            count = f"more than {least}" if size < len(text) else f"{len(tokens)}"
            raise ContextLengthExceeded(
                f"{name} has {count} tokens, and this model reads {self._max_tokens} at once",
                hint,
                field=field,
            )
        if not tokens:
            raise InvalidRequest(f"{name} is empty", field=field)
        return array("i", tokens)
