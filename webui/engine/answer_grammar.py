"""The one grammar that a reply must keep to, out of what a request asks for.

Runs on the worker's template thread, before anything reaches the model: its loop sees only
grammars that were checked here.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NoReturn

from webui.engine.grammar import check_grammar
from webui.engine.grammar_bans import check_bans
from webui.engine.json_schema import FIELD, schema_grammar
from webui.engine.trigger_watch import check_triggers
from webui.errors import InvalidRequest

if TYPE_CHECKING:
    from webui.engine.interface import GenerateRequest

MAX_SCHEMA_CHARS = 256 << 10


def grammar_of(request: GenerateRequest) -> str:
    """Return the grammar that a reply must keep to, checked; empty leaves it free.

    Bounded work: some tenths of a second for the largest that is allowed.

    Raises:
        InvalidRequest: It cannot be kept, or waited for; names field, place and reason.
        NothingAllowed: Nothing that keeps to it does without a banned string.
    """
    has_form = bool(request.grammar or request.json_schema)
    check_triggers(request.grammar_triggers, has_grammar=has_form)
    grammar = answer_grammar(request.grammar, request.json_schema)
    if not request.grammar_triggers:  # with them the reply may stay free
        check_bans(grammar, request.params.banned_strings, request.params.stop)
    return grammar


def answer_grammar(grammar: str, json_schema: str) -> str:
    """Return a grammar that is checked; empty where neither is asked for.

    Bounded work: some tenths of a second for the largest that is allowed.

    Args:
        grammar: GBNF with a rule root, or empty.
        json_schema: JSON text of a schema, or empty.

    Raises:
        InvalidRequest: Both are given, or it cannot be kept; names field, place and reason.
    """
    if grammar and json_schema:
        raise InvalidRequest(
            "grammar: a reply keeps to a grammar or to a schema, not to both",
            "Leave one of them out.",
            field="grammar",
        )
    if json_schema:
        return schema_grammar(_decoded(json_schema))
    if grammar:
        check_grammar(grammar)
    return grammar


def _decoded(json_schema: str) -> object:
    if len(json_schema) > MAX_SCHEMA_CHARS:
        raise InvalidRequest(
            f"{FIELD}: it has {len(json_schema)} characters; {MAX_SCHEMA_CHARS} are allowed",
            "Make the schema smaller.",
            field=FIELD,
        )
    try:
        schema: object = json.loads(json_schema, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"{FIELD}: it is not JSON ({error})", field=FIELD) from error
    return schema


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")
