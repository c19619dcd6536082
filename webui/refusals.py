"""Sentences for what pydantic refuses; its own words are for programmers.

A value file: it knows the kinds of complaints of pydantic-core and no field of ours. Whoever
refuses puts the name in front that the reader knows: a title, a path in a body, a flag.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Problem = Mapping[str, Any]  # one of `ValidationError.errors()`

# What stands in braces is in the complaint's `ctx`.
PREDICATES = {
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "finite_number": "must be a finite number",
    "int_parsing_size": "has too many digits",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "can have at most {max_length} characters",
    "string_pattern_mismatch": "has characters that are not allowed there",
    "string_unicode": "must be valid Unicode",
    "too_short": "must have at least {min_length} entries",
    "too_long": "can have at most {max_length} entries",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    "union_tag_invalid": "must be one of {expected_tags}",
    "union_tag_not_found": "is missing",
    "missing": "is missing",
    "extra_forbidden": "is not known",
    "value_error": "is refused: {error}",
}
KINDS = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dict_type": "an object",
    "float_parsing": "a number",
    "float_type": "a number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "list_type": "a list",
    "model_attributes_type": "an object",
    "model_type": "an object",
    "path_type": "a path",
    "string_type": "text",
    "tuple_type": "a list",
}
# Pydantic ends a location with the branch of a union that it tried, or says that it means the name.
PATH_BRANCH, NO_PATH = "path", "path_type"  # else it is a field of that name
BRANCH = re.compile(r"(bool|float|int|str|constrained-\w+|\[key\])$|(list|tuple)\[|.*-\w+\[")


def place(problem: Problem) -> tuple[str, ...]:
    """Return where the wrong value stands: names and indexes, from the outside in."""
    parts = tuple(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return parts
    if problem["type"] == NO_PATH:
        parts = tuple(part for part in parts if part != PATH_BRANCH)
    return tuple(part for part in parts if not BRANCH.match(part))


def path_of(problem: Problem) -> str:
    """Return the same as one text, such as `lora[1].scale`."""
    parts = (f"[{part}]" if part.isdecimal() else f".{part}" for part in place(problem))
    return "".join(parts).removeprefix(".")


def predicate(problems: Sequence[Problem]) -> str:
    """Say what is wrong with the first refused value, to stand behind its name; no full stop.

    Args:
        problems: All that were found: of a union, each branch has its own complaint.
    """
    first = problems[0]
    if first["type"] in KINDS:
        here = [problem for problem in problems if place(problem) == place(first)]
        kinds = dict.fromkeys(KINDS[p["type"]] for p in here if p["type"] in KINDS)
        return f"must be {' or '.join(kinds)}"
    values = {name: _shown(value) for name, value in first.get("ctx", {}).items()}
    said = PREDICATES.get(first["type"], "is not of the right form").format(**values)
    return "must not be empty" if re.search(r"at least 1 (character|entrie)s", said) else said


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
