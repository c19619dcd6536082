from hypothesis import given, settings
from hypothesis import strategies as st

from webui.engine.banned_strings import BannedStrings


def test_nothing_is_held_without_banned_strings():
    banned = BannedStrings(())
    assert (banned.feed(b"abc"), banned.release()) == (None, 1)


def test_token_is_held_while_it_could_begin_one():
    banned = BannedStrings(("as an AI",))
    assert (banned.feed(b"So"), banned.release()) == (None, 1)
    assert (banned.feed(b" as"), banned.release()) == (None, 0)
    assert (banned.feed(b" an"), banned.release()) == (None, 0)
    assert (banned.feed(b" owl"), banned.release()) == (None, 3)


def test_match_names_the_token_in_which_it_begins():
    banned = BannedStrings(("bcd",))
    assert (banned.feed(b"xb"), banned.release()) == (None, 0)
    assert (banned.feed(b""), banned.release()) == (None, 0)
    assert (banned.feed(b"c"), banned.release()) == (None, 0)
    assert banned.feed(b"de") == 0
    assert (banned.feed(b"y"), banned.release()) == (None, 1)


def test_part_of_a_character_can_be_held():
    crab = "🦀".encode()
    banned = BannedStrings(("🦀",))
    assert (banned.feed(crab[:3]), banned.release()) == (None, 0)
    assert banned.feed(crab[3:]) == 0


def test_string_that_goes_on_from_what_was_let_go_is_met_there():
    banned = BannedStrings(("ab",))
    fed = [(banned.feed(b"a"), banned.release()) for _ in range(3)]
    assert fed == [(None, 0), (None, 1), (None, 1)]
    assert banned.feed(b"b") == 0  # takes the third a back; the second has been let go
    assert banned.feed(b"b") == 0
    assert (banned.feed(b"c"), banned.release()) == (None, 1)


words = st.text(alphabet="ab🦀", min_size=1, max_size=4)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.text(alphabet="ab🦀", max_size=3).map(str.encode), max_size=30),
    st.lists(words, min_size=1, max_size=3),
)
def test_what_is_let_go_never_says_a_banned_string(pieces, strings):
    banned, held, said = BannedStrings(strings), [], []
    for piece in pieces:
        held.append(piece)
        first = banned.feed(piece)
        whole = b"".join([*said, *held])
        assert (first is not None) == any(string.encode() in whole for string in strings)
        if first is not None:
            assert any(held[first:])
            del held[first:]
            continue
        num = banned.release()
        said += held[:num]
        del held[:num]
        # No more is held than could still become a banned string.
        tail = b"".join(held)
        assert not held or any(
            string.encode().startswith((b"".join(said) + tail)[-length:])
            for string in strings
            for length in range(len(tail) - len(held[0]) + 1, 20)
        )
    out = b"".join([*said, *held])
    assert not any(string.encode() in out for string in strings)
