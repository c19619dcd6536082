"""Where a text stands in a grammar, character by character and byte by byte.

Knows rules and characters; knows no vocabulary. All ways through the grammar are followed at once:
a rule that several ways enter at one place is entered once, with all places to return to, so that
an ambiguous grammar costs what its rules times the length of the text cost, and not two to the
power of that length. States that are alike are one object, which remembers what follows it.

Source: the item sets of Earley, An efficient context-free parsing algorithm (1970), with the
shared stacks of Tomita, Efficient parsing for natural language (1985).
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, TypeAlias

from webui.engine.charset import LAST, Charset
from webui.engine.gbnf import Chars, Ref, Token, read_rules
from webui.engine.grammar import ROOT, reading_order

if TYPE_CHECKING:
    from collections.abc import Iterable

    from webui.engine.gbnf import Element

MAX_KEPT = 50_000  # items that are remembered, some hundred bytes each
NEW_COST = 8  # of a state, in items: whoever uses it keeps a table of what follows
HALVES = (0xD800, 0xDFFF)
LEADS = ((0xC2, 0xDF, 1, 0x80), (0xE0, 0xEF, 2, 0x800), (0xF0, 0xF4, 3, 0x10000))
CONTINUATION = 0b10


class TooMuchWork(Exception):  # noqa: N818 - it says what is so, as the names in errors.py do
    """The work that was allowed is used up."""


class Frame:
    """What follows a rule that was entered.

    Attributes:
        returns: The items that go on when it ends; empty for the rule root.
    """

    __slots__ = ("returns",)

    def __init__(self, returns: frozenset[Item]) -> None:
        self.returns = returns


Item: TypeAlias = tuple[int, Frame]
"""A place among the elements of a grammar, and the frame of the rule it stands in."""


class State:
    """All that may come next; made by `Automaton` alone.

    Attributes:
        items: What may come next, one element each.
        is_end: Whether the text may end here.
        exact: The items that follow one character.
        classes: Those that follow one of a set of characters.
        tokens: Tokens of the model that may come next, each with the item that follows.
        following: What is known to follow, by character; None where it cannot come.
        partials: The same for the first bytes of characters.
    """

    __slots__ = ("classes", "exact", "following", "is_end", "items", "partials", "tokens")

    def __init__(self, items: frozenset[Item], *, is_end: bool) -> None:
        self.items = items
        self.is_end = is_end
        self.exact: dict[int, list[Item]] = {}
        self.classes: dict[Charset, list[Item]] = {}
        self.tokens: list[tuple[Token, Item]] = []
        self.following: dict[int, State | None] = {}
        self.partials: dict[tuple[int, int], Partial | None] = {}

    def taken(self, code: int) -> list[Item]:
        """Return the items that follow a character."""
        found = [*self.exact.get(code, ())]
        for chars, items in self.classes.items():
            if chars.has(code):
                found += items
        return found


class Partial:
    """The middle of a character of several bytes.

    Attributes:
        before: Where the character began.
        value: The bits that are known; no matter where `target` is given.
        num_missing: Bytes still to come.
        least: The first character that takes so many bytes.
        target: What follows, where it is the same for all characters that may come of it.
    """

    __slots__ = ("before", "least", "num_missing", "target", "value")

    def __init__(
        self, before: State, value: int, num_missing: int, least: int, target: State | None
    ) -> None:
        self.before = before
        self.value = value
        self.num_missing = num_missing
        self.least = least
        self.target = target


class Automaton:
    """A grammar as states; used by one thread.

    Args:
        text: GBNF that `check_grammar` has passed.

    Attributes:
        start: The state before any text.
        left: Work that is still allowed, in items looked at.
        num_cleared: How often all that was remembered was forgotten.
    """

    def __init__(self, text: str) -> None:
        rules = read_rules(text)
        nullable, order = reading_order(rules)
        self._order = order
        self._ranks = {rule: rank for rank, rule in enumerate(order)}
        self._nullable = nullable
        self._elements: list[Charset | Ref | Token | None] = []
        known: dict[int, Charset | Ref | Token] = {}  # by identity: a set may have many ranges
        charsets: dict[Chars, Charset] = {}
        self._starts: dict[int, list[int]] = {}
        for rule, alternatives in rules.alternatives.items():
            self._starts[rule] = []
            for alternative in alternatives:
                self._starts[rule].append(len(self._elements))
                for element in alternative:
                    if id(element) not in known:
                        known[id(element)] = _compiled(element, charsets)
                    self._elements.append(known[id(element)])
                self._elements.append(None)
        self.token_names = frozenset(e.text for e in self._elements if isinstance(e, Token))
        self._bottom = Frame(frozenset())
        self._num_kept = 0
        self.num_cleared = 0
        self._closed: dict[frozenset[Item], State] = {}
        self._states: dict[tuple[frozenset[Item], bool], State] = {}
        self._frames: dict[frozenset[Item], Frame] = {}
        self._uniform: dict[tuple[State, int], Partial] = {}
        self.left = MAX_KEPT
        starts = self._starts[rules.numbers[ROOT]]
        self.start = self._close(frozenset((place, self._bottom) for place in starts))

    def allow(self, work: int) -> None:
        """Set how much may be done from here on; forget what takes too much memory."""
        self.left = work
        if self._num_kept > MAX_KEPT:
            self.forget()

    def forget(self) -> None:
        """Forget what follows what; states that are held stay good."""
        for state in (self.start, *self._states.values()):
            state.following.clear()
            state.partials.clear()
        self._closed.clear()
        self._states.clear()
        self._frames.clear()
        self._uniform.clear()
        self._num_kept = 0
        self.num_cleared += 1

    def after(self, state: State, code: int) -> State | None:
        """Return the state behind a character; None where it cannot come.

        Raises:
            TooMuchWork: More than was allowed.
        """
        if code in state.following:
            return state.following[code]
        kernel = state.taken(code)
        self._spend(1 + len(state.classes) + len(kernel))
        found = self._close(frozenset(kernel)) if kernel else None
        state.following[code] = found
        return found

    def after_byte(self, state: State | Partial, byte: int) -> State | Partial | None:
        """Return the state behind a byte of UTF-8; None where it cannot come.

        Raises:
            TooMuchWork: More than was allowed.
        """
        self._spend(1)
        if isinstance(state, Partial):
            return self._go_on(state, byte)
        if byte < 0x80:
            return self.after(state, byte) if byte else None
        for low, high, num_missing, least in LEADS:
            if low <= byte <= high:
                return self._partial(state, byte & (0x3F >> num_missing), num_missing, least)
        return None

    def after_bytes(self, state: State | Partial, data: bytes) -> State | Partial | None:
        """Return the state behind some bytes; None where they cannot come.

        Raises:
            TooMuchWork: More than was allowed.
        """
        found: State | Partial | None = state
        for byte in data:
            if found is None:
                break
            found = self.after_byte(found, byte)
        return found

    def after_items(self, items: Iterable[Item]) -> State | None:
        """Return the state behind tokens that `State.tokens` names; None for none."""
        kernel = frozenset(items)
        return self._close(kernel) if kernel else None

    def join(self, one: State, other: State) -> State:
        """Return the state of a text that may stand at either."""
        self._spend(len(one.items) + len(other.items))
        return self._state(one.items | other.items, is_end=one.is_end or other.is_end)

    def _spend(self, work: int) -> None:
        self.left -= work
        if self.left < 0:
            raise TooMuchWork

    def _close(self, kernel: frozenset[Item]) -> State:
        """Return the state of some items, in which each stands before a character or token.

        Rules are entered in an order in which whatever enters one comes before it: none begins
        with itself.
        """
        if (known := self._closed.get(kernel)) is not None:
            return known
        items: list[Item] = []
        callers: dict[int, set[Item]] = {}
        is_end = False
        seen: set[Item] = set()
        unseen = list(kernel)
        ranks: list[int] = []  # of rules that are to be entered, the last first
        while unseen or ranks:
            if not unseen:
                rule = self._order[-heapq.heappop(ranks)]
                frame = self._frame(frozenset(callers[rule]))
                unseen = [(place, frame) for place in self._starts[rule]]
                self._spend(len(unseen) + len(frame.returns))
            item = unseen.pop()
            if item in seen:
                continue
            seen.add(item)
            element = self._elements[item[0]]
            if element is None:
                is_end |= item[1] is self._bottom
                self._spend(len(item[1].returns))
                unseen.extend(item[1].returns)
            elif isinstance(element, Ref):
                if element.rule not in callers:
                    callers[element.rule] = set()
                    heapq.heappush(ranks, -self._ranks[element.rule])
                unseen.extend(self._enter(item, element.rule, callers[element.rule]))
            else:
                items.append(item)
        self._spend(len(seen))
        self._num_kept += len(kernel)
        state = self._closed[kernel] = self._state(frozenset(items), is_end=is_end)
        return state

    def _enter(self, item: Item, rule: int, callers: set[Item]) -> list[Item]:
        """Note what follows a rule; return it where the rule may be nothing."""
        place, frame = item[0] + 1, item[1]
        if self._elements[place] is None and frame is not self._bottom:
            self._spend(len(frame.returns))
            callers |= frame.returns  # nothing is left to do in this rule
        else:
            callers.add((place, frame))
        return [(place, frame)] if rule in self._nullable else []

    def _frame(self, returns: frozenset[Item]) -> Frame:
        if returns not in self._frames:
            self._num_kept += len(returns)
            self._frames[returns] = Frame(returns)
        return self._frames[returns]

    def _state(self, items: frozenset[Item], *, is_end: bool) -> State:
        known = self._states.get((items, is_end))
        if known is not None:
            return known
        self._spend(NEW_COST)
        state = self._states[items, is_end] = State(items, is_end=is_end)
        self._num_kept += len(items) + NEW_COST
        for place, frame in items:
            element, item = self._elements[place], (place + 1, frame)
            if isinstance(element, Token):
                state.tokens.append((element, item))
            elif isinstance(element, Charset):
                if element.only is None:
                    state.classes.setdefault(element, []).append(item)
                else:
                    state.exact.setdefault(element.only, []).append(item)
        return state

    def _go_on(self, partial: Partial, byte: int) -> State | Partial | None:
        if byte >> 6 != CONTINUATION:
            return None
        num_missing = partial.num_missing - 1
        if partial.target is not None:
            return self._same(partial.target, num_missing) if num_missing else partial.target
        value = partial.value << 6 | (byte & 0x3F)
        if num_missing:
            return self._partial(partial.before, value, num_missing, partial.least)
        is_char = partial.least <= value <= LAST and not HALVES[0] <= value <= HALVES[1]
        return self.after(partial.before, value) if is_char else None

    def _partial(self, state: State, value: int, num_missing: int, least: int) -> Partial | None:
        key = value, num_missing
        if key not in state.partials:
            state.partials[key] = self._new_partial(state, value, num_missing, least)
            self._num_kept += NEW_COST
        return state.partials[key]

    def _new_partial(
        self, state: State, value: int, num_missing: int, least: int
    ) -> Partial | None:
        self._spend(len(state.classes) + len(state.exact) + NEW_COST)
        low = max(least, value << 6 * num_missing)
        high = min(LAST, ((value + 1) << 6 * num_missing) - 1)
        if low > high or HALVES[0] <= low <= high <= HALVES[1]:
            return None
        is_mixed = any(low <= code <= high for code in state.exact)
        whole: list[Item] = []
        for chars, items in state.classes.items():
            share = chars.share(low, high)
            if share is None:
                is_mixed = True
            elif share:
                whole += items
        self._spend(len(whole))
        is_cut = low > value << 6 * num_missing or (low <= HALVES[1] and high >= HALVES[0])
        is_cut |= high < ((value + 1) << 6 * num_missing) - 1
        if is_mixed or (whole and is_cut):
            return Partial(state, value, num_missing, least, None)
        return self._same(self._close(frozenset(whole)), num_missing) if whole else None

    def _same(self, target: State, num_missing: int) -> Partial:
        """Return the middle of any character that leads to a state."""
        key = target, num_missing
        if key not in self._uniform:
            self._uniform[key] = Partial(target, 0, num_missing, 0, target)
        return self._uniform[key]


def _compiled(element: Element, charsets: dict[Chars, Charset]) -> Charset | Ref | Token:
    if not isinstance(element, Chars):
        return element
    if element not in charsets:
        charsets[element] = Charset(element)
    return charsets[element]
