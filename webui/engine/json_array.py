"""Arrays of JSON as rules of GBNF: items in their places, or each of some values at most once.

Knows rules for items, not schemas.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from webui.engine.json_rules import listed, repeated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from webui.engine.json_rules import Expression, RuleBook

MAX_UNIQUE = 64


@dataclass(frozen=True, slots=True)
class ArrayForm:
    """What an array looks like.

    Attributes:
        first: Rules of the items that have a place of their own.
        item: Rule of all behind them.
        low: Least number of items.
        high: Largest number of items, at least that of `first`; None without end.
    """

    first: Sequence[str]
    item: str
    low: int
    high: int | None


def array_rule(form: ArrayForm) -> Expression:
    """Return the arrays of a form; all items that have a place of their own are there."""
    num_more = None if form.high is None else form.high - len(form.first)
    body = ' ws "," ws '.join(form.first)
    if num_more == 0:
        return f'"[" ws {body} ws "]"' if body else '"[" ws "]"'
    if not form.first:
        return f'"[" ws {listed(form.item, form.low, form.high)} ws "]"'
    least = max(0, form.low - len(form.first))
    return f'"[" ws {body} {repeated(f"""(ws "," ws {form.item})""", least, num_more)} ws "]"'


def unique_rule(values: Sequence[Expression], low: int, high: int, book: RuleBook) -> Expression:
    """Return the arrays of some of these values, each at most once, in the order given here."""
    high = min(high, len(values))
    # By how many were written before: what stands behind the values seen so far.
    rests = [book.add('""') if low <= count <= high else "" for count in range(len(values) + 1)]
    firsts = rests[0]
    for value in reversed(values):
        with_value = [*rests[1:], ""]
        firsts = _either(f"{value} {with_value[0]}" if with_value[0] else "", firsts, book)
        rests = [
            _either(
                f'ws "," ws {value} {with_value[count]}' if with_value[count] else "", rest, book
            )
            for count, rest in enumerate(rests)
        ]
    return f'"[" ws {firsts} ws "]"' if firsts else ""


def _either(one: Expression, other: str, book: RuleBook) -> str:
    return book.add(" | ".join(filter(None, (one, other)))) if one or other else ""
