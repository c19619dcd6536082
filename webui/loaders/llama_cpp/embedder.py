"""Vectors and scores of texts through llama.cpp; obeys `engine.embedder.Embedder`.

Owns contexts apart from that of the replies, one for the model's own pooling and one for another,
made when first asked for. Each text is one sequence, all of it in one micro-batch, because pooling
looks at nothing else; what can be read in parts is the business of `part_embedder`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import llama_cpp
import numpy as np

from webui.engine.embedder import TextRow, TextsRead
from webui.engine.interface import Pooling
from webui.engine.runner import Row
from webui.errors import EngineError
from webui.loaders.llama_cpp.batch import Batch
from webui.loaders.llama_cpp.combinations import longest_context
from webui.loaders.llama_cpp.opening import set_positions
from webui.loaders.llama_cpp.options import LlamaCppOptions, num_threads_batch
from webui.loaders.llama_cpp.vocabulary import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from webui.loaders.llama_cpp.adapters import Adapters

MAX_BATCH_TEXTS = 64
DEFAULT_TEXT_TOKENS = 2048  # of an encoder that was trained for more
POOLINGS = {
    Pooling.NONE: llama_cpp.LLAMA_POOLING_TYPE_NONE,
    Pooling.MEAN: llama_cpp.LLAMA_POOLING_TYPE_MEAN,
    Pooling.CLS: llama_cpp.LLAMA_POOLING_TYPE_CLS,
    Pooling.LAST: llama_cpp.LLAMA_POOLING_TYPE_LAST,
    Pooling.RANK: llama_cpp.LLAMA_POOLING_TYPE_RANK,
}
QUERY, DOCUMENT = "{query}", "{document}"


class LlamaCppEmbedder:
    """The side of a loaded model that reads texts.

    Args:
        model: Handle of the model; outlives this.
        options: How it was loaded.
        pooling: The model's own; one without takes the mean.
        adapters: Those of the model.
        is_encoder: Whether the network has no memory and reads a text in both directions.
    """

    def __init__(
        self,
        model: int,
        options: LlamaCppOptions,
        pooling: Pooling | None,
        adapters: Adapters,
        *,
        is_encoder: bool,
    ) -> None:
        self._model = model
        self._options = options
        self._adapters = adapters
        self._is_encoder = is_encoder
        self._vocabulary = Vocabulary(model)
        self._contexts: dict[Pooling, int] = {}
        self._pooling = Pooling.MEAN if pooling in (None, Pooling.NONE) else pooling
        trained: int = llama_cpp.llama_model_n_ctx_train(model)
        self.longest_text_tokens = longest_context(options, trained)
        # A decoder computes the chances of all words for each token, which takes memory.
        default = DEFAULT_TEXT_TOKENS if is_encoder else options.ubatch_size
        asked = options.context_length or min(trained, default)
        self.max_text_tokens = min(asked, self.longest_text_tokens)
        self.max_batch_tokens = in_whole_steps(max(self.max_text_tokens, options.ubatch_size))
        self.max_batch_texts = MAX_BATCH_TEXTS
        self.size: int = llama_cpp.llama_model_n_embd_out(model)
        # Where a layer behind the pooling changes the size, no token has a vector of its own.
        self.can_embed_tokens: bool = self.size == llama_cpp.llama_model_n_embd(model)
        self.can_rerank = self._pooling is Pooling.RANK
        self._batch: Batch | None = None
        self._texts: Sequence[TextRow] = ()
        self._asked: Pooling = self._pooling  # of those texts
        rank = llama_cpp.llama_model_chat_template(model, b"rerank")
        self._rank_template = rank.decode("utf-8", "replace") if rank else ""

    def tokenize_text(self, text: str, max_tokens: int | None) -> list[int]:
        """Return all tokens the network reads for a text."""
        head, tail = self._vocabulary.ends
        tokens = self._vocabulary.tokenize(text, special=False)
        return [*head, *_cut(tokens, max_tokens, len(head) + len(tail)), *tail]

    def tokenize_pair(self, query: str, document: str, max_tokens: int | None) -> list[int]:
        """Return all tokens the network reads to rank a document.

        Source: llama.cpp, tools/server/server-common.cpp, format_prompt_rerank.
        """
        vocabulary = self._vocabulary
        asked = vocabulary.tokenize(query, special=False)
        tokens = vocabulary.tokenize(document, special=False)
        if QUERY in self._rank_template and DOCUMENT in self._rank_template:
            before, _, after = self._rank_template.partition(DOCUMENT)
            head, tail = self._filled(before, asked), self._filled(after, asked)
        else:
            opening, tail = vocabulary.ends
            head = [*opening, *asked, *vocabulary.between]
        return [*head, *_cut(tokens, max_tokens, len(head) + len(tail)), *tail]

    def warm_up(self) -> None:
        """Make one vector, which shows that the model can.

        Raises:
            EngineError: It cannot.
        """
        tokens = self.tokenize_text("Hello", None)
        self.begin([TextRow(tokens[: self.max_text_tokens], normalise=False)], None)
        self.read(None)

    def begin(self, texts: Sequence[TextRow], pooling: Pooling | None) -> None:
        """Take the texts of a batch."""
        self._texts = texts
        self._asked = pooling or self._pooling

    def read(self, max_tokens: int | None) -> TextsRead:  # noqa: ARG002 - it reads whole texts
        """Read the whole batch in one pass.

        Raises:
            EngineError: llama.cpp cannot, or what it computed are no numbers.
        """
        context = self._context(self._asked)
        self._compute(context, self._texts)
        vectors: list[bytes] = []
        start = 0
        for index, text in enumerate(self._texts):
            end = start + len(text.tokens)
            numbers = self._numbers(context, self._asked, index, range(start, end))
            vectors.append(self._vector(text, numbers))
            start = end
        return TextsRead(start, vectors)

    def _vector(self, text: TextRow, numbers: np.ndarray) -> bytes:
        """Return the numbers of a text, shape (vectors, numbers of each), as they are sent."""
        if not np.isfinite(numbers).all():
            raise EngineError(
                "The model gave no usable numbers", "Its file may be damaged: try another one."
            )
        if text.normalise and self._asked is not Pooling.RANK:
            lengths = np.linalg.norm(numbers, axis=1, keepdims=True)
            numbers = numbers / np.where(lengths > 0, lengths, 1)
        return numbers.astype("<f4").tobytes()

    def close(self) -> None:
        """Free the contexts; idempotent."""
        for context in self._contexts.values():
            llama_cpp.llama_free(context)
        self._contexts.clear()

    def _compute(self, context: int, texts: Sequence[TextRow]) -> None:
        rows = [Row(index, text.tokens, 0, sample=True) for index, text in enumerate(texts)]
        memory = llama_cpp.llama_get_memory(context)
        if memory:
            llama_cpp.llama_memory_clear(memory, False)  # noqa: FBT003 - a C call
        self._pass(context, rows, llama_cpp.llama_decode if memory else llama_cpp.llama_encode)

    def _pass(
        self, context: int, rows: Sequence[Row], compute: Callable[[int, object], int]
    ) -> None:
        """Compute rows, and what all of their tokens come to."""
        self._batch = self._batch or Batch(self.max_batch_tokens)
        self._batch.fill(rows)
        self._batch.want_all()
        if code := compute(context, self._batch.native):
            raise EngineError(
                f"llama.cpp failed over these texts (code {code})",
                "Try again; if it happens again, load the model anew.",
            )

    def _numbers(self, context: int, pooling: Pooling, index: int, tokens: range) -> np.ndarray:
        """Return what was computed for a text, shape (vectors, numbers of each)."""
        if pooling is Pooling.NONE:
            pointers = [llama_cpp.llama_get_embeddings_ith(context, token) for token in tokens]
        else:
            pointers = [llama_cpp.llama_get_embeddings_seq(context, index)]
        if not all(pointers):
            raise EngineError("llama.cpp gave no vector for a text")
        size = 1 if pooling is Pooling.RANK else self.size
        return np.stack([np.ctypeslib.as_array(pointer, (size,)) for pointer in pointers])

    def _context(self, pooling: Pooling) -> int:
        """Return the context of a pooling; beside the model's own one only the latest is kept."""
        if known := self._contexts.get(pooling):
            return known
        for other in self._contexts.keys() - {self._pooling}:
            llama_cpp.llama_free(self._contexts.pop(other))
        num_tokens = self.max_batch_tokens
        context = self._make_context(pooling, num_cells=num_tokens, num_step_tokens=num_tokens)
        self._contexts[pooling] = context
        return context

    def _make_context(self, pooling: Pooling, *, num_cells: int, num_step_tokens: int) -> int:
        """Return a new context that holds `num_cells` tokens.

        Raises:
            EngineError: llama.cpp cannot make it.
        """
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = num_cells
        params.n_batch = params.n_ubatch = num_step_tokens
        params.n_seq_max = MAX_BATCH_TEXTS
        params.n_threads = params.n_threads_batch = num_threads_batch(self._options)
        params.embeddings = True
        params.pooling_type = POOLINGS[pooling]
        # With streams of their own, sequences of different lengths would be torn into micro-batches.
        params.kv_unified = True
        params.no_perf = True
        set_positions(params, self._options)
        context: int | None = llama_cpp.llama_init_from_model(self._model, params)
        if not context:
            raise EngineError(
                f"llama.cpp cannot make a context for texts of {num_cells:,} tokens",
                "There may not be enough memory: shorten them, or load the model with a smaller "
                "context_length.",
            )
        self._adapters.apply(context, self._adapters.scales)
        return context

    def _filled(self, template: str, query: Sequence[int]) -> list[int]:
        """Return the tokens of a part of the template; what people wrote makes no control token."""
        first, *rest = template.split(QUERY)
        tokens = self._vocabulary.tokenize(first, special=True)
        for part in rest:
            tokens += [*query, *self._vocabulary.tokenize(part, special=True)]
        return tokens


def _cut(tokens: list[int], max_tokens: int | None, num_others: int) -> list[int]:
    return tokens if max_tokens is None else tokens[: max(0, max_tokens - num_others)]


def in_whole_steps(num_tokens: int) -> int:
    """Return the least number of tokens, not below this one, for which llama.cpp makes a context.

    It asserts that each sequence can have a token in one step, and plans steps in which all have
    as many: pooling by the mean ends the process where that does not come out even.
    """
    return math.ceil(num_tokens / MAX_BATCH_TEXTS) * MAX_BATCH_TEXTS
