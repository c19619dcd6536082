"""What other threads of the worker hand to the loop that owns the model.

A value file: knows requests and their tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

    from webui.engine.interface import EmbedRequest, GenerateRequest
    from webui.errors import WebuiError


@dataclass(frozen=True, slots=True)
class Announced:
    """A request came in and is being turned into tokens."""

    request_id: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """The tokens of a request that was announced."""

    request: GenerateRequest
    prompt: list[int]
    arrived_s: float


@dataclass(frozen=True, slots=True)
class TextsAnnounced:
    """Texts came in and are being turned into tokens."""

    request_id: str


@dataclass(frozen=True, slots=True)
class TextsPrepared:
    """The tokens of all texts of a request that was announced."""

    request: EmbedRequest
    texts: Sequence[Sequence[int]]


@dataclass(frozen=True, slots=True)
class Refused:
    """A request that was announced cannot be run."""

    request_id: str
    error: WebuiError


@dataclass(frozen=True, slots=True)
class Aborted:
    """Nobody wants this any more."""

    request_id: str


Mail: TypeAlias = Announced | Prepared | Refused | Aborted
TextMail: TypeAlias = TextsAnnounced | TextsPrepared | Refused | Aborted
