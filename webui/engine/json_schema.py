"""JSON Schema (draft 2020-12, the part that a grammar can say) as GBNF.

The grammar says a part of what the schema allows, and nothing else: members come in the order in
which the schema names them, an object that names its members has only these unless it says
otherwise, white space is short. What cannot be kept is refused by its keyword and its path.

Source: the subset is that of llama.cpp, common/json-schema-to-grammar.cpp, which leaves out what
it does not know; the grammars are our own.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias

from webui.engine.grammar import check_grammar
from webui.engine.json_merge import merge
from webui.engine.json_pattern import BadPattern, pattern_expression
from webui.engine.json_rules import (
    FORMATS,
    LARGEST,
    Bounds,
    RuleBook,
    constant,
    integer_between,
    listed,
    number_between,
    one_of,
    quoted,
    repeated,
)
from webui.engine.schema_words import (
    ANNOTATIONS,
    KEYWORDS,
    NEUTRAL,
    are_disjoint,
    bad_schema,
    is_of_type,
    types_of,
)
from webui.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MAX_NODES = 10_000
MAX_DEPTH = 64
MAX_REPETITIONS = 2000
FIELD = "json_schema"

Schema: TypeAlias = dict[str, Any]


def schema_grammar(schema: object) -> str:
    """Return a grammar whose texts are JSON that obeys a schema; it is checked.

    Bounded work, whatever the schema.

    Args:
        schema: Decoded JSON: an object, or true for any value.

    Raises:
        InvalidRequest: It is no schema, cannot be kept or is too large; names path and reason.
    """
    text = _Converter(schema).convert()
    try:
        check_grammar(text)
    except InvalidRequest as error:
        raise InvalidRequest(
            f"{FIELD}: it cannot be kept while writing ({error.message.rpartition(': ')[2]})",
            "Make the schema smaller; a $ref must not lead back to itself at once.",
            field=FIELD,
        ) from error
    return text


class _Converter:
    """One conversion of one schema."""

    def __init__(self, schema: object) -> None:
        self._root = schema
        self._book = RuleBook()
        self._refs: dict[str, str] = {}
        self._num_nodes = 0
        self._writers: dict[str, Callable[[Schema, str, int], str]] = {
            "object": self._object,
            "array": self._array,
            "string": _string,
            "integer": _integer,
            "number": _number,
            "boolean": lambda *_: "boolean",
            "null": lambda *_: "null",
        }

    def convert(self) -> str:
        return self._book.text(self._node(self._root, "#", 0))

    def _node(self, schema: object, path: str, depth: int) -> str:
        """Return the name of the rule, or of the rules, of a schema."""
        self._num_nodes += 1
        if self._num_nodes > MAX_NODES:
            raise bad_schema(path, f"more than {MAX_NODES} parts")
        if depth > MAX_DEPTH:
            raise bad_schema(path, f"nested more than {MAX_DEPTH} deep")
        if schema is True:
            return "value"
        if schema is False:
            raise bad_schema(path, "false allows nothing")
        if not isinstance(schema, dict):
            raise bad_schema(path, "expected an object, true or false")
        schema = self._meaning(schema, path)
        if not schema:
            return "value"
        return self._book.add(self._expression(schema, path, depth))

    def _meaning(self, schema: Schema, path: str) -> Schema:
        """Return a schema without annotations and what has no effect."""
        kept: Schema = {}
        for word, value in schema.items():
            if word in ANNOTATIONS or word.startswith("x-") or NEUTRAL.get(word, self) == value:
                continue
            if word not in KEYWORDS:
                raise bad_schema(path, f"{word} is not supported")
            kept[word] = value
        return kept

    def _expression(self, schema: Schema, path: str, depth: int) -> str:
        if list(schema) == ["$ref"]:
            return self._ref(schema["$ref"], path, depth)
        if "$ref" in schema or "allOf" in schema:
            return self._node(self._merged(schema, path, depth), path, depth + 1)
        for word in ("anyOf", "oneOf"):
            if word in schema:
                return self._union(schema, word, path, depth)
        if "const" in schema or "enum" in schema:
            return self._values(schema, path)
        kinds = types_of(schema, path)
        writers = (self._writers[kind] for kind in kinds)
        return " | ".join(self._book.add(write(schema, path, depth)) for write in writers)

    def _ref(self, ref: object, path: str, depth: int) -> str:
        target = self._resolve(ref, path)
        assert isinstance(ref, str)
        if ref not in self._refs:
            self._refs[ref] = self._book.reserve()
            self._book.define(self._refs[ref], self._node(target, ref, depth + 1))
        return self._refs[ref]

    def _resolve(self, ref: object, path: str) -> object:
        """Return what a reference within the schema points to."""
        if not isinstance(ref, str) or not ref.startswith("#"):
            raise bad_schema(path, f"$ref: {ref!r} does not point into this schema, as #/$defs/x")
        found = self._root
        for escaped in ref[1:].split("/")[1:]:
            part = escaped.replace("~1", "/").replace("~0", "~")
            if isinstance(found, dict) and part in found:
                found = found[part]
            elif isinstance(found, list) and part.isdecimal() and int(part) < len(found):
                found = found[int(part)]
            else:
                raise bad_schema(path, f"$ref: there is nothing at {ref}")
        if ref not in ("#", "#/") and not ref.startswith("#/"):
            raise bad_schema(path, f"$ref: {ref} is no path; anchors are not supported")
        return found

    def _merged(self, schema: Schema, path: str, depth: int) -> Schema:
        """Return a schema with all that `$ref` and `allOf` add to it."""
        self._num_nodes += 1
        if self._num_nodes > MAX_NODES or depth > MAX_DEPTH:
            raise bad_schema(path, "allOf and $ref are nested too deep")
        result = {word: value for word, value in schema.items() if word not in ("$ref", "allOf")}
        more = self._parts(schema, "allOf", path) if "allOf" in schema else []
        if "$ref" in schema:
            more = [self._resolve(schema["$ref"], path), *more]
        for part in more:
            if part is True:
                continue
            if not isinstance(part, dict):
                raise bad_schema(path, "allOf: expected an object or true")
            meaning = self._meaning(part, path)
            result = merge(result, self._merged(meaning, path, depth + 1), path)
        return result

    def _parts(self, schema: Schema, word: str, path: str) -> list[Any]:
        parts = schema[word]
        if not isinstance(parts, list) or not parts:
            raise bad_schema(path, f"{word}: expected a list with something in it")
        return parts

    def _union(self, schema: Schema, word: str, path: str, depth: int) -> str:
        rest = {other: value for other, value in schema.items() if other != word}
        parts = self._parts(schema, word, path)
        if word == "oneOf" and not are_disjoint(
            [self._seen_through(part, path, depth) for part in parts]
        ):
            raise bad_schema(
                path, "oneOf: one value may fit several of these; give each another type or const"
            )
        names: list[str] = []
        for index, part in enumerate(parts):
            place = f"{path}/{word}/{index}"
            if part is False:
                continue
            names.append(self._node({"allOf": [rest, part]} if rest else part, place, depth + 1))
        if not names:
            raise bad_schema(path, f"{word} allows nothing")
        return " | ".join(dict.fromkeys(names))

    def _seen_through(self, part: object, path: str, depth: int) -> object:
        if not isinstance(part, dict) or not ({"$ref", "allOf"} & part.keys()):
            return part
        return self._merged(self._meaning(part, path), path, depth)

    def _values(self, schema: Schema, path: str) -> str:
        values = [schema["const"]] if "const" in schema else self._parts(schema, "enum", path)
        if "const" in schema and "enum" in schema:
            values = [value for value in values if constant(value) in map(constant, schema["enum"])]
        for word in schema.keys() - {"const", "enum", "type"}:
            raise bad_schema(path, f"{word} beside const or enum is not supported")
        if "type" in schema:
            kinds = types_of(schema, path)
            values = [value for value in values if any(is_of_type(value, k) for k in kinds)]
        if not values:
            raise bad_schema(path, "no value of enum is left")
        return one_of(map(constant, values))

    def _object(self, schema: Schema, path: str, depth: int) -> str:
        depth += 1
        properties = schema.get("properties", {})
        required = schema.get("required", [])
        if not isinstance(properties, dict) or not all(isinstance(k, str) for k in properties):
            raise bad_schema(path, "properties: expected an object")
        if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
            raise bad_schema(path, "required: expected a list of names")
        more = schema.get("additionalProperties", not (properties or required))
        known = dict(properties)
        for name in required:
            if name not in known:
                known[name] = schema.get("additionalProperties", True)
        members: list[tuple[str, bool]] = []
        for name, part in known.items():
            if part is False and name not in required:
                continue
            value = self._node(part, f"{path}/properties/{name}", depth)
            body = f'{quoted(json.dumps(name, ensure_ascii=False))} ws ":" ws {value}'
            members.append((self._book.add(body), name in required))
        extra = ""
        if more is not False:
            value = self._node(more, f"{path}/additionalProperties", depth)
            extra = self._book.add(f'{self._other_key(list(known))} ws ":" ws {value}')
        return f'"{{" ws {self._members(members, extra)} ws "}}"'

    def _members(self, members: Sequence[tuple[str, bool]], extra: str) -> str:
        """Return the rule of members with commas where they belong, built from the last."""
        first = listed(extra, 0, None) if extra else '""'
        rest = f'(ws "," ws {extra})*' if extra else '""'
        for member, is_required in reversed(members):
            behind = self._book.add(rest)
            if is_required:
                first = f"{member} {behind}"
                rest = f'ws "," ws {member} {behind}'
            else:
                first = f"{member} {behind} | {self._book.add(first)}"
                rest = f'(ws "," ws {member})? {behind}'
        return self._book.add(first)

    def _other_key(self, names: list[str]) -> str:
        """Return the keys that are none of these; they are written without escapes."""
        if not names:
            return "string"
        return f'"\\"" {self._other_rest(names)} "\\""'

    def _other_rest(self, rests: list[str]) -> str:
        """Return the rule of texts that are none of these."""
        heads: dict[str, list[str]] = {}
        for rest in rests:
            if rest:
                heads.setdefault(rest[0], []).append(rest[1:])
        codes = "".join(f"\\U{ord(head):08X}" for head in heads)
        parts = [f'[^"\\\\\\x00-\\x1f\\x7f{codes}] bare*']
        for head, following in heads.items():
            if head.isprintable() and head not in '"\\':
                parts.append(f"{quoted(head)} {self._other_rest(following)}")
        if "" not in rests:
            parts.append('""')
        return self._book.add(" | ".join(parts))

    def _array(self, schema: Schema, path: str, depth: int) -> str:
        depth += 1
        prefix, items = schema.get("prefixItems", []), schema.get("items", True)
        if isinstance(items, list):  # as it was written before 2020
            prefix, items = items, schema.get("additionalItems", True)
        if not isinstance(prefix, list):
            raise bad_schema(path, "prefixItems: expected a list")
        low, high = _sizes(schema, "minItems", "maxItems", path)
        if high is not None:
            prefix = prefix[:high]
        if items is False or (prefix and "items" not in schema and low <= len(prefix)):
            high = len(prefix) if high is None else min(high, len(prefix))
            if low > high:
                raise bad_schema(path, f"minItems: {low}, but at most {high} fit")
        first = [self._node(p, f"{path}/prefixItems/{i}", depth) for i, p in enumerate(prefix)]
        num_more = None if high is None else high - len(first)
        if num_more == 0:
            body = ' ws "," ws '.join(first)
            return f'"[" ws {body} ws "]"' if body else '"[" ws "]"'
        item = self._node(items, f"{path}/items", depth)
        if not first:
            return f'"[" ws {listed(item, low, high)} ws "]"'
        body = ' ws "," ws '.join(first)
        more = repeated(f'(ws "," ws {item})', max(0, low - len(first)), num_more)
        return f'"[" ws {body} {more} ws "]"'


def _string(schema: Schema, path: str, _depth: int) -> str:
    low, high = _sizes(schema, "minLength", "maxLength", path)
    limits = {"pattern", "format"} & schema.keys()
    if len(limits) > 1 or (limits and {"minLength", "maxLength"} & schema.keys()):
        both = ", ".join(sorted({"pattern", "format", "minLength", "maxLength"} & schema.keys()))
        raise bad_schema(path, f"{both} together are not supported")
    if "format" in schema:
        kind = schema["format"]
        if kind not in FORMATS:
            raise bad_schema(path, f"format {kind!r} is not supported; {', '.join(FORMATS)} are")
        return FORMATS[kind]
    if "pattern" in schema:
        try:
            return pattern_expression(str(schema["pattern"]))
        except BadPattern as error:
            raise bad_schema(path, f"pattern is not supported: {error}") from error
    return f'"\\"" {repeated("char", low, high)} "\\""'


def _sizes(schema: Schema, least: str, most: str, path: str) -> tuple[int, int | None]:
    low, high = schema.get(least, 0), schema.get(most)
    for word, value in ((least, low), (most, high)):
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise bad_schema(path, f"{word}: expected a whole number of 0 or more")
        if value > MAX_REPETITIONS:
            raise bad_schema(path, f"{word}: {value}, but {MAX_REPETITIONS} is the most")
    if high is not None and high < low:
        raise bad_schema(path, f"{most} is less than {least}")
    return low, high


def _integer(schema: Schema, path: str, _depth: int) -> str:
    bounds = _bounds(schema, path)
    return integer_between(bounds) or _nothing_between(path) if bounds else "integer"


def _number(schema: Schema, path: str, _depth: int) -> str:
    bounds = _bounds(schema, path)
    return number_between(bounds) or _nothing_between(path) if bounds else "number"


def _nothing_between(path: str) -> str:
    raise bad_schema(path, "no number lies between these bounds")


def _bounds(schema: Schema, path: str) -> Bounds | None:
    """Return the bounds of a number; None when there are none."""
    limits: dict[str, int] = {}
    for word in ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"):
        if word not in schema:
            continue
        value = schema[word]
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
            raise bad_schema(path, f"{word}: only whole numbers are supported")
        if abs(value) > LARGEST:
            raise bad_schema(path, f"{word}: at most {LARGEST} is supported")
        limits[word] = int(value)
    if not limits:
        return None
    low, high = limits.get("minimum"), limits.get("maximum")
    above, below = limits.get("exclusiveMinimum"), limits.get("exclusiveMaximum")
    is_above = above is not None and (low is None or above >= low)
    is_below = below is not None and (high is None or below <= high)
    return Bounds(above if is_above else low, below if is_below else high, is_above, is_below)
