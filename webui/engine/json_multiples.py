"""The multiples of a whole number, digit by digit, as GBNF.

Knows remainders. A rule stands for what was read so far, told apart only as far as it matters for
what may come: the states of the least automaton that divides.

Source: the partition refinement of E. F. Moore, Gedanken-experiments on sequential machines, 1956.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from webui.engine.json_rules import repeated

if TYPE_CHECKING:
    from webui.engine.json_rules import Expression, RuleBook

MAX_STEP = 1000
MAX_RULES = 300


class Multiples:
    """What may stand behind the first digits of a multiple.

    Args:
        step: Of what they are multiples; 1 allows all.
        num_digits: How long they may be.
        book: Takes the rules.

    Raises:
        OverflowError: It would take too many rules.
    """

    def __init__(self, step: int, num_digits: int, book: RuleBook) -> None:
        if step > MAX_STEP:
            raise OverflowError(f"a step of {step} takes more than {MAX_RULES} rules")
        self._step = step
        self._book = book
        self._states = _states(step)
        num_rules = (max(self._states) + 1) * (num_digits - 1) if step > 1 else 0
        if num_rules > MAX_RULES:
            raise OverflowError(
                f"a step of {step} takes more than {MAX_RULES} rules for {num_digits} digits"
            )
        self._known: dict[tuple[int, int, int, str], Expression | None] = {}

    def has(self, value: int) -> bool:
        """Return whether a value is one of them."""
        return value % self._step == 0

    def behind(self, value: int, least: int, most: int, ending: Expression) -> Expression | None:
        """Return what stands behind some digits: `least` to `most` more, and an ending.

        Returns:
            None where nothing makes it a multiple.
        """
        if self._step == 1:
            digits = repeated("[0-9]", least, most)
            return " ".join(part for part in (digits, ending) if part != '""') or '""'
        remainder = value % self._step
        key = (self._states[remainder], least, most, ending)
        if key not in self._known:
            self._known[key] = self._rule(remainder, least, most, ending)
        return self._known[key]

    def _rule(self, remainder: int, least: int, most: int, ending: Expression) -> Expression | None:
        groups: dict[Expression, str] = {}
        for digit in range(10) if most else ():
            following = remainder * 10 + digit
            end = self.behind(following, max(0, least - 1), most - 1, ending)
            if end is not None:
                groups[end] = groups.get(end, "") + str(digit)
        parts = [f"[{chars}] {end}" for end, chars in groups.items()]
        if remainder == 0 and least == 0:
            parts.append(ending)
        return self._book.add(" | ".join(parts)) if parts else None


def _states(step: int) -> list[int]:
    """Return the state of each remainder; those that no digits behind tell apart share one."""
    states = [int(remainder != 0) for remainder in range(step)]
    num_states = len(set(states))
    while True:
        numbers: dict[tuple[int, ...], int] = {}
        following = []
        for remainder in range(step):
            nexts = (states[(remainder * 10 + digit) % step] for digit in range(10))
            following.append(numbers.setdefault((states[remainder], *nexts), len(numbers)))
        states = following
        if len(numbers) == num_states:
            return states
        num_states = len(numbers)
