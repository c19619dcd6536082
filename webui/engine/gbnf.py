"""GBNF as llama.cpp reads it: text to rules, with every repetition unrolled as llama.cpp does it.

Knows the notation only; whether rules that were read are safe to use is asked in `grammar`.
Whatever llama.cpp refuses is refused here with its place, and so are the forms which it takes
for something else than they say: a longest number beyond its limit, a rule given twice; and what
no text can hold: halves of surrogate pairs, numbers beyond the last character, NUL.

Source: llama.cpp, src/llama-grammar.cpp, llama_grammar_parser.
"""

from __future__ import annotations

import string
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from webui.engine.gbnf_text import NUL, read_char, refuse

if TYPE_CHECKING:
    from webui.errors import InvalidRequest

MAX_BYTES = 64 << 10
MAX_DEPTH = 50  # of parentheses: llama.cpp recurses
MAX_SYMBOLS = 20_000  # rules, with those that repetitions and parentheses are made into
MAX_ELEMENTS = 200_000
MAX_REPETITIONS = 2000  # llama.cpp: MAX_REPETITION_THRESHOLD
MAX_TOKEN_CHARS = 128  # a longer run would be split by a regular expression, on the C++ stack
MAX_NUMBER_DIGITS = 9

WORD = frozenset(string.ascii_letters + string.digits + "-")


@dataclass(frozen=True, slots=True)
class Chars:
    """One character out of some, or out of all others.

    Attributes:
        ranges: First and last code point of each.
        is_negated: All but these.
    """

    ranges: tuple[tuple[int, int], ...]
    is_negated: bool = False


@dataclass(frozen=True, slots=True)
class Ref:
    """A rule by its number."""

    rule: int


@dataclass(frozen=True, slots=True)
class Token:
    """One token of the model, or any other one; `text` as it stands in angle brackets."""

    text: str
    is_negated: bool = False


Element: TypeAlias = Chars | Ref | Token
Alternatives: TypeAlias = list[list[Element]]
ANY = Chars((), is_negated=True)


@dataclass(slots=True)
class Rules:
    """A grammar that was read.

    Attributes:
        text: What it was read from.
        numbers: The rules that have a name.
        alternatives: What each rule may be; a rule that is only named is not in it.
        offsets: Where each rule was first named, or what it was made of.
        repeated: The unbounded repetitions among the rules.
    """

    text: str
    numbers: dict[str, int] = field(default_factory=dict)
    alternatives: dict[int, Alternatives] = field(default_factory=dict)
    offsets: list[int] = field(default_factory=list)
    repeated: set[int] = field(default_factory=set)


def read_rules(text: str) -> Rules:
    """Read a grammar.

    Raises:
        InvalidRequest: It is too large or not GBNF; names line, column and reason.
    """
    try:
        num_bytes = len(text.encode())
    except UnicodeEncodeError as error:
        raise refuse(text, error.start, "half of a surrogate pair") from error
    if num_bytes > MAX_BYTES:
        raise refuse(text, 0, f"the grammar has {num_bytes} bytes; {MAX_BYTES} are allowed")
    if (nul := text.find("\0")) >= 0:
        raise refuse(text, nul, NUL)
    return _Reader(text).read()


@dataclass(slots=True)
class _Items:
    """A sequence while it is read.

    Attributes:
        elements: So far.
        start: Where the last item begins, which a repetition would repeat.
        weight: Rules it stands for, by which repetitions of repetitions are limited.
    """

    elements: list[Element] = field(default_factory=list)
    start: int = 0
    weight: int = 1

    def add(self, *elements: Element, weight: int = 1) -> None:
        self.start = len(self.elements)
        self.weight = weight
        self.elements += elements


