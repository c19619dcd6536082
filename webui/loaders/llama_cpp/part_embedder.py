"""Vectors of texts that are read in parts, by a model that reads from left to right.

Such a model remembers what it has read, so that it may stop anywhere: a chat model writes replies
between the parts, and a text may be as long as the context however few tokens are computed at
once. The vectors of the tokens are pooled here: llama.cpp's own pooling sees one pass alone.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import llama_cpp
import numpy as np
import psutil
from typing_extensions import override

from webui.engine.embedder import TextRow, TextsRead
from webui.engine.interface import Pooling
from webui.engine.runner import Row
from webui.errors import EngineError
from webui.loaders.llama_cpp.embedder import LlamaCppEmbedder, in_whole_steps
from webui.loaders.llama_cpp.opening import GIB, kv_bytes_per_token
from webui.loaders.llama_cpp.options import DEFAULT_CONTEXT_LENGTH, LlamaCppOptions
from webui.loaders.llama_cpp.pooling import TokenVectors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from webui.loaders.llama_cpp.adapters import Adapters


class PartEmbedder(LlamaCppEmbedder):
    """The side of such a model that reads texts; it has one context for all kinds of pooling.

    It is made when first asked for, with cells for the longest batch so far: a chat model pays for
    vectors only when somebody wants them.

    Args:
        model: Handle of the model; outlives this.
        options: How it was loaded.
        adapters: Those of the model.
        pooling: The model's own; one without takes the mean.
        context_length: Tokens of the longest text; 0 takes what the options say.
    """

    def __init__(
        self,
        model: int,
        options: LlamaCppOptions,
        adapters: Adapters,
        *,
        pooling: Pooling | None = None,
        context_length: int = 0,
    ) -> None:
        super().__init__(model, options, pooling, adapters, is_encoder=False)
        asked = context_length or options.context_length or DEFAULT_CONTEXT_LENGTH
        self.max_text_tokens = context_length or min(asked, self.longest_text_tokens)
        # Of one pass, and of several texts together; one alone may have more.
        self.max_batch_tokens = in_whole_steps(options.ubatch_size)
        self._cell_bytes = kv_bytes_per_token(model, LlamaCppOptions())
        self._num_cells = 0
        self._num_read = self._num_all = 0
        self._vectors: list[TokenVectors] = []  # of the batch

    @property
    def has_memory(self) -> bool:
        """Whether the network remembers what it has read.

        Raises:
            EngineError: There is no memory for its context.
        """
        self._have_cells(1)
        return bool(llama_cpp.llama_get_memory(self._contexts[Pooling.NONE]))

    @override
    def begin(self, texts: Sequence[TextRow], pooling: Pooling | None) -> None:
        super().begin(texts, pooling)
        self._num_read, self._num_all = 0, sum(len(text.tokens) for text in texts)
        self._vectors = [TokenVectors(self._asked) for _ in texts]
        self._have_cells(self._num_all)
        memory = llama_cpp.llama_get_memory(self._contexts[Pooling.NONE])
        llama_cpp.llama_memory_clear(memory, False)  # noqa: FBT003 - a C call

    @override
    def read(self, max_tokens: int | None) -> TextsRead:
        """Read more of the batch, each text from where it was left.

        Raises:
            EngineError: llama.cpp cannot, or what it computed are no numbers.
        """
        context = self._contexts[Pooling.NONE]
        start, most = self._num_read, self.max_batch_tokens
        end = min(self._num_all, start + (most if max_tokens is None else min(most, max_tokens)))
        rows = self._rows(start, end)
        self._pass(context, rows, llama_cpp.llama_decode)
        pointer = llama_cpp.llama_get_embeddings(context)
        if not pointer:
            raise EngineError("llama.cpp gave no vector for a text")
        numbers = np.ctypeslib.as_array(pointer, (end - start, self.size))
        for row in rows:
            mine, numbers = numbers[: len(row.tokens)], numbers[len(row.tokens) :]
            self._vectors[row.slot].add(mine)
        self._num_read = end
        return TextsRead(end - start, self._pooled() if end == self._num_all else None)

    @override
    def close(self) -> None:
        super().close()
        self._num_cells = 0

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
        pairs = zip(self._texts, self._vectors, strict=True)
        return [self._vector(text, vectors.pooled()) for text, vectors in pairs]

    def _have_cells(self, num_tokens: int) -> None:
        """Have a context that holds so many tokens; one that is too small is given up.

        Raises:
            EngineError: There is no memory for it.
        """
        if num_tokens <= self._num_cells:
            return
        self.close()
        num_step = self.max_batch_tokens
        num_cells = math.ceil(num_tokens / num_step) * num_step
        _check_memory(num_tokens, num_cells * self._cell_bytes)
        context = self._make_context(Pooling.NONE, num_cells=num_cells, num_step_tokens=num_step)
        self._contexts[Pooling.NONE] = context
        self._num_cells = num_cells


def _check_memory(num_tokens: int, needed_bytes: int) -> None:
    """Refuse what a system that promises too much memory would end the worker for.

    Raises:
        EngineError: So much is not free.
    """
    free_bytes = psutil.virtual_memory().available
    if needed_bytes > free_bytes and not llama_cpp.llama_supports_gpu_offload():
        raise EngineError(
            f"Texts of {num_tokens:,} tokens take {needed_bytes / GIB:.1f} GiB, and "
            f"{free_bytes / GIB:.1f} GiB are free",
            "Shorten them, or split them into several.",
        )
