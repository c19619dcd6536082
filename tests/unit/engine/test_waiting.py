from collections import Counter

import pytest

from tests.unit.engine.contract import make_request
from webui.engine.fairness import Ledger
from webui.engine.interface import Priority
from webui.engine.sequence import Sequence
from webui.engine.waiting import AGING_S, WaitingQueue
from webui.errors import Busy


def make(name, owner="ann", priority=Priority.CHAT, arrived_s=0.0):
    request = make_request("", owner=owner, request_id=name, priority=priority)
    return Sequence(request, [1], context_length=64, arrived_s=arrived_s)


def fill(*sequences):
    queue = WaitingQueue()
    for sequence in sequences:
        queue.add(sequence, 1.0)
    return queue


def names(queue, now_s=0.0, running=None, served=None):
    order = queue.order(Counter(running), served or Ledger(), now_s)
    return [sequence.request_id for sequence in order]


def test_api_is_as_urgent_as_chat_once_it_has_waited():
    queue = fill(
        make("api", "ann", Priority.API),
        make("back", "bob", Priority.BACKGROUND),
        make("chat", "cid", arrived_s=5.0),
        make("chat of ann", "ann", arrived_s=5.0),
    )
    assert names(queue) == ["chat", "chat of ann", "api", "back"]
    assert names(queue, AGING_S) == ["api", "chat", "chat of ann", "back"]


def test_background_comes_last_even_for_who_runs_nothing():
    queue = fill(make("back", "ann", Priority.BACKGROUND), make("chat", "bob"))
    assert names(queue, 1e6, running={"bob": 9}) == ["chat", "back"]


def test_least_served_comes_first_among_equals():
    served = Ledger()
    served.charge("ann", 10)
    queue = fill(make("a", "ann"), make("b", "bob"))
    assert names(queue, served=served) == ["b", "a"]


def test_next_is_the_first_of_the_order_and_stays_until_removed():
    queue = fill(*(make(f"{owner}{i}", owner) for owner in "abc" for i in range(3)))
    taken = []
    running = Counter()
    while queue:
        expected = names(queue, running=running)[0]
        sequence = queue.next(running, Ledger(), 0.0)
        assert sequence.request_id == expected
        assert queue.find(expected) is sequence
        queue.remove(sequence)
        running[sequence.owner] += 1
        taken.append(expected)
    assert taken == ["a0", "b0", "c0", "a1", "b1", "c1", "a2", "b2", "c2"]
    assert (len(queue), list(queue.owners)) == (0, [])


def test_skipped_owner_is_passed_over():
    queue = fill(make("a", "ann"), make("b", "bob"))
    assert queue.next(Counter(), Ledger(), 0.0, {"ann"}).request_id == "b"
    assert queue.next(Counter(), Ledger(), 0.0, {"ann", "bob"}) is None


def test_who_gave_up_a_slot_comes_before_who_came_later():
    queue = fill(make("a0"), make("a1"))
    first = queue.find("a0")
    queue.remove(first)
    queue.put_back(first)
    assert names(queue) == ["a0", "a1"]


def test_busy_says_when_to_come_back():
    queue = WaitingQueue(1, 1)
    queue.add(make("a"), 1.0)
    with pytest.raises(Busy) as caught:
        queue.add(make("b"), 7.5)
    assert caught.value.retry_after_s == 7.5
