"""Whether a grammar can be kept without saying what is banned.

Knows rules and strings, no vocabulary: a grammar that passes may yet find no token. Where the
answer would take too long it is yes, and the model finds out.

Source: the intersection of a context-free grammar with a regular language (Bar-Hillel, Perles and
Shamir, 1961), over the automaton of Aho and Corasick (1975), computed top down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from webui.engine.gbnf import Chars, Ref, read_rules
from webui.engine.grammar import ROOT
from webui.errors import NothingAllowed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from webui.engine.gbnf import Rules

FIELD = "banned_strings"
MAX_WORK = 100_000  # places and letters that are looked at
NUM_CHARACTERS = 0x110000 - 0x800  # of Unicode, without the halves of surrogate pairs
START = 0


def check_bans(grammar: str, banned: Sequence[str], stop: Sequence[str]) -> None:
    """Refuse banned strings without which nothing that keeps to a grammar can be said.

    A grammar that never ends is not asked: what it allows is cut off somewhere.

    Args:
        grammar: GBNF that `check_grammar` has passed; empty for a free reply.
        banned: What must not be said.
        stop: What ends the reply, so that what must come behind it need not be said.

    Raises:
        NothingAllowed: They contradict each other.
    """
    if not (grammar and banned):
        return
    rules = read_rules(grammar)
    if not _can_end(rules, _Words(banned, stop)) and _can_end(rules, _Words((), ())):
        raise NothingAllowed(
            f"{FIELD}: all that keeps to the grammar or schema says one of them",
            "Ban fewer strings, or let the grammar or schema allow more.",
            field=FIELD,
        )


class _Words:
    """Which words a text may be in the middle of: the states of their automaton.

    Args:
        banned: A text that says one is of no use.
        stop: A text that says one is complete.
    """

    def __init__(self, banned: Sequence[str], stop: Sequence[str]) -> None:
        self._next: list[dict[str, int]] = [{}]
        self._shorter = [START]  # the longest other beginning of a word that a state ends with
        self._is_banned = [False]
        self._is_stop = [False]
        for word in banned:
            self._is_banned[self._add(word)] = True
        for word in stop:
            self._is_stop[self._add(word)] = True
        self._link()
        self._letters = frozenset("".join((*banned, *stop)))
        self._in_class: dict[Chars, list[str]] = {}

    def after(self, chars: Chars, state: int) -> set[int]:
        """Return the states behind one of some characters; those of what is banned left out."""
        letters = self._letters_of(chars)
        states = {self._after(state, letter) for letter in letters}
        if _size(chars) > len(letters):
            states.add(START)  # a letter of no word
        return {state for state in states if not self._is_banned[state]}

    def is_stop(self, state: int) -> bool:
        """Return whether a text ends here."""
        return self._is_stop[state]

    def num_letters(self, chars: Chars) -> int:
        """Return how many letters `after` looks at."""
        return len(self._letters_of(chars))

    def _letters_of(self, chars: Chars) -> list[str]:
        found = self._in_class.get(chars)
        if found is None:
            found = [letter for letter in self._letters if _is_in(letter, chars)]
            self._in_class[chars] = found
        return found

    def _add(self, word: str) -> int:
        state = START
        for letter in word:
            if letter not in self._next[state]:
                self._next[state][letter] = len(self._next)
                self._next.append({})
                self._shorter.append(START)
                self._is_banned.append(False)
                self._is_stop.append(False)
            state = self._next[state][letter]
        return state

    def _link(self) -> None:
        """Find what each state ends with, the short ones first."""
        unseen = list(self._next[START].values())
        for state in unseen:  # grows while it is read
            for letter, longer in self._next[state].items():
                shorter = self._after(self._shorter[state], letter)
                self._shorter[longer] = shorter
                self._is_banned[longer] |= self._is_banned[shorter]
                self._is_stop[longer] |= self._is_stop[shorter]
                unseen.append(longer)

    def _after(self, state: int, letter: str) -> int:
        while state != START and letter not in self._next[state]:
            state = self._shorter[state]
        return self._next[state].get(letter, START)


class _Place(NamedTuple):
    """A place in a rule that a text can come to.

    Attributes:
        rule: Which.
        way: Index of the alternative.
        at: Elements of it that are said.
        begun: State in which the rule began.
        now: State of the text.
    """

    rule: int
    way: int
    at: int
    begun: int
    now: int


def _can_end(rules: Rules, words: _Words) -> bool:
    """Return whether a text that is of use comes to the end of the grammar, or to a stop string."""
    root = rules.numbers[ROOT]
    ends: dict[tuple[int, int], set[int]] = {(root, START): set()}  # by rule and where it began
    callers: dict[tuple[int, int], list[_Place]] = {(root, START): []}
    unseen = list(_begin(rules, root, START))
    seen: set[_Place] = set()
    work = 0
    while unseen:
        place = unseen.pop()
        if place in seen:
            continue
        seen.add(place)
        work += 1
        alternative = rules.alternatives[place.rule][place.way]
        if place.at == len(alternative):
            if place.rule == root and place.begun == START:
                return True
            ends[place.rule, place.begun].add(place.now)
            unseen += [c._replace(now=place.now) for c in callers[place.rule, place.begun]]
            continue
        element = alternative[place.at]
        following = place._replace(at=place.at + 1)
        if isinstance(element, Ref):
            call = element.rule, place.now
            if call not in ends:
                ends[call], callers[call] = set(), []
                unseen += _begin(rules, *call)
            callers[call].append(following)
            unseen += [following._replace(now=state) for state in ends[call]]
        elif isinstance(element, Chars):
            work += words.num_letters(element)
            states = words.after(element, place.now)
            if any(map(words.is_stop, states)):
                return True
            # The state furthest from any word is looked at first: most texts end soon from there.
            unseen += [following._replace(now=state) for state in sorted(states, reverse=True)]
        else:  # what a token says is the model's business
            return True
        if work > MAX_WORK:
            return True
    return False


def _begin(rules: Rules, rule: int, state: int) -> Iterator[_Place]:
    for way in range(len(rules.alternatives[rule])):
        yield _Place(rule, way, 0, state, state)


def _is_in(letter: str, chars: Chars) -> bool:
    return any(low <= ord(letter) <= high for low, high in chars.ranges) != chars.is_negated


def _size(chars: Chars) -> int:
    """Return how many characters are meant."""
    size, end = 0, -1
    for low, high in sorted(chars.ranges):
        size += max(0, high - max(low, end + 1) + 1)
        end = max(end, high)
    return NUM_CHARACTERS - size if chars.is_negated else size
