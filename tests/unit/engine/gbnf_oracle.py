"""A slow and simple reader of grammars: does a text match, and what texts are there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from webui.engine.gbnf import Chars, Element, Ref, Rules, Token, read_rules

if TYPE_CHECKING:
    from random import Random

LAST = 0x10FFFF


class Grammar:
    """A grammar as a set of texts."""

    def __init__(self, text: str) -> None:
        self._rules: Rules = read_rules(text)
        self._root = self._rules.numbers["root"]
        self._heights = self._find_heights()

    def matches(self, text: str) -> bool:
        """Follow every way through the grammar, character by character."""
        stacks = self._expand({(Ref(self._root),)})
        for char in text:
            following = {
                stack[1:] for stack in stacks if stack and _fits(_chars(stack[0]), ord(char))
            }
            stacks = self._expand(following)
        return () in stacks

    def num_ways(self, text: str) -> int:
        """Return in how many ways at most a beginning of a text may go on with a character."""
        stacks = self._expand({(Ref(self._root),)})
        most = 0
        for char in text:
            following = [s[1:] for s in stacks if s and _fits(_chars(s[0]), ord(char))]
            most = max(most, len(following))
            stacks = self._expand(set(following))
        return most

    def lengths(self) -> tuple[int, int]:
        """Return the characters of the shortest and the longest text, of rules without circles."""
        return self._lengths(self._root, {})

    def _lengths(self, rule: int, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
        if rule not in known:
            sums = []
            for way in self._rules.alternatives[rule]:
                parts = [
                    self._lengths(part.rule, known) if isinstance(part, Ref) else (1, 1)
                    for part in way
                ]
                sums.append((sum(low for low, _ in parts), sum(high for _, high in parts)))
            known[rule] = (min(low for low, _ in sums), max(high for _, high in sums))
        return known[rule]

    def write(self, rng: Random, budget: int = 30) -> str:
        """Return one of its texts; below the budget the shortest way is taken."""
        return self._write(self._root, rng, budget)

    def _write(self, rule: int, rng: Random, budget: int) -> str:
        alternatives = self._rules.alternatives[rule]
        if budget <= 0:
            alternatives = [min(alternatives, key=self._height)]
        said = ""
        for element in rng.choice(alternatives):
            if isinstance(element, Ref):
                said += self._write(element.rule, rng, budget - 1)
            else:
                said += _pick(_chars(element), rng)
        return said

    def _expand(self, stacks: set[tuple[Element, ...]]) -> set[tuple[Element, ...]]:
        seen: set[tuple[Element, ...]] = set()
        unseen = list(stacks)
        while unseen:
            stack = unseen.pop()
            if stack in seen:
                continue
            seen.add(stack)
            if stack and isinstance(stack[0], Ref):
                ways = self._rules.alternatives[stack[0].rule]
                unseen += [(*way, *stack[1:]) for way in ways]
        return {stack for stack in seen if not stack or not isinstance(stack[0], Ref)}

    def _height(self, alternative: list[Element]) -> float:
        refs = [element.rule for element in alternative if isinstance(element, Ref)]
        return 1 + max((self._heights[rule] for rule in refs), default=0)

    def _find_heights(self) -> dict[int, float]:
        self._heights = dict.fromkeys(self._rules.alternatives, float("inf"))
        is_changed = True
        while is_changed:
            is_changed = False
            for rule, alternatives in self._rules.alternatives.items():
                height = min(map(self._height, alternatives))
                if height < self._heights[rule]:
                    self._heights[rule] = height
                    is_changed = True
        return self._heights


def _chars(element: Element) -> Chars:
    assert isinstance(element, Chars), "no oracle for tokens"
    assert not isinstance(element, Token)
    return element


def _fits(chars: Chars, code: int) -> bool:
    return any(low <= code <= high for low, high in chars.ranges) != chars.is_negated


def _pick(chars: Chars, rng: Random) -> str:
    if not chars.is_negated:
        low, high = rng.choice(chars.ranges)
        codes = [low, high, rng.randint(low, high)]
    else:
        codes = [rng.randint(0x20, 0x7E) for _ in range(20)] + [0xE9, 0x4E2D, 0x1F600]
        codes = [code for code in codes if _fits(chars, code)]
    rng.shuffle(codes)
    return chr(next(code for code in codes if not 0xD800 <= code <= 0xDFFF))
