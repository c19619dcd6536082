"""How the rows of a step are laid into calls of llama.cpp."""

from __future__ import annotations

from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from webui.engine.runner import Row
from webui.loaders.llama_cpp.batch import apart


def parts_by_llama_cpp(num_rows: int, length: int, num_at_once: int) -> list[int]:
    """Return how many tokens of each row are computed at once, one part after the other.

    Source: llama.cpp, src/llama-batch.cpp, llama_batch_allocr::split_equal.
    """
    part = max(1, num_at_once // num_rows)
    return [min(part, length - begin) for begin in range(0, length, part)]


@given(
    st.lists(st.integers(2, 300), min_size=1, max_size=20),
    st.lists(st.integers(0, 2), max_size=4),
    st.sampled_from([32, 33, 64, 512]),
)
def test_no_token_of_a_chunk_is_computed_alone(
    lengths: list[int], singles: list[int], num_at_once: int
) -> None:
    chunks = [
        Row(slot, list(range(length)), 7 * slot, sample=False)
        for slot, length in enumerate(lengths)
    ]
    others = [Row(40 + slot, [slot], slot, sample=slot > 0) for slot in singles]
    calls, rest = apart([*others, *chunks], num_at_once)
    assert rest == list(range(len(others)))
    for call in calls:
        (length,) = {len(row.tokens) for row in call}
        # As many are computed together as lie side by side, down to each by itself.
        for num in range(1, len(call) + 1):
            assert min(parts_by_llama_cpp(num, length, num_at_once)) > 1
    read = {
        row.slot: [*chain.from_iterable(part.tokens for part in _of(calls, row.slot))]
        for row in chunks
    }
    assert read == {row.slot: row.tokens for row in chunks}
    for row in chunks:
        assert [part.position - 7 * row.slot for part in _of(calls, row.slot)] == [
            part.tokens[0] for part in _of(calls, row.slot)
        ]


def _of(calls: list[list[Row]], slot: int) -> list[Row]:
    return [row for call in calls for row in call if row.slot == slot]


def test_chunks_that_leave_nothing_alone_stay_in_one_call() -> None:
    chunks = [Row(slot, [1] * 400, 0, sample=False) for slot in (0, 2)]
    assert apart(chunks, 512) == ([chunks], [])
