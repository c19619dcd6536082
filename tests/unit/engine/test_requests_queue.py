"""Who is next among requests that wait for one thread."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from webui.engine.interface import Priority
from webui.engine.requests_queue import MAX_REMEMBERED_OWNERS, RequestsQueue
from webui.errors import Busy


@dataclass(frozen=True)
class Order:
    request_id: str
    owner: str = "ann"
    priority: Priority = Priority.CHAT


def filled(*orders: Order, **limits: int) -> RequestsQueue[Order]:
    waiting = RequestsQueue[Order](**limits)
    for number, order in enumerate(orders):
        waiting.add(order, float(number))
    return waiting


def taken(waiting: RequestsQueue[Order]) -> list[str]:
    ids = []
    while waiting:
        ids.append(waiting.take()[0].request_id)
    return ids


def test_owners_take_turns():
    orders = [Order(f"a{i}") for i in range(3)] + [Order(f"b{i}", "bob") for i in range(2)]
    assert taken(filled(*orders)) == ["a0", "b0", "a1", "b1", "a2"]


def test_who_comes_back_at_once_waits_for_who_was_there():
    waiting = filled(Order("a0"), Order("a1"), Order("b0", "bob"))
    assert waiting.take()[0].request_id == "a0"
    assert waiting.take()[0].request_id == "b0"
    waiting.add(Order("b1", "bob"), 9.0)
    assert taken(waiting) == ["a1", "b1"]


def test_urgent_requests_of_an_owner_go_first_and_others_in_order():
    waiting = filled(
        Order("title", priority=Priority.BACKGROUND),
        Order("script", priority=Priority.API),
        Order("one"),
        Order("two"),
    )
    assert taken(waiting) == ["one", "two", "script", "title"]


def test_time_of_arrival_is_kept():
    waiting = filled(Order("a"), Order("b", "bob"))
    assert [waiting.take()[1] for _ in range(2)] == [0.0, 1.0]


def test_dropped_request_is_gone_and_leaves_room():
    waiting = filled(Order("a0"), Order("a1"), Order("b0", "bob"), max_per_owner=2)
    waiting.drop("b0")
    waiting.drop("a0")
    waiting.drop("unknown")
    waiting.add(Order("a2"), 3.0)
    assert taken(waiting) == ["a1", "a2"]


def test_full_part_of_an_owner_says_when_to_come_again():
    waiting = filled(Order("a0"), Order("a1"), max_per_owner=2)
    with pytest.raises(Busy, match="2 requests wait") as told:
        waiting.add(Order("a2"), 3.0, request_s=4.0)
    assert told.value.retry_after_s == 8.0
    waiting.add(Order("b0", "bob"), 4.0)
    assert taken(waiting) == ["a0", "b0", "a1"]


def test_owners_who_are_gone_are_forgotten():
    waiting = RequestsQueue[Order]()
    for number in range(2 * MAX_REMEMBERED_OWNERS):
        waiting.add(Order("x", f"owner {number}"), 0.0)
        waiting.take()
    assert len(waiting._turns) <= MAX_REMEMBERED_OWNERS
