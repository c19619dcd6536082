"""Grammars: what llama.cpp would not survive is refused, with its place."""

from __future__ import annotations

from contextlib import suppress
from random import Random

import pytest

from tests.unit.engine.gbnf_oracle import Grammar
from webui.engine.gbnf import MAX_BYTES, Chars, Ref, Token, read_rules
from webui.engine.grammar import check_grammar
from webui.errors import InvalidRequest

DOUBLING = "\n".join(f"a{i} ::= a{i + 1} | a{i + 1}" for i in range(60))
FORKING = "\n".join(f'a{i} ::= a{i + 1} "x" | a{i + 1} "y"' for i in range(60))

HOSTILE = {
    "open parenthesis": ("root ::= (", 1, 10, "not closed"),
    "left recursion": ('root ::= root "a"', 1, 1, "left recursion"),
    "undefined": ('root ::= "a"\n  b c', 2, 5, "expected ::="),
    "undefined rule": ("root ::= thing", 1, 10, "thing is not defined"),
    "no root": ('start ::= "a"', 1, 1, "no rule root"),
    "nothing": ("", 1, 1, "no rule root"),
    "repeated too often": ('root ::= "a"{100000}', 1, 13, "more than 2000"),
    "huge number": ('root ::= "a"{' + "9" * 40 + "}", 1, 14, "more than 2000"),
    "max silently dropped by llama.cpp": ('root ::= "a"{1,3000}', 1, 13, "more than 2000"),
    "30k parentheses": ("root ::= " + "(" * 30_000, 1, 60, "nested more than 50"),
    "backward bounds": ('root ::= "a"{3,2}', 1, 13, "at most 2"),
    "repeated repetitions": ('root ::= ("a"{0,60}){60}', 1, 21, "more than 2000"),
    "long text repeated": ('root ::= "' + "a" * 3000 + '"{2000}', 1, 3018, "elements"),
    "indirect": ('root ::= a "x"\na ::= b\nb ::= root', 1, 1, "through a, b"),
    "nullable prefix": ('root ::= a root "x" | "y"\na ::= b\nb ::= ""', 1, 1, "left recursion"),
    "empty loop": ('root ::= ("a"?)*', 1, 16, "without end may be empty"),
    "empty loop, plus": ('root ::= ("a" | "")+', 1, 20, "without end may be empty"),
    "exponential search": (f'{DOUBLING}\na60 ::= "x"\nroot ::= a0', 49, 9, "too many ways"),
    "exponential stacks": (f'{FORKING}\na60 ::= "x"\nroot ::= a0', 49, 9, "too many ways"),
    "too large": ("#" * (MAX_BYTES + 1), 1, 1, "65536 are allowed"),
    "nul": ('root ::= "a"\n\0', 2, 1, "NUL"),
    "surrogate": ('root ::= "\ud800"', 1, 11, "surrogate"),
    "escaped surrogate": ('root ::= x\nx ::= "\\uD800"', 2, 8, r"\uD800 is half of a surrogate"),
    "first half of a pair": (r'root ::= "\uD83D\uDE00"', 1, 11, r"\uD83D is half of a surrogate"),
    "second half, long": (r'root ::= "a\U0000DFFF"', 1, 12, r"\U0000DFFF is half of a surrogate"),
    "halves in a class": (r"root ::= [a\uD800-\uDFFF]", 1, 12, "half of a surrogate"),
    "halves that are left out": (r"root ::= [^\uD800]", 1, 12, "half of a surrogate"),
    "beyond the last character": (r'root ::= "\U00110000"', 1, 11, r"\U00110000 is no character"),
    "range beyond it": (r"root ::= [a-\UFFFFFFFF]", 1, 13, r"the last one is \U0010FFFF"),
    "escaped nul": (r'root ::= "a\x00"', 1, 12, "NUL"),
    "nothing but nul": (r"root ::= [\x00\u0000]", 1, 10, "NUL"),
    "twice": ('root ::= "a"\nroot ::= "b"', 2, 1, "given twice"),
    "open text": ('root ::= "a', 1, 10, "not closed"),
    "open class": ("root ::= [a", 1, 10, "not closed"),
    "empty class": ("root ::= []", 1, 10, "empty"),
    "backward range": ("root ::= [z-a]", 1, 11, "before it begins"),
    "unknown escape": (r'root ::= "\q"', 1, 11, "unknown escape"),
    "short hex": (r'root ::= "\u12"', 1, 11, "4 hexadecimal digits"),
    "nothing to repeat": ("root ::= *", 1, 10, "nothing to repeat"),
    "empty text repeated": ('root ::= ""*', 1, 12, "nothing to repeat"),
    "underscore": ('root ::= my_rule\nmy-rule ::= "a"', 1, 12, "end of the line"),
    "bad token id": ("root ::= <[x]>", 1, 10, "id of a token"),
    "endless token": ("root ::= <" + "a" * 30_000, 1, 10, "does not end within"),
    "stray bracket": ('root ::= "a" )', 1, 14, "end of the line"),
    "alternative on a line of its own": ('root ::= "a"\n  | "b"', 2, 3, "name of a rule"),
    "bare carriage returns count": ('root ::= "a"\rroot ::= "b"', 2, 1, "given twice"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_bad_grammar_is_refused_with_its_place(name: str) -> None:
    text, line, column, reason = HOSTILE[name]
    with pytest.raises(InvalidRequest) as caught:
        check_grammar(text)
    assert caught.value.field == "grammar"
    assert caught.value.message.startswith(f"grammar: line {line}, column {column}: ")
    assert reason in caught.value.message


@pytest.mark.parametrize(
    ("text", "good", "bad"),
    [
        ('root ::= "a"{2,3} [^x-z\\n]', ["aab", "aaab"], ["ab", "aax", "aa\n", "aaaab"]),
        ("root ::= ( # why\n [a-c]\n | . )+ \r\n", ["abc", "é"], [""]),
        ('root ::= x-1* "\\x41\\u00e9\\U0001F600"\nx-1 ::= "-"', ["-Aé😀"], ["A"]),
        ('root ::=\n "a" | "b"\n# end', ["a", "b"], ["ab"]),
        ('root ::= ("a" | "b"){0} "c"', ["c"], ["ac"]),
        ('root ::= "(" root ")" | ""', ["", "(())"], ["(", "())"]),
        ("root ::= [a-] [\\]\\-]", ["a]", "--"], ["b]"]),
        (
            r'root ::= "\uD7FF" [\uE000-\U0010FFFF] [^\x00-\x1f]',
            ["\ud7ff\U0010ffffa"],
            ["\ud7ffab"],
        ),
        ('root ::= ("a"? "b"){1,2}', ["b", "abab", "bab"], ["", "aab"]),
    ],
)
def test_a_grammar_means_what_gbnf_means(text: str, good: list[str], bad: list[str]) -> None:
    check_grammar(text)
    grammar = Grammar(text)
    assert [text for text in good if not grammar.matches(text)] == []
    assert [text for text in bad if grammar.matches(text)] == []
    rng = Random(1)
    for _ in range(20):
        assert grammar.matches(grammar.write(rng))


def test_tokens_are_read_with_their_texts() -> None:
    rules = read_rules("root ::= <think> !</think>* <[12]>")
    first, loop, last = rules.alternatives[0][0]
    assert first == Token("<think>")
    assert last == Token("<[12]>")
    assert isinstance(loop, Ref)
    assert rules.alternatives[loop.rule] == [[Token("</think>", is_negated=True), loop], []]


def test_a_class_keeps_its_ranges() -> None:
    rules = read_rules("root ::= [^a-c.]")
    assert rules.alternatives[0] == [[Chars(((97, 99), (46, 46)), is_negated=True)]]


def test_random_bytes_are_read_or_refused_and_nothing_else() -> None:
    rng = Random(7)
    pieces = [
        "root",
        " ::= ",
        '"a"',
        "[",
        "]",
        "(",
        ")",
        "{",
        "2",
        ",",
        "}",
        "*",
        "|",
        "\n",
        "<",
        "x",
    ]
    for _ in range(3000):
        text = "root ::= " + "".join(rng.choices(pieces, k=rng.randint(0, 14)))
        with suppress(InvalidRequest):  # any other exception is a bug
            check_grammar(text)
            Grammar(text).matches("x2")
