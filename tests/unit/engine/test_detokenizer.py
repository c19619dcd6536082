from hypothesis import given, settings
from hypothesis import strategies as st

from webui.engine.detokenizer import Detokenizer


def feed_all(detokenizer, pieces):
    return [detokenizer.feed(piece) for piece in pieces]


def one_byte_each(text):
    return [bytes([byte]) for byte in text.encode()]


def test_emoji_fed_byte_by_byte_comes_whole():
    detokenizer = Detokenizer()
    given_out = feed_all(detokenizer, one_byte_each("a🦀ü"))
    assert given_out == ["a", "", "", "", "🦀", "", "ü"]
    assert detokenizer.finish() == ""


def test_finish_drops_an_unfinished_character():
    detokenizer = Detokenizer(("stop",))
    assert "".join(feed_all(detokenizer, one_byte_each("ok🦀")[:-1])) == "ok"
    assert detokenizer.finish() == ""


def test_invalid_bytes_are_replaced_once():
    assert Detokenizer().feed(b"a\xffb") == "a\ufffdb"


def test_stop_string_over_many_tokens_is_never_given_out():
    detokenizer = Detokenizer(("<|end|>",))
    out = feed_all(detokenizer, [b"Hi <", b"|e", b"nd", b"|>", b" more"])
    assert out == ["Hi ", "", "", "", ""]
    assert detokenizer.is_stopped
    assert detokenizer.finish() == ""


def test_held_back_text_comes_when_it_is_no_stop_string():
    detokenizer = Detokenizer(("STOP",))
    assert feed_all(detokenizer, [b"a ST", b"ONE"]) == ["a ", "STONE"]


def test_finish_gives_out_what_was_held_back():
    detokenizer = Detokenizer(("STOP",))
    assert detokenizer.feed(b"a STO") == "a "
    assert detokenizer.finish() == "STO"


def test_earliest_of_several_stop_strings_counts():
    detokenizer = Detokenizer(("b", "ab"))
    assert detokenizer.feed(b"xaby") == "x"


def test_repeating_beginning_of_a_stop_string():
    detokenizer = Detokenizer(("aab",))
    assert "".join(feed_all(detokenizer, one_byte_each("aaaab!"))) == "aa"


@settings(max_examples=150, deadline=None)
@given(
    st.text(alphabet="ab🦀ü", max_size=30),
    st.lists(st.text(alphabet="ab🦀ü", min_size=1, max_size=4), max_size=3),
    st.lists(st.integers(1, 7), min_size=1, max_size=10),
)
def test_any_split_gives_the_text_before_the_first_stop_string(text, stop, sizes):
    data, detokenizer, given_out = text.encode(), Detokenizer(stop), ""
    for i in range(len(data)):
        size = sizes[i % len(sizes)]
        given_out += detokenizer.feed(data[:size])
        data = data[size:]
        # A caller stops feeding where the detokenizer says so.
        if detokenizer.is_stopped:
            break
    given_out += detokenizer.finish()
    ends = [text.find(s) for s in stop if s in text]
    if not ends:
        assert given_out == text
        assert not detokenizer.is_stopped
    else:
        # The stop string that is complete first ends the text; another may begin before it.
        assert detokenizer.is_stopped
        assert text.startswith(given_out)
        assert not any(s in given_out for s in stop)
        assert any(text[len(given_out) :].startswith(s) for s in stop)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.text(alphabet="ab🦀", max_size=3).map(str.encode), max_size=15),
    st.lists(st.text(alphabet="ab🦀", min_size=1, max_size=3), min_size=1, max_size=3),
    st.integers(0, 8),
)
def test_stop_strings_count_only_in_what_comes_after_the_least_length(pieces, stop, least):
    detokenizer, said = Detokenizer(stop), ""
    for i, piece in enumerate(pieces):
        said += detokenizer.feed(piece, may_stop=i >= least)
        assert not (detokenizer.is_stopped and i < least)
    said += detokenizer.finish()
    early = b"".join(pieces[:least]).decode()
    late = b"".join(pieces[least:]).decode()
    assert said.startswith(early)
    assert not any(s in said[len(early) :] for s in stop)
    assert detokenizer.is_stopped == any(s in late for s in stop)
    assert late.startswith(said[len(early) :])
