"""Random schemas, values that obey them, and whether a value does: written from the standard."""

# ruff: noqa: C901, PLR0911, PLR0912 - one branch for each keyword, as the standard has it

from __future__ import annotations

import datetime
import math
import re
import uuid
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from random import Random

TEXTS = ["", "a", "ab", 'say "x"', "a\\b", "é😀", "line\nend", "\u2028"]
PATTERNS = {
    r"^[a-c]{2,4}$": ["ab", "abca"],
    r"^(x|yz)+\d?$": ["x", "yzx7"],
    r"b": ["b", "abc"],
    r"^a|z$": ["a", "ab", "bz"],
    r'^"\\[^"]*\.$': ['"\\.', '"\\ab.'],
    r"^\w{2}\s\S$": ["ab \\", "_9\t!"],
}
FORMATS = {
    "date": ["2024-02-28", "1999-12-31"],
    "time": ["23:59:59Z", "00:00:00.5+01:00"],
    "date-time": ["2024-02-28T10:00:00Z"],
    "uuid": ["123e4567-e89b-12d3-a456-426614174000"],
}


def random_schema(rng: Random, depth: int = 3) -> dict[str, Any]:
    """Return a schema that the converter takes."""
    kinds = [
        "string",
        "integer",
        "number",
        "boolean",
        "enum",
        "length",
        "pattern",
        "format",
        "list",
    ]
    if depth:
        kinds += ["object", "object", "array", "tuple", "anyOf", "allOf", "any", "ref"]
    match rng.choice(kinds):
        case "object":
            names = rng.sample(["a", "ab", "b", 'q"', "é", "a\nb", "abc"], rng.randint(0, 4))
            schema: dict[str, Any] = {
                "type": "object",
                "properties": {name: random_schema(rng, depth - 1) for name in names},
                "required": [name for name in names if rng.random() < 0.5],
            }
            if rng.random() < 0.4:
                schema["additionalProperties"] = rng.choice(
                    [True, False, random_schema(rng, depth - 1)]
                )
            return schema
        case "array":
            low = rng.randint(0, 2)
            schema = {"type": "array", "items": random_schema(rng, depth - 1), "minItems": low}
            return schema | ({"maxItems": low + rng.randint(0, 2)} if rng.random() < 0.5 else {})
        case "tuple":
            return {"prefixItems": [random_schema(rng, depth - 1) for _ in range(2)]}
        case "anyOf":
            return {"anyOf": [random_schema(rng, depth - 1) for _ in range(2)]}
        case "allOf":
            return {
                "allOf": [
                    {"type": "object", "properties": {"l": random_schema(rng, 0)}},
                    {"type": "object", "properties": {"r": random_schema(rng, 0)}},
                    {"required": ["r"]},
                ]
            }
        case "any":
            return {}
        case "ref":
            return {"$ref": "#/$defs/tree"}
        case "enum":
            return {"enum": rng.sample([1, "x", None, True, [1, {"k": "v"}], 'q"\\'], 3)}
        case "length":
            low = rng.randint(0, 3)
            return {"type": "string", "minLength": low, "maxLength": low + rng.randint(0, 3)}
        case "pattern":
            return {"type": "string", "pattern": rng.choice(list(PATTERNS))}
        case "format":
            return {"type": "string", "format": rng.choice(list(FORMATS))}
        case "list":
            return {"type": ["null", "integer"]}
        case "integer" | "number" as kind:
            return {"type": kind} | _random_bounds(rng)
        case kind:
            return {"type": kind}


TREE = {
    "type": "object",
    "properties": {"value": {"type": "integer"}, "next": {"$ref": "#/$defs/tree"}},
    "required": ["value"],
}


def _random_bounds(rng: Random) -> dict[str, int]:
    low = rng.choice([-1234, -100, -99, -9, -1, 0, 1, 5, 10, 99, 100, 987])
    high = low + rng.choice([2, 3, 9, 10, 99, 1000, 123456])
    bounds: dict[str, int] = {}
    if rng.random() < 0.7:
        bounds[rng.choice(["minimum", "exclusiveMinimum"])] = low
    if rng.random() < 0.7:
        bounds[rng.choice(["maximum", "exclusiveMaximum"])] = high
    return bounds


