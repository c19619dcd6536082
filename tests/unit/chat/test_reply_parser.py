"""The parser gives the same pieces however the stream is cut."""

from itertools import combinations

import pytest

from webui.chat.reply_parser import Kind, ReplyParser

CASES = [
    ("Hello", "", "Hello"),
    ("  Hello ", "", "  Hello "),
    ("<think>a b</think>c", "a b", "c"),
    ("<think>\na\n\nb\n</think>\n\nc <think>d</think>", "a\n\nb", "c <think>d</think>"),
    ("\n<think>a</thin</think>b", "a</thin", "b"),
    ("<think></think>b", "", "b"),
    ("<think>\n\n</think>\n\nb\n", "", "b\n"),
    ("<think>a < b </ c", "a < b </ c", ""),
    ("<thinking>a", "", "<thinking>a"),
    ("<thi", "", "<thi"),
    ("Use <think> and </think>.", "", "Use <think> and </think>."),
    ("<think>a </th", "a </th", ""),
    ("<think>é🙂</think>🙂", "é🙂", "🙂"),
    ("", "", ""),
]


def parse(pieces, **so_far):
    parser = ReplyParser(**so_far)
    found = [piece for text in pieces for piece in parser.feed(text)] + parser.close()
    assert all(piece.text for piece in found)
    reasoning = "".join(p.text for p in found if p.kind is Kind.REASONING)
    return reasoning, "".join(p.text for p in found if p.kind is Kind.TEXT)


@pytest.mark.parametrize(("stream", "reasoning", "text"), CASES)
def test_parser_whole_and_by_characters_gives_the_same(stream, reasoning, text):
    assert parse([stream]) == (reasoning, text)
    assert parse(list(stream)) == (reasoning, text)


@pytest.mark.parametrize(("stream", "reasoning", "text"), CASES)
def test_parser_split_everywhere_gives_the_same(stream, reasoning, text):
    cuts = range(1, len(stream))
    for a, b in combinations(cuts, 2):
        assert parse([stream[:a], stream[a:b], stream[b:]]) == (reasoning, text)


def test_parser_text_is_not_held_back():
    parser = ReplyParser()
    assert [p.text for p in parser.feed("A")] == ["A"]
    assert [p.text for p in parser.feed(" <")] == [" <"]


def test_parser_reasoning_is_given_out_while_it_comes():
    parser = ReplyParser()
    parser.feed("<think>")
    assert [(p.kind, p.text) for p in parser.feed("abc ")] == [(Kind.REASONING, "abc")]
    assert [(p.kind, p.text) for p in parser.feed("d")] == [(Kind.REASONING, " d")]


@pytest.mark.parametrize(
    ("so_far", "stream", "text"),
    [
        ("Hello", " world", " world"),
        ("Hello ", " world", "world"),
        ("Hello ", "world", "world"),
        ("a\n\n", "\n\nb", "b"),
        ("a\n\n", "\n b", " b"),
        ("a\n    ", "\n    return", "return"),
        ("a", "<think>b", "<think>b"),
        ("a  ", "   b", " b"),
    ],
)
def test_parser_continued_text_does_not_repeat_white_space(so_far, stream, text):
    assert parse([stream], text=so_far) == ("", text)
    assert parse(list(stream), text=so_far) == ("", text)


def test_parser_continued_reasoning_goes_on_to_the_answer():
    for pieces in (["\nmore</think>\n\nyes"], list("\nmore</think>\n\nyes")):
        assert parse(pieces, reasoning="some") == ("\nmore", "yes")
