"""The keywords of JSON Schema: which are kept, which say nothing, which types they belong to.

Source: JSON Schema draft 2020-12, Core and Validation.
"""

from __future__ import annotations

import json
from itertools import combinations
from typing import TYPE_CHECKING, Any

from webui.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

ANNOTATIONS = frozenset(
    {
        "$schema",
        "$id",
        "$comment",
        "$defs",
        "definitions",
        "title",
        "description",
        "default",
        "example",
        "examples",
        "deprecated",
        "readOnly",
        "writeOnly",
        "strict",
        "propertyOrdering",
    }
)
OF_TYPE = {
    "object": ("properties", "required", "additionalProperties"),
    "array": ("items", "prefixItems", "additionalItems", "minItems", "maxItems"),
    "string": ("pattern", "format", "minLength", "maxLength"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    "integer": (),
    "boolean": (),
    "null": (),
}
TYPES = tuple(OF_TYPE)
KEYWORDS = frozenset({"type", "const", "enum", "anyOf", "oneOf", "allOf", "$ref"}).union(
    *OF_TYPE.values()
)
# Values with which a keyword says nothing.
NEUTRAL: dict[str, object] = {
    "uniqueItems": False,
    "minProperties": 0,
    "unevaluatedProperties": True,
    "unevaluatedItems": True,
    "nullable": False,
}


def bad_schema(path: str, reason: str) -> InvalidRequest:
    """Return the complaint about a place of a schema."""
    return InvalidRequest(
        f"json_schema: at {path}: {reason}", "Correct the schema.", field="json_schema"
    )


def types_of(schema: dict[str, Any], path: str) -> list[str]:
    """Return the types a schema allows; told by its keywords where it names none.

    Raises:
        InvalidRequest: It names one that does not exist.
    """
    asked = schema.get("type")
    if asked is None:
        told = [kind for kind, words in OF_TYPE.items() if any(word in schema for word in words)]
        return told or [kind for kind in TYPES if kind != "integer"]
    kinds = asked if isinstance(asked, list) else [asked]
    for kind in kinds:
        if kind not in TYPES:
            raise bad_schema(path, f"type: there is no {kind!r}")
    if not kinds:
        raise bad_schema(path, "type: expected at least one")
    return list(kinds)


def is_of_type(value: object, kind: str) -> bool:
    """Return whether a JSON value has a type."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return {
        "boolean": isinstance(value, bool),
        "integer": isinstance(value, int | float) and is_number and value == value // 1,
        "number": is_number,
        "string": isinstance(value, str),
        "null": value is None,
        "array": isinstance(value, list),
        "object": isinstance(value, dict),
    }[kind]


def are_disjoint(parts: Sequence[object]) -> bool:
    """Return whether it is plain that no value obeys two of these schemas."""
    return all(_exclude(one, other) for one, other in combinations(parts, 2))


def _exclude(one: object, other: object) -> bool:
    if not isinstance(one, dict) or not isinstance(other, dict):
        return one is False or other is False
    values, others = _values(one), _values(other)
    if values is not None and others is not None:
        return not values & others
    if "type" not in one or "type" not in other:
        return False
    shared = _kinds(one) & _kinds(other)
    if shared != {"object"}:
        return not shared
    names = set(one.get("required", ())) & set(other.get("required", ()))
    return any(
        _exclude(one.get("properties", {}).get(name), other.get("properties", {}).get(name))
        for name in names
    )


def _kinds(schema: dict[str, Any]) -> set[str]:
    asked = schema["type"]
    kinds = set(asked) if isinstance(asked, list) else {asked}
    return {"number" if kind == "integer" else kind for kind in kinds}


def _values(schema: dict[str, Any]) -> set[str] | None:
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if not isinstance(values, list):
        return None
    return {json.dumps(value, sort_keys=True) for value in values}
