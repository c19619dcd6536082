from hypothesis import given
from hypothesis import strategies as st

from webui.engine.resident_slots import ResidentSlots
from webui.engine.states import Prefix, num_common


def test_longest_common_beginning_of_the_same_owner_is_taken():
    slots = ResidentSlots(2)
    first, _ = slots.take("ann", [1, 2, 3])
    second, _ = slots.take("ann", [9])
    slots.leave(first, Prefix("ann", None, [1, 2, 3, 4]))
    slots.leave(second, Prefix("ann", None, [1, 2, 7]))
    assert slots.take("ann", [1, 2, 3, 4, 5]) == (first, 4)


def test_other_owner_never_shares():
    slots = ResidentSlots(1)
    slot, _ = slots.take("ann", [1, 2, 3])
    slots.leave(slot, Prefix("ann", None, [1, 2, 3]))
    assert slots.take("bob", [1, 2, 3]) == (slot, 0)


def test_last_token_is_always_read_again():
    slots = ResidentSlots(1)
    slot, _ = slots.take("ann", [1, 2, 3])
    slots.leave(slot, Prefix("ann", None, [1, 2, 3, 4, 5]))
    assert slots.take("ann", [1, 2, 3]) == (slot, 2)


def test_little_in_common_does_not_cost_a_long_resident():
    slots = ResidentSlots(2)
    slot, _ = slots.take("ann", [0])
    slots.leave(slot, Prefix("ann", None, list(range(100))))
    other, num_cached = slots.take("ann", [*range(10), 777])
    assert (other != slot, num_cached) == (True, 0)


def test_empty_slot_comes_before_the_one_left_longest_ago():
    slots = ResidentSlots(3)
    a, _ = slots.take("ann", [1])
    b, _ = slots.take("ann", [2])
    slots.leave(b, Prefix("ann", None, [2]))
    slots.leave(a, Prefix("ann", None, [1]))
    empty, _ = slots.take("bob", [5])
    assert empty not in {a, b}
    assert slots.take("bob", [6]) == (b, 0)


def test_cells_in_doubt_are_not_used_again():
    slots = ResidentSlots(1)
    slot, _ = slots.take("ann", [1, 2])
    slots.leave(slot, None)
    assert slots.take("ann", [1, 2]) == (slot, 0)


@given(st.lists(st.integers(0, 2), max_size=20), st.lists(st.integers(0, 2), max_size=20))
def test_common_length_is_that_of_a_plain_loop(a, b):
    num = 0
    while num < min(len(a), len(b)) and a[num] == b[num]:
        num += 1
    assert num_common(a, b) == num
