"""Guesses are copies of what came before, and taking tokens back leaves no trace."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from webui.engine import ngram_draft
from webui.engine.ngram_draft import NgramDraft

texts = st.lists(st.integers(0, 2), max_size=60)


def following(tokens):
    draft = NgramDraft()
    assert draft.follow(tokens)
    return draft


def test_copy_is_guessed_as_it_was():
    text = list(range(50))
    assert following([*text, 99, 10, 11, 12]).guess(5) == [13, 14, 15, 16, 17]


def test_new_end_gives_no_guess():
    assert following(range(50)).guess(5) == []
    assert following([]).guess(5) == []


def test_longest_match_wins_over_the_latest():
    text = [7, 8, 1, 2, 3, 50, 0, 1, 2, 3, 60, 0, 0, 7, 8, 1, 2, 3]
    assert following(text).guess(1) == [50]


def test_latest_of_equal_matches_wins():
    assert following([9, 1, 2, 3, 50, 8, 1, 2, 3, 60, 7, 1, 2, 3]).guess(1) == [60]


def test_repetition_is_guessed_beyond_the_end():
    assert following([1, 2, 3, 4] * 2).guess(7) == [1, 2, 3, 4, 1, 2, 3]


@given(texts, texts, texts)
def test_rewind_leaves_what_was_before(kept, gone, added):
    draft = following(kept + gone)
    draft.rewind(len(kept))
    assert draft.follow(kept + added)
    fresh = following(kept + added)
    assert draft.guess(8) == fresh.guess(8)
    assert draft._latest == fresh._latest
    assert draft._earlier == fresh._earlier


@given(texts, st.integers(1, 8))
def test_guess_stood_behind_the_same_tokens(text, num):
    guess = following(text).guess(num)
    if guess:
        whole = text + guess
        begin = text[-ngram_draft.GRAM :]
        places = range(len(text) - ngram_draft.GRAM)
        assert any(
            whole[i : i + ngram_draft.GRAM] == begin
            and whole[i + ngram_draft.GRAM :][: len(guess)] == guess
            for i in places
        )


def test_long_text_is_taken_in_piece_by_piece(monkeypatch):
    monkeypatch.setattr(ngram_draft, "MAX_INDEXED", 10)
    draft = NgramDraft()
    text = list(range(25))
    assert [draft.follow(text) for _ in range(3)] == [False, False, True]
    assert draft._tokens == text
