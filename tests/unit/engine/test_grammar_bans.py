"""Grammars and banned strings: only a real contradiction is refused."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.engine.gbnf_oracle import Grammar
from webui.engine.answer_grammar import answer_grammar
from webui.engine.grammar import check_grammar
from webui.engine.grammar_bans import FIELD, check_bans
from webui.errors import NothingAllowed

CONTRADICTIONS = {
    "the only text": ('root ::= "yes"', ["yes"], []),
    "a part of the only text": ('root ::= "yes"', ["e"], []),
    "all of several": ('root ::= "yes" | "no"', ["es", "n"], []),
    "over the border of rules": ('root ::= a "b"\na ::= "x" | "y"', ["xb", "yb"], []),
    "at the end of what may be long": ('root ::= [a-z]* "."', ["."], []),
    "a word that begins within another": ('root ::= "aab"', ["ab"], []),
    "one that overlaps itself": ('root ::= "ababc"', ["abc"], []),
    "all letters of a class": ("root ::= [a-c]+", ["a", "b", "c"], []),
    "often enough": ('root ::= "a"{3,5}', ["aaa"], []),
    "through a rule that calls itself": ('root ::= "(" root ")" | "x"', ["x"], []),
    "a stop string that comes too late": ('root ::= "ab"', ["a"], ["b"]),
}
POSSIBLE = {
    "another text": ('root ::= "yes" | "no"', ["yes"], []),
    "another letter": ("root ::= [a-c]+", ["a", "b"], []),
    "other letters than those": ("root ::= [^a]", ["b", "c"], []),
    "the empty text": ('root ::= "a"?', ["a"], []),
    "fewer": ('root ::= "a"{2,5}', ["aaa"], []),
    "letters apart": ('root ::= "a" [ab] "a"', ["aa"], []),
    "capitals": ('root ::= "Yes"', ["yes"], []),
    "no end": ('root ::= "a" root', ["b"], []),
    "no end, and nothing else": ('root ::= "a" root', ["a"], []),
    "a stop string before it": ('root ::= "abc"', ["c"], ["b"]),
    "a token, which may say anything": ("root ::= <[7]>", ["a"], []),
    "nothing banned": ('root ::= "a"', [], []),
    "no grammar": ("", ["a"], []),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_contradiction_is_refused(name: str) -> None:
    grammar, banned, stop = CONTRADICTIONS[name]
    check_grammar(grammar)
    with pytest.raises(NothingAllowed, match=f"{FIELD}: ") as caught:
        check_bans(grammar, banned, stop)
    assert caught.value.field == FIELD
    assert caught.value.hint


@pytest.mark.parametrize("name", POSSIBLE)
def test_what_can_be_said_is_let_through(name: str) -> None:
    check_bans(*POSSIBLE[name])


def test_schema_whose_required_name_is_banned_is_refused() -> None:
    schema = '{"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}'
    grammar = answer_grammar("", schema)
    with pytest.raises(NothingAllowed):
        check_bans(grammar, ['"a"'], [])
    check_bans(grammar, ["b", "null", "  "], [])


def test_work_is_bounded_where_grammar_and_words_are_large() -> None:
    words = [chr(97 + i % 26) * 200 + chr(97 + i // 26) for i in range(64)]
    grammar = "root ::= [a-z]{1900} [0-9]"
    check_grammar(grammar)
    check_bans(grammar, [*words, *"0123456789"], [])  # it cannot be kept; that is too dear to see


WORDS = st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=4)
PIECES = st.sampled_from(['"a"', '"b"', "[ab]", '"ab"', '("a" | "bb")', '"b"?', "x", "y", '""'])
WAYS = st.lists(st.lists(PIECES, min_size=1, max_size=3).map(" ".join), min_size=1, max_size=3)
LAST = st.lists(st.text("ab", max_size=2), min_size=1, max_size=3)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(WAYS, LAST, LAST, WORDS, st.lists(st.text("ab", min_size=1, max_size=2), max_size=1))
def test_verdict_is_that_of_all_texts(
    ways: list[str], x: list[str], y: list[str], banned: list[str], stop: list[str]
) -> None:
    lines = [f"root ::= {' | '.join(ways)}"]
    lines += [
        f"{name} ::= " + " | ".join(f'"{t}"' for t in ts) for name, ts in (("x", x), ("y", y))
    ]
    grammar = "\n".join(lines)
    check_grammar(grammar)
    oracle = Grammar(grammar)
    texts = ["".join(letters) for size in range(7) for letters in product("ab", repeat=size)]
    said = [_until(text, stop) for text in texts if oracle.matches(text)]
    is_possible = any(not any(word in text for word in banned) for text in said)
    try:
        check_bans(grammar, banned, stop)
    except NothingAllowed:
        assert not is_possible
    else:
        assert is_possible


def _until(text: str, stop: list[str]) -> str:
    """Return a text up to where the first stop string in it ends."""
    ends = [text.index(word) + len(word) for word in stop if word in text]
    return text[: min(ends, default=len(text))]