class _Reader:
    """One reading of one text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._end = len(text)
        self._at = 0
        self._depth = 0
        self._num_elements = 0
        self._rules = Rules(text)
        self._tokens = {
            '"': self._literal,
            "[": self._class,
            "<": self._token,
            "!": self._token,
            ".": self._any,
        }

    def read(self) -> Rules:
        self._space(newlines=True)
        while self._at < self._end:
            self._rule()
        return self._rules

    def _rule(self) -> None:
        begin = self._at
        name = self._name()
        self._space(newlines=False)
        if not self._text.startswith("::=", self._at):
            raise self._bad("expected ::= after the name of a rule")
        rule = self._number(name, begin)
        if rule in self._rules.alternatives:
            raise self._bad(f"the rule {name} is given twice", begin)
        self._at += 3
        self._space(newlines=True)
        self._alternatives(rule, is_nested=False)
        if self._at < self._end and self._text[self._at] not in "\r\n":
            raise self._bad("expected the end of the line")
        self._space(newlines=True)

    def _alternatives(self, rule: int, *, is_nested: bool) -> None:
        found = [self._sequence(is_nested=is_nested)]
        while self._peek() == "|":
            self._at += 1
            self._space(newlines=True)
            found.append(self._sequence(is_nested=is_nested))
        self._rules.alternatives[rule] = found

    def _sequence(self, *, is_nested: bool) -> list[Element]:
        items = _Items()
        while char := self._peek():
            if read := self._tokens.get(char):
                read(items)
            elif char in WORD:
                begin = self._at
                items.add(Ref(self._number(self._name(), begin)))
            elif char == "(":
                self._group(items)
            elif char in "*+?{":
                self._repetition(items, is_nested=is_nested)
                continue
            else:
                break
            self._count(len(items.elements) - items.start)
            self._space(newlines=is_nested)
        return items.elements

    def _literal(self, items: _Items) -> None:
        begin = self._at
        self._at += 1
        chars: list[Element] = []
        while self._peek() != '"':
            at = self._at
            code = self._char("the text is not closed", begin)
            if not code:
                raise self._bad(NUL, at)
            chars.append(Chars(((code, code),)))
        self._at += 1
        items.add(*chars)

    def _class(self, items: _Items) -> None:
        begin = self._at
        self._at += 1
        is_negated = self._peek() == "^"
        self._at += is_negated
        ranges: list[tuple[int, int]] = []
        unclosed = "the character class is not closed"
        while self._peek() != "]":
            at = self._at
            low = high = self._char(unclosed, begin)
            if self._peek() == "-" and not self._text.startswith("-]", self._at):
                self._at += 1
                high = self._char(unclosed, begin)
            if high < low:
                raise self._bad("the range ends before it begins", at)
            ranges.append((low, high))
        if not ranges:
            raise self._bad("the character class is empty", begin)
        if not (is_negated or any(high for _, high in ranges)):
            raise self._bad(NUL, begin)
        self._at += 1
        self._count(len(ranges))
        items.add(Chars(tuple(ranges), is_negated))

    def _any(self, items: _Items) -> None:
        self._at += 1
        items.add(ANY)

    def _token(self, items: _Items) -> None:
        begin = self._at
        is_negated = self._peek() == "!"
        self._at += is_negated
        if self._peek() != "<":
            raise self._bad("expected < after !")
        close = self._text.find(">", self._at, self._at + MAX_TOKEN_CHARS)
        if close < 0:
            raise self._bad(f"the token does not end within {MAX_TOKEN_CHARS} characters", begin)
        text = self._text[self._at : close + 1]
        digits = text[2:-2]
        if text.startswith("<[") and not (
            text.endswith("]>")
            and digits.isascii()
            and digits.isdigit()
            and len(digits) <= MAX_NUMBER_DIGITS
        ):
            raise self._bad("expected the id of a token, as in <[123]>", begin)
        self._at = close + 1
        items.add(Token(text, is_negated))

    def _group(self, items: _Items) -> None:
        begin = self._at
        if self._depth == MAX_DEPTH:
            raise self._bad(f"parentheses are nested more than {MAX_DEPTH} deep")
        num_before = len(self._rules.offsets)
        rule = self._make_symbol(begin)
        self._depth += 1
        self._at += 1
        self._space(newlines=True)
        self._alternatives(rule, is_nested=True)
        if self._peek() != ")":
            reason = "unexpected character" if self._peek() else "the parenthesis is not closed"
            raise self._bad(reason, self._at if self._peek() else begin)
        self._depth -= 1
        self._at += 1
        items.add(Ref(rule), weight=len(self._rules.offsets) - num_before)

    def _repetition(self, items: _Items, *, is_nested: bool) -> None:
        begin = self._at
        if items.start == len(items.elements):
            raise self._bad("there is nothing to repeat")
        operator = self._text[self._at]
        self._at += 1
        self._space(newlines=is_nested)
        least, most = {"*": (0, None), "+": (1, None), "?": (0, 1)}.get(operator, (0, None))
        if operator == "{":
            least, most = self._bounds(begin, is_nested=is_nested)
        self._unroll(items, least, most, begin)

    def _bounds(self, begin: int, *, is_nested: bool) -> tuple[int, int | None]:
        least = self._integer(is_nested=is_nested)
        most: int | None = least
        if self._peek() == ",":
            self._at += 1
            self._space(newlines=is_nested)
            most = None if self._peek() == "}" else self._integer(is_nested=is_nested)
        if self._peek() != "}":
            raise self._bad("expected } after the number of repetitions")
        self._at += 1
        self._space(newlines=is_nested)
        if max(least, most or 0) > MAX_REPETITIONS:
            raise self._bad(f"more than {MAX_REPETITIONS} repetitions", begin)
        if most is not None and most < least:
            raise self._bad(f"at most {most} repetitions, but at least {least}", begin)
        return least, most

    def _unroll(self, items: _Items, least: int, most: int | None, begin: int) -> None:
        """Write a repetition as rules, one for each time that may be left out."""
        times = most or least or 1
        items.weight *= times
        if items.weight > MAX_REPETITIONS:
            raise self._bad(f"repetitions of repetitions: more than {MAX_REPETITIONS}", begin)
        item = items.elements[items.start :]
        num_optional = 1 if most is None else most - least
        self._count(len(item) * max(0, least - 1) + (len(item) + 1) * num_optional)
        items.elements[items.start :] = item * least
        last: Ref | None = None
        for _ in range(num_optional):
            rule = self._make_symbol(begin)
            rest = Ref(rule) if most is None else last
            self._rules.alternatives[rule] = [[*item, *([rest] if rest else [])], []]
            last = Ref(rule)
            if most is None:
                self._rules.repeated.add(rule)
        if last:
            items.elements.append(last)

    def _integer(self, *, is_nested: bool) -> int:
        begin = self._at
        while self._peek() in tuple(string.digits):
            self._at += 1
        digits = self._text[begin : self._at]
        if not digits:
            raise self._bad("expected a number")
        if len(digits) > MAX_NUMBER_DIGITS:
            raise self._bad(f"more than {MAX_REPETITIONS} repetitions", begin)
        self._space(newlines=is_nested)
        return int(digits)

    def _char(self, unclosed: str, begin: int) -> int:
        """Read one character of a literal or a class."""
        if self._at >= self._end:
            raise self._bad(unclosed, begin)
        code, self._at = read_char(self._text, self._at)
        return code

    def _name(self) -> str:
        begin = self._at
        while self._peek() in WORD:
            self._at += 1
        if self._at == begin:
            raise self._bad("expected the name of a rule: letters, digits and -")
        return self._text[begin : self._at]

    def _number(self, name: str, offset: int) -> int:
        """Return the number of a named rule."""
        if name not in self._rules.numbers:
            self._rules.numbers[name] = self._make_symbol(offset)
        return self._rules.numbers[name]

    def _make_symbol(self, offset: int) -> int:
        if len(self._rules.offsets) == MAX_SYMBOLS:
            raise self._bad(f"more than {MAX_SYMBOLS} rules, repetitions written out", offset)
        self._rules.offsets.append(offset)
        return len(self._rules.offsets) - 1

    def _count(self, num_elements: int) -> None:
        self._num_elements += num_elements
        if self._num_elements > MAX_ELEMENTS:
            raise self._bad(f"more than {MAX_ELEMENTS} elements, repetitions written out")

    def _space(self, *, newlines: bool) -> None:
        skipped = " \t\r\n" if newlines else " \t"
        while char := self._peek():
            if char == "#":
                while self._peek() not in ("", "\r", "\n"):
                    self._at += 1
            elif char in skipped:
                self._at += 1
            else:
                return

    def _peek(self) -> str:
        return self._text[self._at] if self._at < self._end else ""

    def _bad(self, reason: str, offset: int | None = None) -> InvalidRequest:
        return refuse(self._text, self._at if offset is None else offset, reason)
