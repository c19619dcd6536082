"""An embedder that counts: the vector of a text is its length and the sum of its tokens."""

from __future__ import annotations

import time
from array import array
from typing import TYPE_CHECKING

from webui.engine.embedder import TextsRead
from webui.engine.interface import Pooling
from webui.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from webui.engine.embedder import TextRow

BEGIN, BETWEEN, BAD = 256, 257, ord("!")


class FakeEmbedder:
    """Obeys `Embedder`; tokens are bytes behind a begin token; one `!` breaks a batch.

    Args:
        text_s: Each text takes so long.
        has_parts: Whether it reads no more at once than it is asked to.
    """

    max_text_tokens = 32
    longest_text_tokens = 32
    size = 2
    max_batch_tokens = 48
    max_batch_texts = 4

    def __init__(self, text_s: float = 0.0, *, has_parts: bool = False) -> None:
        self._text_s = text_s
        self._has_parts = has_parts
        self._texts: Sequence[TextRow] = ()
        self._pooling: Pooling | None = None
        self._num_left = 0
        self.reads: list[int] = []
        self.batches: list[list[str]] = []
        self.num_chars_read = 0

    def tokenize_text(self, text: str, max_tokens: int | None) -> list[int]:
        self.num_chars_read += len(text)
        return [BEGIN, *text.encode()][:max_tokens]

    def tokenize_pair(self, query: str, document: str, max_tokens: int | None) -> list[int]:
        return [BEGIN, *query.encode(), BETWEEN, *document.encode()][:max_tokens]

    def begin(self, texts: Sequence[TextRow], pooling: Pooling | None) -> None:
        assert 0 < len(texts) <= self.max_batch_texts
        num_tokens = sum(len(text.tokens) for text in texts)
        assert len(texts) == 1 or num_tokens <= self.max_batch_tokens
        assert all(0 < len(text.tokens) <= self.max_text_tokens for text in texts)
        self.batches.append([bytes(t for t in text.tokens if t < BEGIN).decode() for text in texts])
        self._texts, self._pooling = texts, pooling
        self._num_left = num_tokens

    def read(self, max_tokens: int | None) -> TextsRead:
        assert self._num_left > 0, "nothing is begun"
        num = self._num_left
        if self._has_parts and max_tokens is not None:
            num = min(num, max_tokens)
        self._num_left -= num
        self.reads.append(num)
        if any(BAD in text.tokens for text in self._texts):
            self._num_left = 0
            raise EngineError("The batch failed", "It was asked to.")
        if self._num_left:
            return TextsRead(num, None)
        time.sleep(self._text_s * len(self._texts))
        return TextsRead(num, [vector_of(text.tokens, self._pooling) for text in self._texts])


def vector_of(tokens: Sequence[int], pooling: Pooling | None = None) -> bytes:
    """Return what the embedder makes of a text."""
    if pooling is Pooling.NONE:
        return array("f", [n for token in tokens for n in (1, token)]).tobytes()
    return array("f", [len(tokens), sum(tokens)]).tobytes()
