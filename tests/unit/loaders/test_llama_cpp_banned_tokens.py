"""Tokens that hold a string are found and counted, and no others."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from webui.loaders.llama_cpp.banned_tokens import SpelledTokens

SPELLED = st.lists(st.text("abé ", max_size=5).map(str.encode), max_size=12)
STRINGS = st.lists(st.text("abé ", min_size=1, max_size=4), max_size=3)


@given(SPELLED, STRINGS)
def test_tokens_are_those_in_which_a_string_stands(
    spelled: list[bytes], strings: list[str]
) -> None:
    expected = {
        token
        for token, said in enumerate(spelled)
        if any(string.encode() in said for string in strings)
    }
    assert SpelledTokens(spelled).holding(strings) == expected


@given(SPELLED, st.text("abé ", min_size=1, max_size=4).map(str.encode))
def test_it_is_counted_what_holds_a_string_and_what_ends_where_it_begins(
    spelled: list[bytes], string: bytes
) -> None:
    held = sum(said.startswith(string, place) for said in spelled for place in range(len(said)))
    begun = sum(
        said.endswith(string[:length]) for said in spelled for length in range(1, len(string))
    )
    assert SpelledTokens(spelled).meeting(string) == (held, begun)
