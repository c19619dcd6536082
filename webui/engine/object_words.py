"""What the keywords for objects ask of their members, in one form.

Knows keywords, not rules. Of what several keywords allow together, as much is kept as can be said
by naming members; the rest is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from webui.engine.json_scalars import sizes
from webui.engine.schema_words import bad_schema

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class ObjectWords:
    """The members of an object.

    Attributes:
        named: Schemas of those with a name.
        required: Names that are always there.
        more: Schema of all others.
        key: Schema of their names; None where every other name will do.
        max_more: How many others there are; None for any number.
        has_some: There is at least one member.
    """

    named: dict[str, Any]
    required: frozenset[str]
    more: object
    key: object
    max_more: int | None
    has_some: bool


def object_words(
    schema: dict[str, Any], path: str, values_of: Callable[[object, str], list[Any] | None]
) -> ObjectWords:
    """Read the keywords of a schema.

    Args:
        schema: Without annotations.
        path: Where it stands.
        values_of: Returns the values that a schema lists, or None.

    Raises:
        InvalidRequest: They cannot be kept; names the keyword.
    """
    properties, required = schema.get("properties", {}), schema.get("required", [])
    if not isinstance(properties, dict) or not all(isinstance(k, str) for k in properties):
        raise bad_schema(path, "properties: expected an object")
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        raise bad_schema(path, "required: expected a list of names")
    others = schema.get("additionalProperties", True)
    more = schema.get("additionalProperties", not (properties or required))
    known = properties | {name: others for name in required if name not in properties}
    key = _key(schema, path, is_free=not known)
    if "patternProperties" in schema:
        more = next(iter(schema["patternProperties"].values()))
    names = None if key is None else values_of(key, f"{path}/propertyNames")
    if names is not None:
        known = {name: more for name in names if isinstance(name, str)}
        key, more = None, False
    low, high = sizes(schema, "minProperties", "maxProperties", path, most_allowed=None)
    return ObjectWords(
        known,
        frozenset(required),
        more,
        key,
        _room(high, len(known), path),
        _has_some(low, len(set(required)), path),
    )


def _key(schema: dict[str, Any], path: str, *, is_free: bool) -> object:
    """Return the schema of names; only where none is known by itself."""
    patterns, names = schema.get("patternProperties"), schema.get("propertyNames")
    if patterns is None and names is None:
        return None
    word = "propertyNames" if patterns is None else "patternProperties"
    if not is_free or (patterns is not None and names is not None):
        raise bad_schema(
            path,
            f"{word} beside other names of members is not supported",
            "Name the members under properties, or put the others in an object of their own.",
        )
    if patterns is None:
        if not isinstance(names, dict):
            raise bad_schema(path, "propertyNames: expected an object")
        return {"type": "string", **names} if "$ref" not in names else names
    if not isinstance(patterns, dict) or len(patterns) != 1:
        raise bad_schema(
            path,
            "patternProperties: one pattern is supported",
            "Join the patterns with | where their schemas are the same.",
        )
    return {"type": "string", "pattern": next(iter(patterns))}


def _room(high: int | None, num_known: int, path: str) -> int | None:
    if high is None:
        return None
    if high < num_known:
        raise bad_schema(
            path,
            f"maxProperties: {high}, but {num_known} members have a name",
            "Leave maxProperties out, or write the cases out under anyOf.",
        )
    return high - num_known


def _has_some(low: int, num_required: int, path: str) -> bool:
    if low > max(1, num_required):
        raise bad_schema(
            path,
            f"minProperties: {low}, but {num_required} members are required; only 1 more can be",
            "Name under required what must be there.",
        )
    return low > num_required
