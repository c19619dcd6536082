"""Trigger words are found wherever tokens tear them, and nowhere else."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webui.engine.interface import GrammarTrigger
from webui.engine.trigger_watch import MAX_TRIGGERS, TriggerWatch, check_triggers
from webui.errors import InvalidRequest


def fed(watch, pieces):
    """Feed pieces; return the first openings with the place of the piece."""
    for index, piece in enumerate(pieces):
        if openings := watch.openings(index, piece):
            return index, openings
        watch.pass_by(piece)
    return None


@given(
    text=st.text(alphabet="ab<é", max_size=30).map(str.encode),
    words=st.lists(st.text(alphabet="ab<é", min_size=1, max_size=5), min_size=1, max_size=3),
    cuts=st.lists(st.integers(0, 40), max_size=12),
)
def test_word_is_found_with_the_first_piece_that_completes_one(text, words, cuts):
    data = [word.encode() for word in words]
    borders = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[a:b] for a, b in pairwise(borders)]
    got = fed(TriggerWatch(data, frozenset()), pieces)
    ends = [text.find(word) + len(word) for word in data if word in text]
    if not ends:
        assert got is None
        return
    place, openings = got
    assert borders[place] < min(ends) <= borders[place + 1]
    starts = sorted({text.find(word) for word in data if word in text[: borders[place + 1]]})
    assert [opening.text for opening in openings] == [
        text[start : borders[place + 1]] for start in starts
    ]
    assert [opening.is_token for opening in openings] == [s == borders[place] for s in starts]


def test_token_is_found_though_it_says_nothing():
    watch = TriggerWatch([], frozenset({7}))
    assert watch.openings(6, b"x") == []
    (opening,) = watch.openings(7, b"")
    assert (opening.text, opening.is_token) == (b"", True)


@pytest.mark.parametrize(
    ("triggers", "has_grammar", "words"),
    [
        ((GrammarTrigger("a"),), False, "no grammar"),
        ((GrammarTrigger(""),), True, r"\[0\]: the word is empty"),
        ((GrammarTrigger("a"), GrammarTrigger("b" * 65)), True, r"\[1\].*65 characters"),
        ((GrammarTrigger("a\0"),), True, "zero character"),
        ((GrammarTrigger("\ud800"),), True, "surrogate"),
        ((GrammarTrigger(token=-1),), True, "0 or more"),
        ((GrammarTrigger("a"),) * (MAX_TRIGGERS + 1), True, "33"),
    ],
)
def test_trigger_that_cannot_be_waited_for_is_refused(triggers, has_grammar, words):
    with pytest.raises(InvalidRequest, match=words) as caught:
        check_triggers(triggers, has_grammar=has_grammar)
    assert caught.value.field == "grammar_triggers"


def test_no_trigger_needs_no_grammar():
    check_triggers((), has_grammar=False)
    check_triggers((GrammarTrigger("a" * 64), GrammarTrigger(token=0)), has_grammar=True)
