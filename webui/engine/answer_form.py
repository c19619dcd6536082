"""What the text of a reply must look like.

A value file.
"""

from __future__ import annotations

import msgspec

from webui.engine.interface import GrammarTrigger


class AnswerForm(msgspec.Struct, frozen=True):
    """What the text of a reply must look like; at most one of grammar and schema is given.

    Attributes:
        grammar: GBNF, as llama.cpp reads it, with a rule `root`.
        json_schema: JSON text of a schema; the reply is JSON that obeys it.
        triggers: The reply is free until one of them comes, and keeps to the form from there on,
            the trigger included; none keeps to it from the first token.
    """

    grammar: str = ""
    json_schema: str = ""
    triggers: tuple[GrammarTrigger, ...] = ()


ANY_FORM = AnswerForm()
