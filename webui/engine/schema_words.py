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
        "contentEncoding",
        "contentMediaType",
        "contentSchema",
        "externalDocs",
        "xml",
        "$anchor",
        "$dynamicAnchor",
        "$vocabulary",
    }
)
OF_TYPE = {
    "object": (
        *("properties", "required", "additionalProperties", "minProperties", "maxProperties"),
        *("propertyNames", "patternProperties"),
    ),
    "array": ("items", "prefixItems", "additionalItems", "minItems", "maxItems", "uniqueItems"),
    "string": ("pattern", "format", "minLength", "maxLength"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "integer": (),
    "boolean": (),
    "null": (),
}
TYPES = tuple(OF_TYPE)
KEYWORDS = frozenset(
    {"type", "const", "enum", "anyOf", "oneOf", "allOf", "$ref", "nullable", "discriminator"}
).union(*OF_TYPE.values())
OF_SCHEMAS = frozenset(
    {
        *("anyOf", "oneOf", "allOf", "items", "prefixItems", "additionalItems"),
        *("additionalProperties", "propertyNames"),
    }
)
OF_NAMED_SCHEMAS = frozenset({"properties", "patternProperties"})
# Values with which a keyword says nothing.
NEUTRAL: dict[str, object] = {
    "uniqueItems": False,
    "minProperties": 0,
    "patternProperties": {},
    "propertyNames": True,
    "dependentRequired": {},
    "unevaluatedProperties": True,
    "unevaluatedItems": True,
    "nullable": False,
}

CASES = "Write the cases out under anyOf, each with all that holds for it."
# Keywords of the standard that no grammar keeps, and what to do without them.
INSTEAD = {
    "not": "Say what is allowed, with enum, type, pattern or bounds.",
    **dict.fromkeys(("if", "then", "else", "dependentSchemas", "dependentRequired"), CASES),
    **dict.fromkeys(
        ("contains", "minContains", "maxContains"),
        "Put what must be there under prefixItems, or leave the keyword out and check the reply.",
    ),
    **dict.fromkeys(
        ("unevaluatedProperties", "unevaluatedItems"),
        "Use additionalProperties or items; members that are not named are not written anyway.",
    ),
    **dict.fromkeys(("$dynamicRef", "$recursiveRef"), "Use $ref with a path, as in #/$defs/x."),
}


def bad_schema(path: str, reason: str, hint: str = "Correct the schema.") -> InvalidRequest:
    """Return the complaint about a place of a schema."""
    return InvalidRequest(f"json_schema: at {path}: {reason}", hint, field="json_schema")


def without_annotations(schema: object) -> object:
    """Return what schemas that mean the same have in common, as decoded JSON."""
    if isinstance(schema, list):
        return [without_annotations(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {word: _bare(word, value) for word, value in schema.items() if word not in ANNOTATIONS}


def _bare(word: str, value: object) -> object:
    if word in OF_SCHEMAS:
        return without_annotations(value)
    if word in OF_NAMED_SCHEMAS and isinstance(value, dict):
        return {name: without_annotations(part) for name, part in value.items()}
    return value


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
    needed, others_needed = set(one.get("required", ())), set(other.get("required", ()))
    if needed - _open_to(other, needed) or others_needed - _open_to(one, others_needed):
        return True
    names = needed & others_needed
    return any(
        _exclude(one.get("properties", {}).get(name), other.get("properties", {}).get(name))
        for name in names
    )


def _open_to(schema: dict[str, Any], names: set[str]) -> set[str]:
    """Return which of some members an object may have."""
    if schema.get("additionalProperties", True) is not False:
        return names
    return names & set(schema.get("properties", ()))


def _kinds(schema: dict[str, Any]) -> set[str]:
    asked = schema["type"]
    kinds = set(asked) if isinstance(asked, list) else {asked}
    return {"number" if kind == "integer" else kind for kind in kinds}


def _values(schema: dict[str, Any]) -> set[str] | None:
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if not isinstance(values, list):
        return None
    return {json.dumps(value, sort_keys=True) for value in values}
