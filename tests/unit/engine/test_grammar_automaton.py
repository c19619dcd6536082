"""All ways through a grammar at once: the same texts, and never more work than they are worth."""

from __future__ import annotations

import json
from random import Random
from typing import TYPE_CHECKING, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.engine.gbnf_oracle import Grammar
from webui.engine.answer_grammar import answer_grammar
from webui.engine.gbnf import Chars, Ref, read_rules
from webui.engine.grammar import check_grammar
from webui.engine.grammar_automaton import MAX_KEPT, Automaton, Partial, State, TooMuchWork
from webui.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from webui.engine.gbnf import Rules

Known: TypeAlias = dict[tuple[int, int], set[int]]
AMBIGUOUS = 'root ::= "a" root "b" | "a" root "c" | "d"'
PLENTY = 10_000_000


def _walk(automaton: Automaton, text: str) -> State | None:
    state: State | None = automaton.start
    for char in text:
        if state is None:
            return None
        state = automaton.after(state, ord(char))
    return state


@st.composite
def _grammars(draw: st.DrawFn) -> str:
    """Draw grammars of few letters in which rules may be empty, begin alike and call each other."""
    names = ["root", "x", "y", "z"]
    literal = st.sampled_from(['"a"', '"b"', '"ab"', "[ab]", "[^b]", '""', '"é"', "."])
    # A rule is called in front by rules before it only, else most would be left recursion.
    lines = []
    for index, name in enumerate(names):
        inner = st.sampled_from(names)
        first = st.one_of(literal, st.sampled_from(names[index + 1 :] or ["[b]"]))
        item = st.one_of(literal, inner)
        repeat = st.sampled_from(["", "", "?", "*", "+", "{1,2}"])
        ways = []
        for _ in range(draw(st.integers(1, 3))):
            head = draw(first)
            rest = [draw(item) + draw(repeat) for _ in range(draw(st.integers(0, 2)))]
            ways.append(" ".join([head, *rest]))
        lines.append(f"{name} ::= {' | '.join(ways)}")
    return "\n".join(lines)


@settings(max_examples=300, deadline=None)
@given(_grammars(), st.lists(st.text("abé", max_size=6), min_size=4, max_size=8))
def test_texts_are_those_of_the_oracle(grammar: str, texts: list[str]) -> None:
    try:
        check_grammar(grammar)
    except InvalidRequest:  # left recursion and its like are another test's
        return
    automaton = Automaton(grammar)
    automaton.allow(PLENTY)
    rules = read_rules(grammar)
    for text in texts:
        state = _walk(automaton, text)
        is_matched = len(text) in _ends(rules, rules.numbers["root"], text, 0, {})
        assert (state is not None and state.is_end) == is_matched
        by_bytes = automaton.after_bytes(automaton.start, text.encode())
        assert by_bytes is state


def _ends(rules: Rules, rule: int, text: str, begin: int, known: Known) -> set[int]:
    """Return where a rule that begins at a place of a text may end."""
    if (rule, begin) not in known:
        found: set[int] = set()
        for alternative in rules.alternatives[rule]:
            at = {begin}
            for element in alternative:
                if isinstance(element, Ref):
                    at = {end for a in at for end in _ends(rules, element.rule, text, a, known)}
                else:
                    assert isinstance(element, Chars)
                    at = {a + 1 for a in at if a < len(text) and _fits(element, ord(text[a]))}
            found |= at
        known[rule, begin] = found
    return known[rule, begin]


def _fits(chars: Chars, code: int) -> bool:
    return any(low <= code <= high for low, high in chars.ranges) != chars.is_negated


@pytest.mark.parametrize("seed", range(20))
def test_what_a_grammar_writes_is_taken_to_its_end(seed: int) -> None:
    grammar = answer_grammar("", "true")
    automaton = Automaton(grammar)
    automaton.allow(PLENTY)
    text = Grammar(grammar).write(Random(seed))
    state = automaton.after_bytes(automaton.start, text.encode())
    assert isinstance(state, State)
    assert state.is_end


def test_ways_that_double_with_each_letter_cost_the_same_at_each() -> None:
    automaton = Automaton(AMBIGUOUS)
    state = automaton.start
    costs = []
    for _ in range(3000):
        automaton.allow(1000)
        following = automaton.after(state, ord("a"))
        assert following is not None
        costs.append(1000 - automaton.left)
        state = following
    assert max(costs) < 100
    assert costs[10] == costs[2000]


