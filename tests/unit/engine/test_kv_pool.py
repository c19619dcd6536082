from hypothesis import given
from hypothesis import strategies as st

from webui.engine.kv_pool import KVPool
from webui.engine.states import Prefix

owners = st.sampled_from(["ann", "bob", "cid"])
acts = st.one_of(
    st.tuples(st.just("place"), owners, st.integers(1, 40), st.integers(0, 20)),
    st.tuples(st.just("grow"), st.integers(0, 7), st.integers(1, 30)),
    st.tuples(st.just("leave"), st.integers(0, 7), st.booleans()),
)


@given(st.lists(acts, max_size=60), st.integers(1, 4), st.integers(40, 120), st.booleans())
def test_cells_are_never_more_than_there_are(script, num_slots, num_cells, is_shared):
    """A plain model beside it: what each slot really holds, dropped when we are told to."""
    pool = KVPool(num_slots, num_cells, is_shared=is_shared)
    real = dict.fromkeys(range(num_slots), 0)
    running = {}
    for act, *args in script:
        if act == "place":
            owner, num_tokens, reserve = args
            need = num_tokens + reserve
            if pool.fits(need):
                slot, num_cached = pool.place(owner, [7] * num_tokens, need)
                assert slot not in running
                assert num_cached < num_tokens
                assert num_cached <= real[slot]
                running[slot] = (owner, num_tokens)
                real[slot] = min(need, num_cells)
        elif args[0] in running:
            slot = args[0]
            owner, num_tokens = running[slot]
            if act == "grow":
                if pool.grow(slot, owner, num_tokens + args[1]):
                    running[slot] = (owner, num_tokens + args[1])
                    real[slot] = max(real[slot], num_tokens + args[1])
            else:
                del running[slot]
                real[slot] = num_tokens if args[1] else 0
                pool.leave(slot, Prefix(owner, None, [7] * real[slot]))
        for slot in pool.take_evicted():
            assert slot not in running
            real[slot] = 0
        if is_shared:
            assert sum(real.values()) <= pool.num_held_cells <= num_cells
        assert all(num <= num_cells for num in real.values())
    for slot in running:
        pool.leave(slot, None)
    assert pool.num_free_slots == num_slots
    assert pool.fits(num_cells)


def test_idle_prefixes_give_way_oldest_first_and_own_ones_last():
    pool = KVPool(4, 100, is_shared=True)
    slots = [pool.place(owner, [i] * 20, 20)[0] for i, owner in enumerate(["ann", "bob", "cid"])]
    for i, (slot, owner) in enumerate(zip(slots, ["ann", "bob", "cid"], strict=True)):
        pool.leave(slot, Prefix(owner, None, [i] * 20))
    pool.place("ann", [9] * 70, 70)
    assert pool.take_evicted() == [slots[1], slots[2]]


def test_own_prefix_counts_once():
    pool = KVPool(2, 100, is_shared=True)
    slot, _ = pool.place("ann", [1] * 60, 60)
    pool.leave(slot, Prefix("ann", None, [1] * 60))
    assert pool.place("ann", [1] * 90, 100) == (slot, 60)
    assert pool.take_evicted() == []


def test_growth_ends_where_others_run():
    pool = KVPool(2, 100, is_shared=True)
    first, _ = pool.place("ann", [1], 40)
    second, _ = pool.place("bob", [2], 40)
    assert pool.grow(first, "ann", 60)
    assert not pool.grow(second, "bob", 41)
    pool.leave(first, None)
    assert pool.grow(second, "bob", 100)
    assert not pool.grow(second, "bob", 101)


def test_split_slots_do_not_take_from_each_other():
    pool = KVPool(2, 100, is_shared=False)
    first, _ = pool.place("ann", [1] * 100, 100)
    assert pool.fits(1000), "more than a pool is never asked for"
    second, _ = pool.place("bob", [2], 10)
    assert pool.grow(second, "bob", 100)
    assert not pool.grow(first, "ann", 101)
    assert not pool.fits(1), "no slot"
