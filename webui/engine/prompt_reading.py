"""Which prompts the next step reads, and how far.

Ties together who begins with whom (`gathering`), whose reading must not hurry (`surplus`), who
lets another read for both (`following`) and how llama.cpp likes its rows. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from webui.engine.gathering import Gathering
from webui.engine.runner import Row
from webui.engine.surplus import LEAST_TOKENS, SurplusReading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from collections.abc import Sequence as Several

    from webui.engine.following import Following
    from webui.engine.sequence import Sequence

TILE_ROWS = 4  # llama.cpp multiplies so many rows at once; those left over cost as much each


class PromptReading:
    """The reading part of every step.

    Args:
        turn: What sorts those who read; smaller reads first.
        following: Who lets another read.
    """

    def __init__(
        self, turn: Callable[[Sequence], tuple[bool, int, int]], following: Following
    ) -> None:
        self._turn = turn
        self._following = following
        self._gathering = Gathering()
        self._surplus = SurplusReading()

    def rows(
        self,
        reading: Several[Sequence],
        decoding: Several[Sequence],
        *,
        num_decoding: int,
        max_tokens: int,
        max_batch_tokens: int,
        surplus_tokens: float,
    ) -> list[Row]:
        """Return the rows that read.

        Every length of its own makes llama.cpp go over the weights once more, so that a step
        that is half full, and large enough, takes in no further prompt.

        Args:
            reading: All whose tokens are not read to the end.
            decoding: All others.
            num_decoding: Rows of the step that decode.
            max_tokens: What may be read, at least one.
            max_batch_tokens: What the runner takes in a step, of all rows together.
            surplus_tokens: What surplus may read in each step on the average.
        """
        writing = [sequence for sequence in decoding if not sequence.is_background]
        is_writing = bool(writing)
        last, unread = self._gathering.begin(reading, is_anyone_writing=is_writing)
        rows = [Row(s.slot, s.tokens[-1:], s.num_read, sample=True) for s in last]
        bound = max_batch_tokens - num_decoding - len(rows)
        unread, max_tokens = self._surplus.bound(
            unread, writing, max_tokens=max(1, max_tokens), tokens_per_step=surplus_tokens
        )
        heads = self._following.in_turn(unread, self._turn)
        room = min(max_tokens - len(rows), bound)
        num_taken = 0
        for sequence, stop in heads:
            left = room - num_taken
            if left <= 0 or num_taken >= max(left, LEAST_TOKENS):
                break
            if _follows(sequence, unread):
                continue
            stops = sequence.num_shared, stop
            num = _chunk_tokens(sequence, stops, _whole_tiles(left, bound - num_taken))
            rows.append(_chunk(sequence, num))
            self._gathering.note(sequence, num)
            num_taken += num
        return rows


def _follows(sequence: Sequence, unread: Several[Sequence]) -> bool:
    """Return whether somebody else is reading what is the same for everybody, further on."""
    if sequence.num_read >= sequence.num_shared:
        return False
    mine = sequence.num_read, -sequence.arrival
    return any(
        other.num_read < other.num_shared == sequence.num_shared
        and other.shared_mark == sequence.shared_mark
        and (other.num_read, -other.arrival) > mine
        for other in unread
    )


def _chunk_tokens(sequence: Sequence, stops: Iterable[int], most: int) -> int:
    """Return how many tokens of a sequence to read at once.

    The last one of a prompt is read by itself, beside other rows of one token, and as far as
    possible no other is: without flash attention llama.cpp computes a lone token in another order
    than several, and what is said must not depend on who else was there. A chunk also ends at
    each of the stops, so that the state there can be kept or copied.
    """
    ahead = [stop for stop in stops if stop > sequence.num_read]
    num = min([len(sequence.tokens) - 1, *ahead]) - sequence.num_read
    if num <= most:
        return num
    return most - 1 if num - most == 1 and most > 2 else most


def _chunk(sequence: Sequence, num_tokens: int) -> Row:
    begin = sequence.num_read
    return Row(sequence.slot, sequence.tokens[begin : begin + num_tokens], begin, sample=False)


def _whole_tiles(num: int, bound: int) -> int:
    """Return a number of tokens from `num` on that fills whole tiles, if the bound allows it."""
    rounded = num + -num % TILE_ROWS
    return rounded if rounded <= bound else num
