"""What one thread makes ahead the other uses, and what nobody uses any more is dropped."""

from __future__ import annotations

import threading

import pytest

from webui.loaders.llama_cpp.made_ahead import MAX_KEPT, MadeAhead


class Thing:
    """Something that is made for a number."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.maker = threading.get_ident()


def test_what_was_prepared_is_not_made_again() -> None:
    made = MadeAhead(Thing)
    thread = threading.Thread(target=lambda: [made.prepare(number) for number in (1, 2, 1)])
    thread.start()
    thread.join()
    for number in (1, 2):
        thing = made.get(number)
        assert thing.number == number
        assert thing.maker != threading.get_ident()
        made.prepare(number)
        assert made.get(number) is thing


def test_what_was_not_prepared_is_made_when_it_is_wanted() -> None:
    made = MadeAhead(Thing)
    thing = made.get(5)
    assert thing.maker == threading.get_ident()
    assert made.get(5) is thing


def test_what_is_refused_is_not_kept() -> None:
    made = MadeAhead(Thing)

    def refuse(thing: Thing) -> None:
        raise ValueError(thing.number)

    with pytest.raises(ValueError, match="7"):
        made.prepare(7, refuse)
    with pytest.raises(ValueError, match="7"):
        made.prepare(7, refuse)


def test_the_one_used_longest_ago_is_dropped_and_in_the_end_all() -> None:
    dropped: list[int] = []
    made = MadeAhead(Thing, lambda thing: dropped.append(thing.number))
    for number in range(MAX_KEPT):
        made.prepare(number)
    made.get(0)
    made.prepare(MAX_KEPT)
    made.get(MAX_KEPT)
    assert dropped == [1]
    made.prepare(100)
    made.close()
    made.close()
    assert sorted(dropped) == [*range(MAX_KEPT + 1), 100]


def test_one_that_was_prepared_twice_is_made_once() -> None:
    numbers: list[int] = []
    dropped: list[Thing] = []
    made = MadeAhead(lambda number: numbers.append(number) or Thing(number), dropped.append)
    made.prepare(1)
    made.prepare(1)  # before anybody looked
    assert made.get(1).number == 1
    assert numbers == [1]
    assert dropped == []


def test_no_more_is_on_its_way_than_is_kept_though_nobody_asks_for_it() -> None:
    """A request may be refused behind what was made for it, again and again."""
    alive: set[int] = set()

    def make(number: int) -> Thing:
        alive.add(number)
        return Thing(number)

    made = MadeAhead(make, lambda thing: alive.remove(thing.number))
    for number in range(10 * MAX_KEPT):
        made.prepare(number)
        assert len(alive) <= MAX_KEPT
    assert alive == set(range(9 * MAX_KEPT, 10 * MAX_KEPT))
    made.get(0)
    assert len(alive) == MAX_KEPT
    made.close()
    assert alive == set()


def test_it_is_known_what_is_there() -> None:
    made = MadeAhead(Thing)
    assert not made.has(1)
    made.prepare(1)
    assert made.has(1), "on its way"
    made.get(1)
    assert made.has(1), "in use"
    made.get(2)
    assert made.has(2)
    made.close()
    assert not made.has(1)
