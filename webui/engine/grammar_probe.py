"""Whether some text makes a grammar dear to follow, character after character.

Tries texts as somebody would who wishes ill: where going on was dearest, it goes on first. What it
does not find in some hundred places, the reply finds.
"""

from __future__ import annotations

import heapq
from itertools import count, islice
from typing import TYPE_CHECKING, NamedTuple

from webui.engine.grammar_automaton import LAST, State, TooMuchWork
from webui.errors import GrammarTooAmbiguous

if TYPE_CHECKING:
    from collections.abc import Iterator

    from webui.engine.grammar_automaton import Automaton

DEAR = 500  # items looked at for one character
MAX_DEAR = 64  # such characters in a row
MAX_STATES = 450
MAX_LOOKED_AT = 24  # characters in one place
MAX_TRIED = 3  # of them, those that most ways take
MAX_WORK = 400_000
MAX_SHOWN = 20


class _Way(NamedTuple):
    """A text that is tried; the one that compares least goes on first.

    Attributes:
        cost: Of its last character, negative.
        order: Negative too: of what is equally dear, the latest goes on.
        num_dear: How many of its last characters were dear.
        said: The text.
        state: Behind it.
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
    unseen = [_Way(0, 0, 0, "", automaton.start)]
    seen = {automaton.start}
    said = ""
    automaton.allow(MAX_WORK)
    try:
        while unseen and len(seen) < MAX_STATES:
            way = heapq.heappop(unseen)
            for code in _codes(way.state):
                before = automaton.left
                said = way.said + chr(code)
                following = automaton.after(way.state, code)
                if following is None or following in seen:
                    continue
                seen.add(following)
                cost = before - automaton.left
                num_dear = way.num_dear + 1 if cost > DEAR else 0
                if num_dear == MAX_DEAR:
                    raise _refusal(said)
                heapq.heappush(unseen, _Way(-cost, -next(order), num_dear, said, following))
    except TooMuchWork as error:
        raise _refusal(said) from error
    automaton.forget()


def _codes(state: State) -> list[int]:
    """Return some characters that may come next, those first that most ways take."""
    codes = list(islice(dict.fromkeys(_each(state)), MAX_LOOKED_AT))
    codes.sort(key=lambda code: -state.num_taking(code))
    return codes[:MAX_TRIED]


def _each(state: State) -> Iterator[int]:
    by_number = sorted(state.exact, key=lambda code: -len(state.exact[code]))
    yield from by_number[: MAX_LOOKED_AT // 2]
    for chars, _ in state.classes:
        if chars.is_negated:
            others = (high + 1 for _, high in chars.ranges)
            yield next((code for code in others if code <= LAST), 0)
        yield from (low for low, _ in chars.ranges)


def _refusal(said: str) -> GrammarTooAmbiguous:
    text = said if len(said) <= MAX_SHOWN else f"{said[:MAX_SHOWN]}…"
    return GrammarTooAmbiguous(
        f"The grammar or schema can be kept in too many ways at once to follow them all, as behind "
        f"{len(said)} characters that begin with {text!r}",
        "Let fewer ways begin alike, and bound repetitions within repetitions.",
    )
