"""An embedder that counts: the vector of a text is its length and the sum of its tokens."""

from __future__ import annotations

import time
from array import array
from typing import TYPE_CHECKING

from webui.engine.interface import Pooling
from webui.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from webui.engine.runner import TextRow

BEGIN, BETWEEN, BAD = 256, 257, ord("!")


class FakeEmbedder:
    """Obeys `Embedder`; tokens are bytes behind a begin token; one `!` breaks a batch.

    Args:
        text_s: Each text takes so long.
    """

    max_text_tokens = 32
    max_batch_tokens = 48
    max_batch_texts = 4

    def __init__(self, text_s: float = 0.0) -> None:
        self._text_s = text_s
        self.batches: list[list[str]] = []
        self.num_chars_read = 0

    def tokenize_text(self, text: str, max_tokens: int | None) -> list[int]:
        self.num_chars_read += len(text)
        return [BEGIN, *text.encode()][:max_tokens]

    def tokenize_pair(self, query: str, document: str, max_tokens: int | None) -> list[int]:
        return [BEGIN, *query.encode(), BETWEEN, *document.encode()][:max_tokens]

    def embed(self, texts: Sequence[TextRow], pooling: Pooling | None) -> list[bytes]:
        assert 0 < len(texts) <= self.max_batch_texts
        assert sum(len(text.tokens) for text in texts) <= self.max_batch_tokens
        assert all(0 < len(text.tokens) <= self.max_text_tokens for text in texts)
        time.sleep(self._text_s * len(texts))
        self.batches.append([bytes(t for t in text.tokens if t < BEGIN).decode() for text in texts])
        if any(BAD in text.tokens for text in texts):
            raise EngineError("The batch failed", "It was asked to.")
        return [vector_of(text.tokens, pooling) for text in texts]


def vector_of(tokens: Sequence[int], pooling: Pooling | None = None) -> bytes:
    """Return what the embedder makes of a text."""
    if pooling is Pooling.NONE:
        return array("f", [n for token in tokens for n in (1, token)]).tobytes()
    return array("f", [len(tokens), sum(tokens)]).tobytes()
