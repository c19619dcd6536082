"""Vectors of texts that are read in parts, by a model that writes replies between them.

Such a model reads a text from left to right and remembers it, so that it may stop anywhere. The
vectors of all tokens are kept and pooled here: llama.cpp's own pooling sees one pass alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import llama_cpp
import numpy as np
from typing_extensions import override

from webui.engine.embedder import TextRow, TextsRead
from webui.engine.interface import Pooling
from webui.engine.runner import Row
from webui.errors import EngineError
from webui.loaders.llama_cpp.embedder import LlamaCppEmbedder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from webui.loaders.llama_cpp.adapters import Adapters
    from webui.loaders.llama_cpp.options import LlamaCppOptions


class PartEmbedder(LlamaCppEmbedder):
    """The side of a chat model that reads texts; it has one context for all kinds of pooling.

    Args:
        model: Handle of the model; outlives this.
        options: How it was loaded.
        adapters: Those of the model.
    """

    def __init__(self, model: int, options: LlamaCppOptions, adapters: Adapters) -> None:
        super().__init__(model, options, None, adapters, is_encoder=False)
        self._num_read = 0
        self._seen = np.empty((0, 0), np.float32)  # (tokens of the batch, numbers of each)

    @override
    def begin(self, texts: Sequence[TextRow], pooling: Pooling | None) -> None:
        super().begin(texts, pooling)
        memory = llama_cpp.llama_get_memory(self._context(Pooling.NONE))
        llama_cpp.llama_memory_clear(memory, False)  # noqa: FBT003 - a C call
        self._num_read = 0
        self._seen = np.empty((sum(len(text.tokens) for text in texts), self.size), np.float32)

    @override
    def read(self, max_tokens: int | None) -> TextsRead:
        """Read more of the batch, each text from where it was left.

        Raises:
            EngineError: llama.cpp cannot, or what it computed are no numbers.
        """
        context = self._context(Pooling.NONE)
        start, num_all = self._num_read, len(self._seen)
        end = num_all if max_tokens is None else min(num_all, start + max_tokens)
        self._pass(context, self._rows(start, end), llama_cpp.llama_decode)
        pointer = llama_cpp.llama_get_embeddings(context)
        if not pointer:
            raise EngineError("llama.cpp gave no vector for a text")
        self._seen[start:end] = np.ctypeslib.as_array(pointer, (end - start, self.size))
        self._num_read = end
        return TextsRead(end - start, self._pooled() if end == num_all else None)

    def _rows(self, start: int, end: int) -> list[Row]:
        """Return the tokens `start` to `end` (exclusive) of the batch, by the text they are of."""
        rows: list[Row] = []
        before = 0
        for index, text in enumerate(self._texts):
            first = max(start - before, 0)
            tokens = text.tokens[first : max(end - before, 0)]
            if tokens:
                rows.append(Row(index, tokens, first, sample=True))
            before += len(text.tokens)
        return rows

    def _pooled(self) -> list[bytes]:
        vectors: list[bytes] = []
        start = 0
        for text in self._texts:
            numbers = self._seen[start : start + len(text.tokens)]
            vectors.append(self._vector(text, _pool(numbers, self._asked)))
            start += len(text.tokens)
        return vectors


def _pool(numbers: np.ndarray, pooling: Pooling) -> np.ndarray:
    """Return the vectors of a text's tokens, shape (tokens, numbers), as one, or as they are."""
    match pooling:
        case Pooling.MEAN:
            mean: np.ndarray = numbers.mean(axis=0, dtype=np.float64, keepdims=True)
            return mean
        case Pooling.CLS:
            return numbers[:1]
        case Pooling.LAST:
            return numbers[-1:]
        case _:
            return numbers
