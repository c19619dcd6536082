"""Numbers of JSON within bounds, and multiples of a step, as GBNF.

Knows digits; knows no schema. What a digit may be depends on the digits before it alone, so no
two ways to write a number begin alike. Numbers have up to 15 digits before the point, and as many
behind it as a double tells apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from webui.engine.json_multiples import Multiples
from webui.engine.json_rules import MAX_DIGITS, quoted, repeated

if TYPE_CHECKING:
    from collections.abc import Callable

    from webui.engine.json_rules import Expression, RuleBook

MAX_FRACTION_DIGITS = 6
MAX_ENDINGS = 200
END = 10**MAX_DIGITS


class BadStep(Exception):  # noqa: N818 - it says what is so, as the names in errors.py do
    """The multiples of a step are more than a grammar can say."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Between which values a number lies; by default all that are written.

    Attributes:
        low: Least value.
        high: Largest value.
        is_above: `low` itself does not count.
        is_below: `high` itself does not count.
        step: What it is a multiple of; None leaves that free.
    """

    low: Fraction = Fraction(-END)
    high: Fraction = Fraction(END)
    is_above: bool = True
    is_below: bool = True
    step: Fraction | None = None

    def allows(self, value: Fraction) -> bool:
        """Return whether a value lies between them."""
        is_low = value < self.low or (self.is_above and value == self.low)
        is_high = value > self.high or (self.is_below and value == self.high)
        return not (is_low or is_high)

    def mirrored(self) -> Bounds:
        """Return the bounds of the same numbers without their minus."""
        return Bounds(-self.high, -self.low, self.is_below, self.is_above, self.step)


def integer_between(bounds: Bounds, book: RuleBook) -> Expression:
    """Return the whole numbers within bounds; empty when there are none.

    Raises:
        BadStep: The step is not one that can be kept.
    """
    step = 1 if bounds.step is None else bounds.step.numerator
    zeros = len(str(step)) - len(str(step).rstrip("0"))
    unit = 10**zeros
    low = -(-bounds.low // unit)
    high = bounds.high // unit
    low += bounds.is_above and low * unit == bounds.low
    high -= bounds.is_below and high * unit == bounds.high
    try:
        multiples = Multiples(step // unit, len(str(max(-low, high, 1))), book)
    except OverflowError as error:
        raise BadStep(str(error)) from error
    ending = quoted("0" * zeros)
    parts: list[Expression] = ['"0"'] if low <= 0 <= high else []
    below = _Naturals(max(1, -high), -low, multiples, ending).expression()
    parts += [f'"-" ({below})'] if below else []
    above = _Naturals(max(1, low), high, multiples, ending).expression()
    parts += [above] if above else []
    return " | ".join(parts)


def number_between(bounds: Bounds, book: RuleBook) -> Expression:
    """Return the numbers within bounds, without exponents; empty when there are none.

    Raises:
        BadStep: The step is not one that can be kept.
    """
    if bounds.step is not None and bounds.step.denominator == 1:
        return integer_between(bounds, book)
    endings = _endings(bounds.step)
    one = Multiples(1, MAX_DIGITS, book)
    parts: list[Expression] = []
    if bounds.low < 0 and (below := _positive(bounds.mirrored(), endings, one)):
        parts.append(f'"-" ({below})')
    if bounds.high >= 0 and (above := _positive(bounds, endings, one)):
        parts.append(above)
    return " | ".join(parts)


def _positive(bounds: Bounds, endings: list[str] | int | None, one: Multiples) -> Expression:
    """Return the numbers within bounds that have no minus."""
    first = max(0, bounds.low // 1)
    last = bounds.high // 1
    last -= bounds.is_below and last == bounds.high
    edges = {
        edge
        for edge in (first, last)
        if not bounds.allows(Fraction(edge))
        or bounds.high < edge + 1
        or bounds.high == edge + 1 < END
    }

    def fraction(whole: int) -> Expression | None:
        return _Fractions(bounds, whole, endings).expression()

    usual = _Fractions(Bounds(), 0, endings).expression()
    assert usual is not None
    naturals = _Naturals(max(1, first), last, one, usual, edges, fraction)
    parts = [naturals.expression()]
    if first == 0 and last >= 0 and (behind := fraction(0)):
        parts.insert(0, f'"0" {behind}')
    return " | ".join(filter(None, parts))


def _endings(step: Fraction | None) -> list[str] | int | None:
    """Return what may stand behind the point: up to some digits, or one of some."""
    if step is None:
        return None
    parts = step.denominator
    digits = str(parts)
    if step.numerator == 1 and digits == "1" + "0" * (len(digits) - 1) and len(digits) <= 16:
        return len(digits) - 1
    num_places = next((n for n in range(MAX_DIGITS) if 10**n % parts == 0), None)
    if step.numerator != 1 or num_places is None or parts > MAX_ENDINGS:
        raise BadStep("a step below 1 is 0.1, 0.01 and so on, 0.5, 0.25, 0.2, 0.05 or the like")
    unit = 10**num_places // parts
    return [f"{unit * part:0{num_places}}".rstrip("0") for part in range(1, parts)]


class _Naturals:
    """Whole numbers from 1 on, and what stands behind each.

    Args:
        low: Least, from 1 on.
        high: Largest.
        multiples: Which of them.
        ending: What stands behind most of them.
        edges: Those with something else behind them.
        behind: What that is; None where there is no way to write it.
    """

    def __init__(
        self,
        low: int,
        high: int,
        multiples: Multiples,
        ending: Expression,
        edges: set[int] | None = None,
        behind: Callable[[int], Expression | None] | None = None,
    ) -> None:
        self._low, self._high = low, high
        self._multiples = multiples
        self._ending = ending
        self._edges = edges or set()
        self._behind = behind

    def expression(self) -> Expression:
        """Return all of them; empty when there are none."""
        return " | ".join(_by_digit(range(1, 10), lambda digit: self._after(digit, 1)))

    def _after(self, value: int, length: int) -> Expression | None:
        """Return what stands behind the first digits of a number."""
        sizes: list[int] = []
        is_free = True
        for more in range(len(str(self._high)) - length + 1):
            first, last = value * 10**more, (value + 1) * 10**more - 1
            if last < self._low or first > self._high:
                continue
            sizes.append(more)
            is_free &= self._low <= first and last <= self._high
            is_free &= not any(first <= edge <= last for edge in self._edges)
        if not sizes:
            return None
        if is_free:
            return self._multiples.behind(value, sizes[0], sizes[-1], self._ending)
        parts = _by_digit(range(10), lambda digit: self._after(value * 10 + digit, length + 1))
        if sizes[0] == 0 and self._multiples.has(value):
            is_edge = value in self._edges and self._behind is not None
            end = self._behind(value) if is_edge and self._behind else self._ending
            parts += [] if end is None else [end]
        return " | ".join(parts) or None


class _Fractions:
    """What may stand behind a whole number so that bounds are kept; `endings` as of `_endings`."""

    def __init__(self, bounds: Bounds, whole: int, endings: list[str] | int | None) -> None:
        self._bounds, self._whole = bounds, whole
        self._endings = endings if isinstance(endings, list) else None
        self._num_places = MAX_FRACTION_DIGITS
        if isinstance(endings, int):
            self._num_places = endings
        elif any(whole <= end <= whole + 1 for end in (bounds.low, bounds.high)):
            wanted = max(MAX_FRACTION_DIGITS, _num_places(bounds.low), _num_places(bounds.high))
            self._num_places = min(wanted, MAX_DIGITS - (len(str(whole)) if whole else 0))

    def expression(self) -> Expression | None:
        """Return them; None where even the whole number breaks the bounds and all behind it do."""
        if self._endings is None:
            digits = self._after(0, 0)
        else:
            fits = [text for text in self._endings if self._allows(int(text), len(text))]
            digits = " | ".join(map(quoted, fits)) or None
        is_whole = self._allows(0, 0)
        if digits is None:
            return '""' if is_whole else None
        return f'("." ({digits}))?' if is_whole else f'"." ({digits})'

    def _allows(self, value: int, length: int) -> bool:
        return self._bounds.allows(self._whole + Fraction(value, 10**length))

    def _after(self, value: int, length: int) -> Expression | None:
        """Return what stands behind the first digits of a fraction."""
        bounds = self._bounds
        first = self._whole + Fraction(value, 10**length)
        last = first + Fraction(1, 10**length)  # itself is not reached
        if last <= bounds.low or first > bounds.high or (first == bounds.high and bounds.is_below):
            return None
        room = self._num_places - length
        if bounds.allows(first) and last <= bounds.high:
            least = 1 if length == 0 else 0
            return repeated("[0-9]", least, room) if room >= least else None
        parts: list[Expression] = []
        if room > 0:
            parts = _by_digit(range(10), lambda digit: self._after(value * 10 + digit, length + 1))
        if length and bounds.allows(first):
            parts.append('""')
        return " | ".join(parts) or None


def _by_digit(digits: range, behind: Callable[[int], Expression | None]) -> list[Expression]:
    """Return the ways to go on with a digit, those with the same behind them as one."""
    groups: dict[Expression, str] = {}
    for digit in digits:
        end = behind(digit)
        if end is not None:
            groups[end] = groups.get(end, "") + str(digit)
    return [f"[{chars}]" if end == '""' else f"[{chars}] ({end})" for end, chars in groups.items()]


def _num_places(value: Fraction) -> int:
    """Return how many digits behind the point a value has, up to 15."""
    return next((n for n in range(MAX_DIGITS) if value * 10**n % 1 == 0), MAX_DIGITS)
