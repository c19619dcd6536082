"""A second model and context that guess what the first will say; obeys `engine.drafter.Drafter`.

Owns both, and what each slot of its context has read. Only the loop thread calls it. Its numbers
need not be exact: whatever it guesses is checked by the model it guesses for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import llama_cpp
import numpy as np

from webui.engine.interface import Memory
from webui.engine.runner import Row
from webui.engine.states import num_common
from webui.errors import EngineError, LoadFailed
from webui.hub.gguf import read_header
from webui.loaders.llama_cpp.batch import Batch
from webui.loaders.llama_cpp.opening import open_context, open_model
from webui.loaders.llama_cpp.options import LlamaCppOptions
from webui.loaders.llama_cpp.same_vocabulary import check_same_vocabulary
from webui.loaders.llama_cpp.vocabulary import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from webui.engine.drafter import DraftRow
    from webui.loaders.llama_cpp.native_log import NativeLog

OTHER_MODEL = "Choose another draft model, or load without one."
# The rest is said of the model that writes: how its positions are stretched, for one.
TAKEN_OVER = {
    *("slots", "threads", "threads_batch", "batch_size", "ubatch_size"),
    *("split_mode", "main_gpu", "tensor_split"),
    *("mmap", "mlock", "check_tensors", "offload_kqv", "op_offload", "flash_attn"),
}


def check_draft_file(path: Path) -> None:
    """Look at a file with our own reader, before anything large is loaded.

    Raises:
        LoadFailed: It is no model, damaged, or writes no text.
    """
    if read_header(path).is_embedding:
        raise LoadFailed(f"The draft model {path.name} makes vectors, no text", OTHER_MODEL)


class DraftModel:
    """A small model that is loaded beside another, with a context of as many slots.

    Args:
        path: GGUF file that was checked, of a split model the first.
        target: Vocabulary of the model that it guesses for.
        context_length: Tokens that a slot of that model holds.
        options: How that model was loaded.
        on_progress: As for `opening.open_model`.

    Attributes:
        context_length: Tokens a row may have together with its guesses.
        memory: What it takes.

    Raises:
        LoadFailed: It cannot be opened, or cannot guess for that model.
    """

    def __init__(
        self,
        path: Path,
        target: Vocabulary,
        context_length: int,
        options: LlamaCppOptions,
        on_progress: Callable[[float], object],
    ) -> None:
        self._context = 0
        own = LlamaCppOptions(
            **options.model_dump(include=TAKEN_OVER),
            gpu_layers=-1 if options.gpu_layers else 0,  # room was left for all of it
            speculation="off",
        )
        self._model, log = open_model(path, own, on_progress)
        try:
            self._vocabulary = Vocabulary(self._model)
            check_same_vocabulary(target.handle, self._vocabulary.handle, path.name)
            self._num_known_tokens = min(target.size, self._vocabulary.size)
            self._open_context(path.name, log, own, context_length)
        except BaseException:
            self.close()
            raise

    def num_missing(self, row: DraftRow) -> int:
        """Return how many tokens before its last one are still to be read."""
        return len(row.tokens) - 1 - self._num_usable(row)

    def read(self, rows: Sequence[DraftRow], max_tokens: int) -> int:
        """Read what is missing, at most `max_tokens` of all rows together, in one pass.

        Raises:
            EngineError: llama.cpp failed in this step.
        """
        left = min(max_tokens, self._max_batch_tokens)
        pieces: list[Row] = []
        for row in rows:
            rest = self._unread(row)
            if tokens := rest.tokens[: min(left, len(rest.tokens) - 1)]:
                pieces.append(Row(row.slot, tokens, rest.position, sample=False))
                left -= len(tokens)
        if pieces:
            self._decode(pieces)
        return sum(len(piece.tokens) for piece in pieces)

    def propose(self, rows: Sequence[DraftRow]) -> list[list[int]]:
        """Guess the likeliest tokens of all rows, one pass for each.

        Raises:
            EngineError: llama.cpp failed in this step, or what it computed are no numbers.
        """
        batch = [self._unread(row) for row in rows]
        while sum(len(piece.tokens) for piece in batch) > self._max_batch_tokens:
            self.read(rows, self._max_batch_tokens)
            batch = [self._unread(row) for row in rows]
        guesses: dict[int, list[int]] = {row.slot: [] for row in rows}
        wanted = {row.slot: row.max_tokens for row in rows}
        while batch:
            following: list[Row] = []
            for piece, index in zip(batch, self._decode(batch), strict=True):
                token = self._likeliest(index)
                if token >= self._num_known_tokens or self._vocabulary.is_eog(token):
                    continue
                guesses[piece.slot].append(token)
                if len(guesses[piece.slot]) < wanted[piece.slot]:
                    position = piece.position + len(piece.tokens)
                    following.append(Row(piece.slot, [token], position, sample=True))
            batch = following
        return list(guesses.values())

    def forget(self, slot: int) -> None:
        """Drop all that a slot has read."""
        llama_cpp.llama_memory_seq_rm(self._memory, slot, -1, -1)
        self._tokens[slot].clear()

    def set_threads(self, decode: int, batch: int) -> None:
        """Set the compute threads of steps of one token and of more."""
        llama_cpp.llama_set_n_threads(self._context, decode, batch)

    def close(self) -> None:
        """Free everything; idempotent."""
        if self._context:
            llama_cpp.llama_free(self._context)
            self._context = 0
        if self._model:
            llama_cpp.llama_model_free(self._model)
            self._model = 0

    def _open_context(
        self, name: str, log: NativeLog, options: LlamaCppOptions, context_length: int
    ) -> None:
        trained: int = llama_cpp.llama_model_n_ctx_train(self._model)
        length = min(context_length, trained)
        try:
            opened = open_context(
                self._model, log, options.model_copy(update={"context_length": length})
            )
        except LoadFailed as error:
            raise LoadFailed(f"The draft model {name}: {error.message}", error.hint) from error
        self._context = opened.context
        self.context_length = opened.context_length
        self._memory: int = llama_cpp.llama_get_memory(self._context)
        self._max_batch_tokens: int = llama_cpp.llama_n_batch(self._context)
        self._batch = Batch(self._max_batch_tokens)
        self._tokens: list[list[int]] = [[] for _ in range(options.slots)]  # read, by slot
        self.memory = Memory(
            weights_bytes=llama_cpp.llama_model_size(self._model),
            kv_bytes=opened.kv_bytes,
            compute_bytes=log.compute_bytes,
        )
        self._try(name)

    def _try(self, name: str) -> None:
        """Read two tokens and take one back, which every wrong guess will ask for.

        Raises:
            LoadFailed: It cannot.
        """
        try:
            self._decode([Row(0, [0, 0], 0, sample=True)])
        except EngineError as error:
            raise LoadFailed(f"The draft model {name}: {error.message}", OTHER_MODEL) from error
        if not llama_cpp.llama_memory_seq_rm(self._memory, 0, 1, -1):
            raise LoadFailed(
                f"The draft model {name} cannot take back a wrong guess: its kind of memory "
                "does not drop its last tokens",
                OTHER_MODEL,
            )
        llama_cpp.llama_memory_seq_rm(self._memory, 0, -1, -1)
        self._tokens[0].clear()

    def _num_usable(self, row: DraftRow) -> int:
        """Return how many tokens of a row are read; the last one is always read anew."""
        return min(num_common(self._tokens[row.slot], row.tokens), len(row.tokens) - 1)

    def _unread(self, row: DraftRow) -> Row:
        """Return what its slot has not read of a row, after dropping what it has of others."""
        known, usable = self._tokens[row.slot], self._num_usable(row)
        if usable < len(known):
            llama_cpp.llama_memory_seq_rm(self._memory, row.slot, usable or -1, -1)
            del known[usable:]
        return Row(row.slot, row.tokens[usable:], usable, sample=True)

    def _decode(self, rows: Sequence[Row]) -> list[int]:
        """Compute rows in one call; return the index of each row's last token."""
        # It may lack a few tokens of the other model, and says nothing good after them anyway.
        spelled = [
            Row(row.slot, [self._own(token) for token in row.tokens], row.position, row.sample)
            for row in rows
        ]
        last = self._batch.decode(self._context, spelled)
        for row in rows:
            self._tokens[row.slot] += row.tokens
        return last

    def _own(self, token: int) -> int:
        return token if token < self._vocabulary.size else 0

    def _likeliest(self, index: int) -> int:
        logits = np.ctypeslib.as_array(
            llama_cpp.llama_get_logits_ith(self._context, index), (self._vocabulary.size,)
        )
        token = int(logits.argmax())
        if not np.isfinite(logits[token]):
            raise EngineError("The draft model computed what is no number")
        return token
