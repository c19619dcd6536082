"""The arrays of one `llama_batch`, made once and filled for every step.

Knows how rows lie in memory and what llama.cpp answers; owns no context and no sampler.
"""

from __future__ import annotations

import ctypes
from dataclasses import replace
from typing import TYPE_CHECKING

import llama_cpp

from webui.engine.runner import StepAborted
from webui.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from webui.engine.runner import Row

ABORTED = 2
LEAST_TOKENS = 3  # of a part of a chunk, so that it can leave one to the next
DECODE_FAILURES = {
    1: "llama.cpp found no room for this step in its cache",
    -1: "llama.cpp refused the batch",
}


class Batch:
    """Room for `max_tokens` tokens, each of exactly one sequence.

    Args:
        max_tokens: The most tokens of one step.
    """

    def __init__(self, max_tokens: int) -> None:
        self.max_tokens = max_tokens
        self._tokens = (ctypes.c_int32 * max_tokens)()
        self._positions = (ctypes.c_int32 * max_tokens)()
        self._wanted = (ctypes.c_int8 * max_tokens)()
        self._slots = (ctypes.c_int32 * max_tokens)()
        self._num_slots = (ctypes.c_int32 * max_tokens)(*[1] * max_tokens)
        slot_pointer = ctypes.POINTER(ctypes.c_int32)
        first = ctypes.addressof(self._slots)
        self._slot_addresses = (ctypes.c_void_p * max_tokens)(
            *range(first, first + 4 * max_tokens, 4)
        )
        self.native = llama_cpp.llama_batch(
            n_tokens=0,
            token=ctypes.cast(self._tokens, slot_pointer),
            embd=None,
            pos=ctypes.cast(self._positions, slot_pointer),
            n_seq_id=ctypes.cast(self._num_slots, slot_pointer),
            seq_id=ctypes.cast(self._slot_addresses, ctypes.POINTER(slot_pointer)),
            logits=ctypes.cast(self._wanted, ctypes.POINTER(ctypes.c_int8)),
        )

    def want_all(self) -> None:
        """Ask for what is computed of every token, not only of each row's last."""
        ctypes.memset(self._wanted, 1, self.native.n_tokens)

    def fill(self, rows: Sequence[Row]) -> list[int]:
        """Lay the rows one after the other; return the index of each row's last token."""
        end = 0
        last: list[int] = []
        for row in rows:
            start, num = end, len(row.tokens)
            end += num
            assert num > 0, "a row without tokens"
            assert end <= self.max_tokens, "more tokens than one step takes"
            if num == 1:
                self._tokens[start] = row.tokens[0]
                self._positions[start] = row.position
                self._slots[start] = row.slot
            else:
                self._tokens[start:end] = list(row.tokens)
                self._positions[start:end] = list(range(row.position, row.position + num))
                self._slots[start:end] = [row.slot] * num
                ctypes.memset(ctypes.byref(self._wanted, start), 0, num)
            for index in range(end - 1 - row.num_draft, end):
                self._wanted[index] = row.sample
            last.append(end - 1)
        self.native.n_tokens = end
        return last

    def decode(self, context: int, rows: Sequence[Row]) -> list[int]:
        """Compute rows in one call; return the index of each row's last token.

        Raises:
            EngineError: llama.cpp did not; the cells of these rows are in doubt.
            StepAborted: The context's abort callback said so.
        """
        last = self.fill(rows)
        code: int = llama_cpp.llama_decode(context, self.native)
        if code == ABORTED:
            raise StepAborted
        if code:
            said = DECODE_FAILURES.get(code, f"llama.cpp failed in this step (code {code})")
            raise EngineError(said, "Try again; if it happens again, load the model anew.")
        return last


def apart(rows: Sequence[Row], num_at_once: int) -> tuple[list[list[Row]], list[int]]:
    """Return the calls that read chunks of prompts, and the places of all other rows.

    With a cache for each slot llama.cpp cuts a call at every length there is and computes the
    first token of a chunk beside replies alone (`split_equal` of llama-batch.cpp), in another
    order than the rest. Calls of their own cost as much and leave chunks whole. What chooses
    tokens comes last, so that a failure before has chosen nothing.

    Args:
        rows: Of a step.
        num_at_once: Tokens that llama.cpp computes at once, at least `LEAST_TOKENS`.
    """
    chunks: dict[int, list[Row]] = {}
    rest: list[int] = []
    for place, row in enumerate(rows):
        if row.sample or len(row.tokens) == 1:
            rest.append(place)
        else:
            chunks.setdefault(len(row.tokens), []).append(row)
    return [call for group in chunks.values() for call in _calls(group, num_at_once)], rest


def _calls(chunks: list[Row], num_at_once: int) -> Iterator[list[Row]]:
    """Cut chunks of one length where llama.cpp would compute a token of them alone.

    A longer call than it computes at once it cuts by itself, for as many sequences together as
    lie in slots side by side, and leaves to the last part what there is.
    """
    length = len(chunks[0].tokens)
    parts = (max(1, num_at_once // num) for num in range(1, len(chunks) + 1))
    if not any(length > part and (part == 1 or length % part == 1) for part in parts):
        yield chunks
        return
    num_rows = num_at_once // LEAST_TOKENS
    for first in range(0, len(chunks), num_rows):
        together = chunks[first : first + num_rows]
        most, begin = num_at_once // len(together), 0
        while begin < length:
            end = min(begin + most, length)
            if length - end == 1:
                end -= 1
            yield [
                replace(row, tokens=row.tokens[begin:end], position=row.position + begin)
                for row in together
            ]
            begin = end
