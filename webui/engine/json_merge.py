"""Two schemas that must both hold as one, as far as one can say it.

Knows the keywords that `schema_words` names; says the meaning of `allOf`.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from webui.engine.schema_words import bad_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LEAST = ("minItems", "minLength", "minProperties", "minimum", "exclusiveMinimum")
MOST = ("maxItems", "maxLength", "maxProperties", "maximum", "exclusiveMaximum")


def merge(one: dict[str, Any], other: dict[str, Any], path: str) -> dict[str, Any]:
    """Return a schema whose values are those of both, or fewer.

    Raises:
        InvalidRequest: It cannot be said; names the keyword.
    """
    both = {**one, **other}
    for word in one.keys() & other.keys():
        if one[word] != other[word]:
            both[word] = _both(word, one[word], other[word], path)
    _close(one, other, both, path)
    return both


def _both(word: str, one: Any, other: Any, path: str) -> Any:  # noqa: ANN401 - decoded JSON
    if word == "type":
        return _types(one, other, path)
    if word not in WAYS:
        raise bad_schema(path, f"{word} twice, in allOf or beside $ref, is not supported")
    try:
        return WAYS[word](one, other)
    except (TypeError, AttributeError) as error:
        raise bad_schema(path, f"{word}: not of the expected form") from error


def _properties(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    return {**one, **other} | {
        name: {"allOf": [one[name], other[name]]} for name in one if name in other
    }


def _enum(one: list[Any], other: list[Any]) -> list[Any]:
    known = {json.dumps(value, sort_keys=True) for value in other}
    return [value for value in one if json.dumps(value, sort_keys=True) in known]


WAYS: Mapping[str, Callable[[Any, Any], Any]] = {
    **dict.fromkeys(LEAST, max),
    **dict.fromkeys(MOST, min),
    "required": lambda one, other: list(dict.fromkeys([*one, *other])),
    "properties": _properties,
    "items": lambda one, other: {"allOf": [one, other]},
    "enum": _enum,
    "uniqueItems": lambda one, other: one or other,
    "multipleOf": math.lcm,  # whole numbers only
}


def _types(one: Any, other: Any, path: str) -> list[str]:  # noqa: ANN401 - decoded JSON
    some = one if isinstance(one, list) else [one]
    others = other if isinstance(other, list) else [other]
    kept = [kind for kind in some if kind in others]
    if "integer" not in kept and {"integer", "number"} <= {*some, *others}:
        kept.append("integer")
    if not kept:
        raise bad_schema(path, "type: no type obeys all of allOf")
    return kept


def _close(one: dict[str, Any], other: dict[str, Any], both: dict[str, Any], path: str) -> None:
    """Make `additionalProperties` of each side hold for the members that the other names."""
    for side, opposite in ((one, other), (other, one)):
        more = side.get("additionalProperties", True)
        if more is True:
            continue
        named = opposite.get("properties", {}).keys() - side.get("properties", {}).keys()
        for name in named:
            if more is not False:
                raise bad_schema(path, "additionalProperties in allOf is not supported")
            both["properties"] = {**both["properties"], name: False}
        if more is False:
            both["additionalProperties"] = False