def obeys(value: Any, schema: Any, root: Any) -> bool:
    """Return whether a value obeys a schema."""
    if isinstance(schema, bool):
        return schema
    if "$ref" in schema and not obeys(value, root["$defs"][schema["$ref"][8:]], root):
        return False
    if "enum" in schema and not any(_same(value, other) for other in schema["enum"]):
        return False
    if "anyOf" in schema and not any(obeys(value, part, root) for part in schema["anyOf"]):
        return False
    if not all(obeys(value, part, root) for part in schema.get("allOf", [])):
        return False
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_is_a(value, kind) for kind in kinds):
        return False
    if isinstance(value, dict):
        return _obeys_object(value, schema, root)
    if isinstance(value, list):
        return _obeys_array(value, schema, root)
    if isinstance(value, str):
        return _obeys_string(value, schema)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return (
            schema.get("minimum", -math.inf) <= value <= schema.get("maximum", math.inf)
            and schema.get("exclusiveMinimum", -math.inf) < value
            and value < schema.get("exclusiveMaximum", math.inf)
        )
    return True


def _obeys_object(value: dict[str, Any], schema: Any, root: Any) -> bool:
    properties = schema.get("properties", {})
    more = schema.get("additionalProperties", True)
    return all(name in value for name in schema.get("required", [])) and all(
        obeys(part, properties.get(name, more), root) for name, part in value.items()
    )


def _obeys_array(value: list[Any], schema: Any, root: Any) -> bool:
    prefix = schema.get("prefixItems", [])
    items = schema.get("items", True)
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", math.inf):
        return False
    return all(
        obeys(part, prefix[index] if index < len(prefix) else items, root)
        for index, part in enumerate(value)
    )


def _obeys_string(value: str, schema: Any) -> bool:
    if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", math.inf):
        return False
    pattern = schema.get("pattern", "")
    if pattern and not re.search(pattern.replace("$", r"\Z"), value):
        return False
    match schema.get("format"):
        case "date":
            datetime.date.fromisoformat(value)
        case "time":
            datetime.time.fromisoformat(value)
        case "date-time":
            datetime.datetime.fromisoformat(value)
        case "uuid":
            uuid.UUID(value)
    return True


def _same(one: Any, other: Any) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _is_a(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return {
        "object": isinstance(value, dict),
        "array": isinstance(value, list),
        "string": isinstance(value, str),
        "number": isinstance(value, int | float),
        "integer": isinstance(value, int) or (isinstance(value, float) and value.is_integer()),
        "null": value is None,
    }.get(kind, False)


def random_value(schema: Any, rng: Random, root: Any) -> Any:
    """Return a value that obeys a schema of `random_schema`, members in its order."""
    match schema:
        case {"$ref": _}:
            value: dict[str, Any] = {"value": rng.randint(-9, 9)}
            return value | ({"next": random_value(schema, rng, root)} if rng.random() < 0.4 else {})
        case {"enum": values}:
            return rng.choice(values)
        case {"anyOf": parts}:
            return random_value(rng.choice(parts), rng, root)
        case {"allOf": [left, right, _]}:
            both = left["properties"] | right["properties"]
            return {name: random_value(part, rng, root) for name, part in both.items()}
        case {"prefixItems": parts}:
            return [random_value(part, rng, root) for part in parts]
        case {"type": "object", "properties": properties, "required": required}:
            found = {
                name: random_value(part, rng, root)
                for name, part in properties.items()
                if name in required or rng.random() < 0.5
            }
            more = schema.get("additionalProperties", not properties)
            if more is not False and rng.random() < 0.5:
                found["other"] = random_value({} if more is True else more, rng, root)
            return found
        case {"type": "array", "items": items, "minItems": low}:
            num = rng.randint(low, schema.get("maxItems", low + 2))
            return [random_value(items, rng, root) for _ in range(num)]
        case {"pattern": pattern}:
            return rng.choice(PATTERNS[pattern])
        case {"format": kind}:
            return rng.choice(FORMATS[kind])
        case {"minLength": low, "maxLength": high}:
            return "".join(rng.choices('a"\\é😀\n', k=rng.randint(low, high)))
        case {"type": "integer" | "number" as kind}:
            most = schema.get("maximum", schema.get("exclusiveMaximum", 102) - 1)
            low = schema.get("minimum", schema.get("exclusiveMinimum", min(most, 0) - 200) + 1)
            high = schema.get("maximum", schema.get("exclusiveMaximum", low + 301) - 1)
            if kind == "number" and rng.random() < 0.5 and low < high:
                return rng.randint(low, high - 1) + 0.25
            return rng.randint(low, high)
    choices = {
        "string": [*TEXTS],
        "boolean": [True, False],
        "null": [None],
        None: [1, -2.5, None, True, "x", [], [1, "y"], {}, {"k": [None]}],
    }
    kind = schema.get("type")
    return rng.choice([None, 7] if isinstance(kind, list) else choices[kind])