def test_schema_whose_ways_begin_alike_is_taken_at_any_depth() -> None:
    way = {"$ref": "#/$defs/S"}
    ways = [
        {"type": "object", "properties": {"l": way, "op": {"const": op}}, "required": ["l", "op"]}
        for op in "+-"
    ]
    schema = {**way, "$defs": {"S": {"anyOf": [*ways, {"type": "integer"}]}}}
    automaton = Automaton(answer_grammar("", json.dumps(schema)))
    automaton.allow(200_000)
    num = 200
    text = '{"l":' * num + "1" + "".join(f',"op":"{op}"}}' for op in "+-" * (num // 2))
    state = automaton.after_bytes(automaton.start, text.encode())
    assert isinstance(state, State)
    assert state.is_end


def test_work_beyond_what_is_allowed_is_refused_and_may_go_on_later() -> None:
    automaton = Automaton('root ::= [a-z]{0,50} "!"')
    automaton.allow(2)
    with pytest.raises(TooMuchWork):
        automaton.after_bytes(automaton.start, b"abcdef")
    automaton.allow(PLENTY)
    assert automaton.after_bytes(automaton.start, b"abcdef!") is not None


def test_memory_is_bounded_and_states_that_are_held_stay_good() -> None:
    automaton = Automaton('root ::= "(" root ")" | "x"')
    state: State | Partial | None = automaton.start
    num = MAX_KEPT // 4
    for _ in range(num):
        automaton.allow(PLENTY)
        assert state is not None
        state = automaton.after_byte(state, ord("("))
    assert automaton.num_cleared > 0
    assert state is not None
    automaton.allow(PLENTY)
    state = automaton.after_bytes(state, b"x" + b")" * num)
    assert isinstance(state, State)
    assert state.is_end
    assert automaton.after_byte(state, ord(")")) is None


ODD = ["é", "ÿ", "߿", "ࠀ", "中", "\ud7ff", "\ue000", "\uffff", "\U00010000", "🔥", "\U0010ffff"]
SETS = ["[é]", "[^é]", "[中-龥]", ".", "[^🔥]", "[\\U00000080-\\U0010FFFF]", "[^\\x00-\\U0000FFFF]"]


@pytest.mark.parametrize("chars", SETS)
def test_bytes_of_a_character_are_taken_as_far_as_it_may_still_come(chars: str) -> None:
    automaton = Automaton(f"root ::= {chars}")
    automaton.allow(PLENTY)
    for char in ODD:
        is_allowed = automaton.after(automaton.start, ord(char)) is not None
        assert (automaton.after_bytes(automaton.start, char.encode()) is not None) == is_allowed
        for num in range(1, len(char.encode())):
            head = char.encode()[:num]
            may_come = any(automaton.after(automaton.start, code) for code in _begun_by(head))
            assert (automaton.after_bytes(automaton.start, head) is not None) == may_come


def _begun_by(head: bytes) -> Iterator[int]:
    """Return the characters whose first bytes these are."""
    num = {0xC: 2, 0xD: 2, 0xE: 3, 0xF: 4}[head[0] >> 4] - len(head)
    tails = range(64**num)
    for tail in tails if num < 3 else range(0, 64**num, 61):
        rest = bytes(0x80 | tail >> 6 * i & 63 for i in reversed(range(num)))
        try:
            yield ord((head + rest).decode())
        except UnicodeDecodeError:
            continue


@pytest.mark.parametrize(
    "data", [b"\x80", b"\xc0\x80", b"\xc1\xbf", b"\xe0\x80\x80", b"\xed\xa0\x80"]
)
@pytest.mark.parametrize(
    "more", [b"\xf0\x80\x80\x80", b"\xf4\x90\x80\x80", b"\xf5", b"\xff", b"\0"]
)
def test_bytes_that_are_no_character_never_come(data: bytes, more: bytes) -> None:
    automaton = Automaton("root ::= .*")
    automaton.allow(PLENTY)
    assert automaton.after_bytes(automaton.start, b"ok") is not None
    assert automaton.after_bytes(automaton.start, data) is None
    assert automaton.after_bytes(automaton.start, more) is None


def test_nothing_hangs_on_the_start_once_it_is_forgotten() -> None:
    automaton = Automaton("root ::= [^x]{0,200}")
    for _ in range(3):  # the start is none of the states that were found since the first time
        automaton.allow(PLENTY)
        assert _walk(automaton, "abcé" * 9) is not None
        automaton.after_bytes(automaton.start, "ü".encode())
        assert automaton.start.following
        assert automaton.start.partials
        automaton.forget()
        assert automaton.start.following == {}
        assert automaton.start.partials == {}
