"""Whether a grammar can be followed; what would take for ever is refused with its place.

A rule that calls itself first, through one that may be empty too, has no beginning. What passes
here is finite work to read and to begin with; whether it stays so is asked by `grammar_probe`.

Our own automaton follows it (`grammar_automaton`), neither llama.cpp nor llguidance: llama.cpp's
sampler takes exponential time over ambiguous grammars and ends the process over unexpected tokens;
llguidance would be a second native dependency with a copy of the vocabulary in memory, and does
not read the GBNF that clients of llama-server send.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from webui.engine.gbnf import Ref, Rules, read_rules
from webui.engine.gbnf_text import refuse

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from webui.errors import InvalidRequest

ROOT = "root"
MAX_BEGINNINGS = 4096  # ways in which a rule can begin
MAX_CHAIN = 5000  # rules that begin with each other
MAX_SEARCH = 5_000_000  # ways to come from rules to those that they begin with


def check_grammar(text: str) -> None:
    """Refuse a grammar that cannot be followed, or that llama.cpp would not understand.

    Bounded work: some tenths of a second for the largest that is allowed.

    Raises:
        InvalidRequest: Names line, column and reason.
    """
    rules = read_rules(text)
    _check_names(rules)
    leftmost = _find_leftmost(rules, _find_nullable(rules))
    _check_beginnings(rules, leftmost, _order(rules, leftmost))


def reading_order(rules: Rules) -> tuple[frozenset[int], list[int]]:
    """Return the rules that may be nothing, and all so that each comes after those it begins with.

    Raises:
        InvalidRequest: One begins with itself.
    """
    nullable = _find_nullable(rules)
    return nullable, _order(rules, _find_leftmost(rules, nullable))


def _check_names(rules: Rules) -> None:
    for name, rule in rules.numbers.items():
        if rule not in rules.alternatives:
            offset = rules.offsets[rule]
            raise refuse(rules.text, offset, f"the rule {name} is not defined")
    if ROOT not in rules.numbers:
        raise refuse(rules.text, 0, f"there is no rule {ROOT}")


def _find_nullable(rules: Rules) -> frozenset[int]:
    """Return the rules that may be nothing at all.

    Linear: each alternative counts the parts that are not yet known to be empty.
    """
    missing: list[int] = []
    owners: list[int] = []
    used_in: dict[int, list[int]] = {}
    for rule, alternatives in rules.alternatives.items():
        for alternative in alternatives:
            refs = [element.rule for element in alternative if isinstance(element, Ref)]
            if len(refs) < len(alternative):
                continue  # it has a character or a token
            for ref in refs:
                used_in.setdefault(ref, []).append(len(missing))
            missing.append(len(refs))
            owners.append(rule)
    found = {owner for owner, count in zip(owners, missing, strict=True) if count == 0}
    unseen = list(found)
    while unseen:
        for place in used_in.get(unseen.pop(), ()):
            missing[place] -= 1
            if missing[place] == 0 and owners[place] not in found:
                found.add(owners[place])
                unseen.append(owners[place])
    return frozenset(found)


def _find_leftmost(rules: Rules, nullable: frozenset[int]) -> dict[int, list[int]]:
    return {rule: _leftmost(rules, rule, nullable) for rule in rules.alternatives}


def _leftmost(rules: Rules, rule: int, nullable: frozenset[int]) -> list[int]:
    """Return the rules with which a rule may begin, as often as they stand there."""
    found: list[int] = []
    for alternative in rules.alternatives[rule]:
        for element in alternative:
            if not isinstance(element, Ref):
                break
            found.append(element.rule)
            if element.rule not in nullable:
                break
    return found


@dataclass(slots=True)
class _Visit:
    """A rule on the path of the search, and what it begins with that is still to be seen."""

    rule: int
    rest: list[int]


def _order(rules: Rules, leftmost: Mapping[int, list[int]]) -> list[int]:
    """Return the rules so that each comes after all those it may begin with.

    Raises:
        InvalidRequest: One begins with itself.
    """
    order: list[int] = []
    done: set[int] = set()
    for start in leftmost:
        if start in done:
            continue
        path = [_Visit(start, list(leftmost[start]))]
        on_path = {start}
        while path:
            visit = path[-1]
            if not visit.rest:
                path.pop()
                on_path.discard(visit.rule)
                done.add(visit.rule)
                order.append(visit.rule)
                continue
            following = visit.rest.pop()
            if following in on_path:
                places = [step.rule for step in path]
                raise _left_recursion(rules, places[places.index(following) :])
            if following not in done:
                on_path.add(following)
                path.append(_Visit(following, list(leftmost[following])))
    return order


def _left_recursion(rules: Rules, circle: Iterable[int]) -> InvalidRequest:
    circle = list(circle)
    for rule in circle:
        if rule in rules.repeated:
            reason = "what is repeated without end may be empty"
            return refuse(rules.text, rules.offsets[rule], reason)
    names = {number: name for name, number in rules.numbers.items()}
    rule = next((rule for rule in circle if rule in names), circle[0])
    through = [names[other] for other in circle if other in names and other != rule]
    how = f", through {', '.join(through[:5])}" if through else ""
    reason = f"left recursion: the rule {names.get(rule, '')} begins with itself{how}"
    return refuse(rules.text, rules.offsets[rule], reason)


def _check_beginnings(
    rules: Rules,
    leftmost: Mapping[int, list[int]],
    order: Iterable[int],
) -> None:
    """Bound the beginnings of rules.

    Raises:
        InvalidRequest: It would be too much.
    """
    depth: dict[int, int] = {}
    search: dict[int, int] = {}  # visits from a rule where nobody notes where he was
    beginnings: dict[int, int] = {}
    for rule in order:
        nexts = leftmost[rule]
        depth[rule] = 1 + max((depth[following] for following in nexts), default=0)
        search[rule] = 1 + sum(search[following] for following in nexts)
        own = len(rules.alternatives[rule])
        beginnings[rule] = own + sum(beginnings[following] for following in nexts)
        too_much = (
            depth[rule] > MAX_CHAIN
            or search[rule] > MAX_SEARCH
            or beginnings[rule] > MAX_BEGINNINGS
        )
        if too_much:
            reason = f"there are too many ways to begin here; {MAX_BEGINNINGS} are allowed"
            raise refuse(rules.text, rules.offsets[rule], reason)
    if _visits(leftmost, search) > MAX_SEARCH:
        raise refuse(rules.text, 0, "too many rules begin with each other")


def _visits(leftmost: Mapping[int, list[int]], search: Mapping[int, int]) -> int:
    """Return how many visits a search makes that starts at every unseen rule."""
    seen: set[int] = set()
    total = 0
    for start in sorted(leftmost):
        if start in seen:
            continue
        total += search[start]
        unseen = [start]
        while unseen:
            rule = unseen.pop()
            if rule not in seen:
                seen.add(rule)
                unseen += leftmost[rule]
    return total
