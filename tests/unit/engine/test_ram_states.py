from hypothesis import given
from hypothesis import strategies as st

from webui.engine.ram_states import RamStates
from webui.engine.states import Prefix, State


def state(tokens, owner="ann", conversation_id=None, num_bytes=None):
    size = len(tokens) if num_bytes is None else num_bytes
    return State(Prefix(owner, conversation_id, list(tokens)), memoryview(bytes(size)))


texts = st.lists(st.integers(0, 1), min_size=1, max_size=12)
owners = st.sampled_from(["ann", "bob"])
acts = st.one_of(
    st.tuples(st.just("put"), owners, texts, st.sampled_from([None, "c1", "c2"])),
    st.tuples(st.just("find"), owners, texts),
    st.tuples(st.just("purge"), owners, st.sampled_from([None, "c1", "c2"])),
)


@given(st.lists(acts, max_size=40), st.integers(0, 40))
def test_bytes_owners_and_prefixes_are_kept(script, max_bytes):
    """Beside it a plain list of all that was put and not purged: nothing else may be found."""
    states = RamStates(max_bytes)
    put = []
    for act, owner, *args in script:
        match act:
            case "put":
                tokens, conversation_id = args
                new = state(tokens, owner, conversation_id)
                put.append(new.data)
                for gone in states.put(new):
                    assert any(gone.data is data for data in put)
                    assert gone not in states.states
            case "find":
                (tokens,) = args
                found, num = states.find(owner, tokens, len(tokens) - 1)
                assert num <= len(tokens) - 1
                if found is not None:
                    assert any(found.data is data for data in put)
                    assert found.prefix.owner == owner
                    assert found.prefix.tokens[:num] == tokens[:num]
                else:
                    assert num == 0
            case _:
                (conversation_id,) = args
                states.purge(owner, conversation_id)
                assert not any(
                    kept.prefix.belongs_to(owner, conversation_id) for kept in states.states
                )
        assert states.num_bytes == sum(kept.num_bytes for kept in states.states) <= max_bytes
        assert len(states) == len(states.states)


def test_longest_beginning_wins():
    states = RamStates(100)
    states.put(state([1, 2, 9]))
    best = state([1, 2, 3, 4, 9])
    states.put(best)
    found, num = states.find("ann", [1, 2, 3, 4, 5], 4)
    assert (found.data, num) == (best.data, 4)
    assert found.prefix.used_ns > best.prefix.used_ns, "it was used just now"
    assert states.find("ann", [1, 2, 3, 4, 5], 2)[1] == 2


def test_state_that_holds_all_of_another_takes_its_place():
    states = RamStates(100)
    states.put(state([1, 2]))
    states.put(state([1, 2], "bob"))
    assert states.put(state([1, 2, 3])) == []
    assert [kept.prefix.tokens for kept in states.states] == [[1, 2], [1, 2, 3]]


def test_what_was_used_longest_ago_goes_first():
    states = RamStates(6)
    old, used = state([1, 1, 1]), state([2, 2, 2])
    states.put(used)
    states.put(old)
    states.find("ann", [2, 2, 2, 2], 3)
    assert states.put(state([3, 3, 3])) == [old]


def test_state_larger_than_all_room_is_handed_back():
    states = RamStates(2)
    small, large = state([1, 2]), state([1, 2, 3])
    states.put(small)
    assert states.put(large) == [large]
    assert states.states == [small], "it is of use as long as nothing better is kept"
