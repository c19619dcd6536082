"""Work of a step that several threads share."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from webui.loaders.llama_cpp.choosers import MOST, Choosers

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def choosers() -> Iterator[Choosers]:
    choosers = Choosers()
    yield choosers
    choosers.close()


@pytest.mark.parametrize("num_threads", [1, 2, 3, 100])
@pytest.mark.parametrize("num_items", [0, 1, 2, 7, 64])
def test_results_stand_in_the_order_of_what_was_asked(
    choosers: Choosers, num_items: int, num_threads: int
) -> None:
    items = list(range(num_items))
    assert choosers.each(lambda n: n * n, items, num_threads=num_threads) == [n * n for n in items]


@pytest.mark.parametrize("num_threads", [2, MOST])
def test_as_many_work_at_once_as_may(choosers: Choosers, num_threads: int) -> None:
    together = threading.Barrier(num_threads, timeout=10)
    items = list(range(num_threads))
    seen = choosers.each(
        lambda _: (together.wait(), threading.get_ident())[1], items, num_threads=num_threads
    )
    assert len(set(seen)) == num_threads
    assert threading.get_ident() in seen


@pytest.mark.parametrize(("num_threads", "num_items"), [(1, 9), (8, 1)])
def test_no_thread_is_woken_for_what_one_does(
    choosers: Choosers, num_threads: int, num_items: int
) -> None:
    seen = choosers.each(lambda _: threading.get_ident(), range(num_items), num_threads=num_threads)
    assert set(seen) == {threading.get_ident()}


@pytest.mark.parametrize("failing", [0, 1])
def test_failure_is_raised_when_nobody_works_any_more(choosers: Choosers, failing: int) -> None:
    others_may_end = threading.Event()
    ended: list[int] = []

    def work(item: int) -> None:
        if item == failing:
            threading.Timer(0.05, others_may_end.set).start()
            raise ValueError(f"item {item}")
        assert others_may_end.wait(10)
        ended.append(item)

    with pytest.raises(ValueError, match=f"item {failing}"):
        choosers.each(work, [0, 1], num_threads=2)
    assert ended == [1 - failing]


def test_closing_twice_does_nothing() -> None:
    choosers = Choosers()
    choosers.close()
    choosers.close()
