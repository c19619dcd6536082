"""Whether some text makes a grammar dear to follow, character after character.

Tries texts as somebody would who wishes ill: where going on was dearest, it goes on first. What it
does not find in some hundred places, the reply finds.
"""

from __future__ import annotations

import heapq
from itertools import count, islice
from typing import TYPE_CHECKING, NamedTuple

from webui.engine.grammar_automaton import State, TooMuchWork
from webui.errors import GrammarTooAmbiguous

if TYPE_CHECKING:
    from webui.engine.grammar_automaton import Automaton

DEAR = 500  # items looked at for one character
MAX_DEAR = 64  # such characters in a row
MAX_TRIED = 1000  # characters in all
MAX_CHEAP = 300  # where none of them was dear
MAX_LOOKED_AT = 24  # characters in one place
MAX_WORK = 400_000
MAX_SHOWN = 20


class _Way(NamedTuple):
    """A character that is to be tried; of several the one that compares least.

    Attributes:
        cost: Of the character before it and likely of itself, negative.
        order: Negative too: of what is equally dear, the latest goes on.
        num_dear: How many characters before it were dear, without a cheap one between them.
        said: The text with it.
        state: Before it.
    """

    cost: int
    order: int
    num_dear: int
    said: str
    state: State


def check_ways(automaton: Automaton) -> None:
    """Refuse a grammar that can be kept in too many ways at once.

    Bounded work: at most some tenths of a second. The automaton forgets all that it knew.

    Raises:
        GrammarTooAmbiguous: Names a text that leads there.
    """
    order = count()
    unseen: list[_Way] = []
    seen: set[State] = set()
    said, num_tried, max_tried = "", 0, MAX_CHEAP
    num_looked_at, cost, num_dear, state = 0, 0, 0, automaton.start
    automaton.allow(MAX_WORK)
    try:
        while num_tried < max_tried and num_looked_at < MAX_WORK:
            if state not in seen:
                seen.add(state)
                codes = _codes(state)
                num_looked_at += len(codes) * len(state.items)
                for code in codes:
                    likely = -cost - _likely(state, code)
                    way = _Way(likely, -next(order), num_dear, said + chr(code), state)
                    heapq.heappush(unseen, way)
            if not unseen:
                break
            _, _, num_dear, said, before = heapq.heappop(unseen)
            num_tried += 1
            left = automaton.left
            state = automaton.after(before, ord(said[-1])) or before
            cost = left - automaton.left
            num_dear = num_dear + 1 if cost > DEAR else 0
            max_tried = MAX_TRIED if num_dear else max_tried
            if num_dear == MAX_DEAR:
                raise _refusal(said)
    except TooMuchWork as error:
        raise _refusal(said) from error
    automaton.forget()


def _codes(state: State) -> list[int]:
    """Return some characters that may come next, those last that most ways take."""
    codes = sorted(state.exact, key=lambda code: -len(state.exact[code]))[: MAX_LOOKED_AT // 2]
    for chars in islice(state.classes, MAX_LOOKED_AT):
        codes += chars.some(MAX_LOOKED_AT // 2)
    return sorted(list(dict.fromkeys(codes))[:MAX_LOOKED_AT], key=lambda code: _likely(state, code))


def _likely(state: State, code: int) -> int:
    """Return about what going on with a character costs."""
    return sum(1 + len(frame.returns) for _, frame in state.taken(code))


def _refusal(said: str) -> GrammarTooAmbiguous:
    text = said if len(said) <= MAX_SHOWN else f"{said[:MAX_SHOWN]}…"
    return GrammarTooAmbiguous(
        f"The grammar or schema can be kept in too many ways at once to follow them all, as behind "
        f"{len(said)} characters that begin with {text!r}",
        "Let fewer ways begin alike, and bound repetitions within repetitions.",
    )
