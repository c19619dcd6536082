"""What would be dear to follow all the time is refused before a reply begins, and nothing else."""

from __future__ import annotations

import json
import time

import pytest

from webui.engine.answer_grammar import answer_grammar
from webui.engine.grammar_automaton import Automaton
from webui.engine.grammar_probe import check_ways
from webui.errors import GrammarTooAmbiguous

OP = {"l": {"$ref": "#"}, "op": {"enum": ["+", "-"]}}
FINE = {
    "json": ("", "true"),
    "a long text": ("", {"type": "string", "minLength": 100, "maxLength": 1900}),
    "many values": ("", {"enum": [f"value {i}" for i in range(2000)]}),
    "many members": ("", {"properties": {f"name{i}": {"type": "string"} for i in range(100)}}),
    "ways that begin alike": (
        "",
        {"anyOf": [{"properties": OP}, {"properties": {**OP, "r": {}}}, {"type": "integer"}]},
    ),
    "an address": (
        "",
        {"type": "string", "pattern": r"^[\w.]{1,64}@[a-z\d-]{1,63}(\.[a-z]{2,9})+$"},
    ),
    "doubling": ('root ::= "a" root "b" | "a" root "c" | "d"', ""),
    "spaces": ('root ::= (" " | s)* "z"\ns ::= " "', ""),
    "sums": ('root ::= term ("+" term)*\nterm ::= [0-9]+ | "(" root ")"', ""),
}
DEAR = {
    "repetitions within repetitions": ("", {"type": "string", "pattern": "^(.{0,95}a){20}$"}),
    "any two of a text": ('root ::= s "z"\ns ::= "a" s s | "a" s | "a"', ""),
    "rules that all go on": (
        "root ::= "
        + " | ".join(f"r{i}" for i in range(300))
        + "".join(f'\nr{i} ::= [a-z]{{0,60}} "a" [a-z]{{{i}}} "!"' for i in range(300)),
        "",
    ),
}


def _automaton(grammar: str, schema: object) -> Automaton:
    text = schema if isinstance(schema, str) else json.dumps(schema)
    return Automaton(answer_grammar(grammar, text))


@pytest.mark.parametrize("name", FINE)
def test_ordinary_grammar_is_let_through(name: str) -> None:
    automaton = _automaton(*FINE[name])
    check_ways(automaton)
    assert automaton.start.items


@pytest.mark.parametrize("name", DEAR)
def test_grammar_that_is_dear_for_good_is_refused_soon(name: str) -> None:
    automaton = _automaton(*DEAR[name])
    begun_s = time.thread_time()
    with pytest.raises(GrammarTooAmbiguous, match="too many ways"):
        check_ways(automaton)
    assert time.thread_time() - begun_s < 2
