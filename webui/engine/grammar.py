"""Whether a grammar is safe to hand to llama.cpp; what would hurt it is refused with its place.

llama.cpp checks less than it needs: a rule that calls itself first through one that may be empty
makes it work for ever, its own search for such rules takes exponential time, and many ways to
begin cost it their square. A grammar that passes here is finite work to open and to begin with.

llama.cpp's own grammar sampler is used, not llguidance: it is in the library that runs the model
and reads the GBNF which clients of llama-server already send, whereas llguidance would be a second
native dependency with a copy of the vocabulary in memory. Its gain, a mask in constant time, is
small here, because a grammar is first asked about the one token that was chosen.
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
MAX_BEGINNINGS = 4096  # ways in which a rule can begin: llama.cpp compares each with each
MAX_CHAIN = 5000  # rules that begin with each other: llama.cpp recurses
MAX_SEARCH = 5_000_000  # visits of rules in llama.cpp's search for left recursion


def check_grammar(text: str) -> None:
    """Refuse a grammar that llama.cpp would not survive, or not understand.

    Bounded work: some tenths of a second for the largest that is allowed.

    Raises:
        InvalidRequest: Names line, column and reason.
    """
    rules = read_rules(text)
    _check_names(rules)
    nullable = _find_nullable(rules)
    leftmost = {rule: _leftmost(rules, rule, nullable) for rule in rules.alternatives}
    order = _order(rules, leftmost)
    _check_beginnings(rules, leftmost, order)


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
    """Bound what llama.cpp does with the beginnings of rules.

    Raises:
        InvalidRequest: It would be too much.
    """
    depth: dict[int, int] = {}
    search: dict[int, int] = {}  # what llama.cpp visits from a rule; it does not note where it was
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
    """Return how many visits llama.cpp's search makes, which starts at every unseen rule."""
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
