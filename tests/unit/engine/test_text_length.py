"""What is counted of texts, and what is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webui.engine import text_length
from webui.engine.text_length import COUNTED_CHARS, LIKELY_CHARS_PER_TOKEN, TextLength


class Words:
    """Makes one token of each word."""

    def __init__(self) -> None:
        self.num_chars = 0

    def __call__(self, text: str, *, special: bool) -> list[int]:
        self.num_chars += len(text)
        return [0] * len(text.split())


def test_short_texts_are_not_counted_to_know_that_they_may_fit():
    words = Words()
    assert TextLength(words, 10).excess(["a " * 1000]) is None
    assert words.num_chars == 0


@pytest.mark.parametrize("max_tokens", [10, 100_000])
def test_more_than_fits_is_known_from_the_beginning(max_tokens):
    words = Words()
    least = TextLength(words, max_tokens).excess(["a " * 500_000] * 4)
    assert least is not None
    assert max_tokens < least <= 2_000_000
    assert words.num_chars <= max(COUNTED_CHARS, max_tokens * LIKELY_CHARS_PER_TOKEN)


@given(st.lists(st.text("a \n", max_size=60), max_size=8), st.integers(1, 30))
def test_what_fits_is_never_taken_for_too_long(texts, max_tokens):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_length, "COUNTED_CHARS", 8)
        patch.setattr(text_length, "LIKELY_CHARS_PER_TOKEN", 1)
        patch.setattr(text_length, "CUT_TOKENS", 1)
        least = TextLength(Words(), max_tokens).excess(texts)
    if least is not None:
        assert max_tokens < least <= sum(len(text.split()) for text in texts)


def test_long_text_is_tokenised_once_until_it_is_forgotten():
    words = Words()
    length = TextLength(words, 10)
    text = "a " * 5000
    assert length.count(text) == length.count(text) == 5000
    assert words.num_chars == len(text)
    length.tokenize(text, special=True)
    assert words.num_chars == 2 * len(text), "control tokens make other tokens"
    length.forget()
    length.count(text)
    assert words.num_chars == 3 * len(text)
