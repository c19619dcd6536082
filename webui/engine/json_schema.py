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
from webui.engine.json_array import MAX_UNIQUE, ArrayForm, array_rule, unique_rule
from webui.engine.json_merge import merge
from webui.engine.json_object import (
    Member,
    ObjectForm,
    either_rule,
    named,
    object_rule,
    other_key,
)
from webui.engine.json_rules import RuleBook, constant, distinct, one_of, quoted
from webui.engine.json_scalars import integer_rule, number_rule, sizes, string_rule
from webui.engine.object_words import object_words
from webui.engine.schema_words import (
    ANNOTATIONS,
    INSTEAD,
    KEYWORDS,
    NEUTRAL,
    are_disjoint,
    bad_schema,
    is_of_type,
    types_of,
    without_annotations,
)
from webui.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_NODES = 10_000
MAX_DEPTH = 64
NODE_CHARS = 200  # of what is compared with others, for each part that it counts as
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
    try:
        text = _Converter(schema).convert()
    except RecursionError as error:
        raise bad_schema("#", "it is nested too deep") from error
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
        self._unions: dict[str, str] = {}
        self._num_nodes = 0
        self._writers: dict[str, Callable[[Schema, str, int], str]] = {
            "object": self._object,
            "array": self._array,
            "string": lambda schema, path, _: string_rule(schema, path, self._book),
            "integer": lambda schema, path, _: integer_rule(schema, path, self._book),
            "number": lambda schema, path, _: number_rule(schema, path, self._book),
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
                hint = INSTEAD.get(word, "Leave it out, or correct its name.")
                raise bad_schema(path, f"{word} is not supported", hint)
            kept[word] = value
        if "discriminator" in kept:  # of OpenAPI: the member that tells which it is, always there
            tag = kept.pop("discriminator")
            if isinstance(tag, dict) and isinstance(tag.get("propertyName"), str):
                kept = merge(kept, {"required": [tag["propertyName"]]}, path)
        if kept.pop("nullable", False):  # of OpenAPI
            kept = {"anyOf": [kept, {"type": "null"}]}
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
        """Return the rule of one of several schemas; within it, the same one is that rule again."""
        key = json.dumps(without_annotations(schema), sort_keys=False)
        self._num_nodes += len(key) // NODE_CHARS
        if key not in self._unions:
            self._unions[key] = self._book.reserve()
            self._book.define(self._unions[key], self._either(schema, word, path, depth))
        return self._unions[key]

    def _either(self, schema: Schema, word: str, path: str, depth: int) -> str:
        rest = {other: value for other, value in schema.items() if other != word}
        parts = [
            {"allOf": [rest, part]} if rest else part for part in self._parts(schema, word, path)
        ]
        if word == "oneOf" and not are_disjoint(
            [self._seen_through(part, path, depth) for part in parts]
        ):
            raise bad_schema(
                path,
                "oneOf: one value may fit several of these",
                "Give each another type, or a required member with another const; or use anyOf.",
            )
        forms: list[ObjectForm] = []
        names: list[str] = []
        for index, part in enumerate(parts):
            place = f"{path}/{word}/{index}"
            if self._is_object(seen := self._seen_through(part, place, depth), place):
                assert isinstance(seen, dict)
                self._num_nodes += 1
                forms.append(self._object_form(self._meaning(seen, place), place, depth + 1))
            elif part is not False:
                names.append(self._node(part, place, depth + 1))
        if forms:
            names.append(either_rule(forms, self._book))
        if not names:
            raise bad_schema(path, f"{word} allows nothing")
        return " | ".join(dict.fromkeys(names))

    def _is_object(self, schema: object, path: str) -> bool:
        if not isinstance(schema, dict) or {"anyOf", "oneOf", "const", "enum"} & schema.keys():
            return False
        meaning = self._meaning(schema, path)
        return bool(meaning) and "anyOf" not in meaning and types_of(meaning, path) == ["object"]

    def _seen_through(self, part: object, path: str, depth: int) -> object:
        if not isinstance(part, dict) or not ({"$ref", "allOf"} & part.keys()):
            return part
        return self._merged(self._meaning(part, path), path, depth)

    def _values(self, schema: Schema, path: str) -> str:
        return one_of(map(constant, self._listed(schema, path)))

    def _listed(self, schema: Schema, path: str) -> list[Any]:
        """Return the values of const or enum."""
        values = [schema["const"]] if "const" in schema else self._parts(schema, "enum", path)
        if "const" in schema and "enum" in schema:
            values = [value for value in values if constant(value) in map(constant, schema["enum"])]
        for word in schema.keys() - {"const", "enum", "type", "format"}:
            raise bad_schema(path, f"{word} beside const or enum is not supported")
        if "type" in schema:
            kinds = types_of(schema, path)
            values = [value for value in values if any(is_of_type(value, k) for k in kinds)]
        if not values:
            raise bad_schema(path, "no value of enum is left")
        return values

    def _object(self, schema: Schema, path: str, depth: int) -> str:
        return object_rule(self._object_form(schema, path, depth), self._book)

    def _object_form(self, schema: Schema, path: str, depth: int) -> ObjectForm:
        depth += 1
        wanted = object_words(schema, path, self._names_of)
        members: list[Member] = []
        for name, part in wanted.named.items():
            if part is False and name not in wanted.required:
                continue
            value = self._node(part, f"{path}/properties/{name}", depth)
            rule = named(name, value, self._book)
            members.append(Member(rule, name in wanted.required))
        extra = ""
        if wanted.more is not False and wanted.max_more != 0:
            key = other_key(list(wanted.named), self._book)
            if wanted.key is not None:
                key = self._node(wanted.key, f"{path}/propertyNames", depth)
            value = self._node(wanted.more, f"{path}/additionalProperties", depth)
            extra = self._book.add(f'{key} ws ":" ws {value}')
        form = ObjectForm(tuple(members), extra, wanted.max_more, wanted.has_some)
        if not form.can_be:
            raise bad_schema(path, "minProperties: no member is allowed")
        return form

    def _names_of(self, schema: object, path: str) -> list[Any] | None:
        """Return the values of a schema that lists them; None where it does not."""
        seen = self._seen_through(schema, path, 0)
        if not isinstance(seen, dict):
            return None
        if "const" in seen or "enum" in seen:
            return self._listed(seen, path)
        lists: dict[str, list[Any]] = {"boolean": [False, True], "null": [None]}
        return lists.get(str(seen.get("type")))

    def _array(self, schema: Schema, path: str, depth: int) -> str:
        depth += 1
        prefix, items = schema.get("prefixItems", []), schema.get("items", True)
        if isinstance(items, list):  # as it was written before 2020
            prefix, items = items, schema.get("additionalItems", True)
        if not isinstance(prefix, list):
            raise bad_schema(path, "prefixItems: expected a list")
        low, high = sizes(schema, "minItems", "maxItems", path)
        if high is not None:
            prefix = prefix[:high]
        if items is False or (prefix and "items" not in schema and low <= len(prefix)):
            high = len(prefix) if high is None else min(high, len(prefix))
            if low > high:
                raise bad_schema(path, f"minItems: {low}, but at most {high} fit")
        if schema.get("uniqueItems", False) is not False and (high is None or high > 1):
            return self._unique(prefix, items, (low, high), path)
        first = [self._node(p, f"{path}/prefixItems/{i}", depth) for i, p in enumerate(prefix)]
        is_full = high is not None and high == len(first)
        item = "" if is_full else self._node(items, f"{path}/items", depth)
        return array_rule(ArrayForm(first, item, low, high))

    def _unique(
        self, prefix: list[Any], items: object, limits: tuple[int, int | None], path: str
    ) -> str:
        values = None if prefix else self._names_of(items, f"{path}/items")
        if values is None or len(values) > MAX_UNIQUE:
            raise bad_schema(
                path,
                f"uniqueItems is supported where items lists up to {MAX_UNIQUE} values only",
                "Leave uniqueItems out and drop what the reply says twice.",
            )
        low, high = limits
        constants = distinct(values)
        high = len(constants) if high is None else high
        found = unique_rule(list(map(quoted, constants)), low, high, self._book)
        if not found:
            raise bad_schema(path, f"minItems: {low}, but there are {len(constants)} values")
        return found
