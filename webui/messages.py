"""A message of a conversation as the model will read it.

A value file. Identity (ids, owners, trees) is a matter of storage; equal content is equal.
msgspec structs, because the same values cross the pipe to the worker.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Role(StrEnum):
    """Who speaks."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One turn.

    Attributes:
        role: Who speaks.
        text: What is said; never contains control tokens: what looks like one is plain text.
    """

    role: Role
    text: str
