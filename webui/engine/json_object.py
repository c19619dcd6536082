"""Objects of JSON as rules of GBNF: members in their order, with commas where they belong.

Knows rules for values, not schemas. Objects of which one may come are told apart member by member:
as long as they go the same way there is one way to go on, so that nothing is read twice. Without
this, objects within objects that begin alike would double the ways at each depth.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from webui.engine.json_rules import listed, quoted, repeated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from webui.engine.json_rules import Expression, RuleBook

MAX_STEPS = 2000  # from one member to the next, in all objects of which one may come


@dataclass(frozen=True, slots=True)
class Member:
    """A member that has a name.

    Attributes:
        rule: Name of the rule of name and value.
        is_required: It is always there.
    """

    rule: str
    is_required: bool


@dataclass(frozen=True, slots=True)
class ObjectForm:
    """What an object looks like.

    Attributes:
        members: Those with a name.
        extra: Rule of each other member, behind these; empty where there is none.
        max_extra: How many of these there are; None for any number.
        has_some: The object is not empty.
    """

    members: tuple[Member, ...]
    extra: str = ""
    max_extra: int | None = None
    has_some: bool = False

    @property
    def can_be(self) -> bool:
        """Whether there is such an object."""
        return bool(self.members or self.extra or not self.has_some)


Place: TypeAlias = tuple[int, int]
"""Number of an object, and how many of its members lie behind."""


def object_rule(form: ObjectForm, book: RuleBook) -> Expression:
    """Return the objects of one form."""
    extra = form.extra
    first: Expression | None = None
    if extra:
        first = listed(extra, int(form.has_some), form.max_extra)
    elif not form.has_some:
        first = '""'
    rests = _rests(form, book)
    for index, member in reversed(list(enumerate(form.members))):
        alone = f"{member.rule} {rests[index + 1]}"
        is_only = member.is_required or first is None
        first = alone if is_only else f"{alone} | {book.add(first or '')}"
    assert first is not None, "there is such an object"
    return f'"{{" ws {book.add(first)} ws "}}"'


def _rests(form: ObjectForm, book: RuleBook) -> list[str]:
    """Return the rules of what stands behind each number of members, commas first."""
    rest = repeated(f'(ws "," ws {form.extra})', 0, form.max_extra) if form.extra else '""'
    rests = [book.add(rest)]
    for member in reversed(form.members):
        sign = "" if member.is_required else "?"
        rests.append(book.add(f'(ws "," ws {member.rule}){sign} {rests[-1]}'))
    return rests[::-1]


def either_rule(forms: Sequence[ObjectForm], book: RuleBook) -> Expression:
    """Return the objects that have one of several forms."""
    forms = list(dict.fromkeys(forms))
    plain = [form for form in forms if form.has_some or form.max_extra is not None]
    others = [form for form in forms if form not in plain]
    together = _Either(others, book).expression() if len(others) > 1 else None
    if together is None:
        plain = forms
    parts = [book.add(object_rule(form, book)) for form in plain]
    return " | ".join([*parts, *([together] if together else [])])


class _Either:
    """Objects of several forms that are written at the same time, as far as they go alike.

    Source: the subset construction of M. O. Rabin and D. Scott, 1959.
    """

    def __init__(self, forms: Sequence[ObjectForm], book: RuleBook) -> None:
        self._forms = forms
        self._book = book
        self._num_steps = 0
        self._names: dict[frozenset[Place], str] = {}
        self._rests: dict[int, list[str]] = {}

    def expression(self) -> Expression | None:
        """Return them; None where it would take too many steps."""
        start = frozenset((number, 0) for number in range(len(self._forms)))
        ways, can_end = self._ways(start)
        parts = [f"{member} {self._behind(places)}" for member, places in ways.items()]
        if self._num_steps > MAX_STEPS:
            return None
        return f'"{{" ws ({" | ".join([*parts, *_closed(can_end=can_end)])})'

    def _ways(self, places: frozenset[Place]) -> tuple[dict[str, frozenset[Place]], bool]:
        """Return the members that may come next and where they lead; whether the end may come."""
        ways: dict[str, set[Place]] = {}
        can_end = False
        for number, index in sorted(places):
            form = self._forms[number]
            for at, member in enumerate(form.members[index:], index):
                ways.setdefault(member.rule, set()).add((number, at + 1))
                if member.is_required:
                    break
            else:
                can_end = True
                if form.extra:
                    ways.setdefault(form.extra, set()).add((number, len(form.members)))
        self._num_steps += len(ways)
        return {member: frozenset(following) for member, following in ways.items()}, can_end

    def _behind(self, places: frozenset[Place]) -> str:
        """Return the rule of what stands behind a member, to the end of the object."""
        if places not in self._names and self._num_steps <= MAX_STEPS:
            if len(places) == 1:
                self._names[places] = self._alone(*next(iter(places)))
            else:
                self._names[places] = self._book.reserve()
                ways, can_end = self._ways(places)
                parts = [f"{member} {self._behind(after)}" for member, after in ways.items()]
                more = [f'"," ws ({" | ".join(parts)})'] if parts else []
                ends = _closed(can_end=can_end)
                self._book.define(self._names[places], f"ws ({' | '.join([*more, *ends])})")
        return self._names.get(places, "ws")

    def _alone(self, number: int, index: int) -> str:
        if number not in self._rests:
            self._rests[number] = _rests(self._forms[number], self._book)
        return self._book.add(f'{self._rests[number][index]} ws "}}"')


def _closed(*, can_end: bool) -> list[Expression]:
    return ['"}"'] if can_end else []


def named(name: str, value: str, book: RuleBook) -> str:
    """Return the rule of a member with a name."""
    return book.add(f'{quoted(json.dumps(name, ensure_ascii=False))} ws ":" ws {value}')


def other_key(names: Sequence[str], book: RuleBook) -> Expression:
    """Return the keys that are none of these; they are written without escapes."""
    return f'"\\"" {_other_rest(names, book)} "\\""' if names else "string"


def _other_rest(rests: Sequence[str], book: RuleBook) -> str:
    """Return the rule of texts that are none of these."""
    heads: dict[str, list[str]] = {}
    for rest in rests:
        if rest:
            heads.setdefault(rest[0], []).append(rest[1:])
    codes = "".join(f"\\U{ord(head):08X}" for head in heads)
    parts = [f'[^"\\\\\\x00-\\x1f\\x7f{codes}] bare*']
    for head, following in heads.items():
        if head.isprintable() and head not in '"\\':
            parts.append(f"{quoted(head)} {_other_rest(following, book)}")
    if "" not in rests:
        parts.append('""')
    return book.add(" | ".join(parts))
