"""What other threads of the worker hand to the loop that owns the model.

A value file: knows requests and their tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from webui.engine.interface import EmbedRequest, GenerateRequest, Priority, Trimmed
    from webui.engine.state_files import StateFile
    from webui.engine.states import State
    from webui.errors import WebuiError


@dataclass(frozen=True, slots=True)
class Announced:
    """A request came in and is being turned into tokens."""

    request_id: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """The tokens of a request that was announced; `num_shared` as `Sequence` has it.

    `num_kept` likewise; `trimmed` says which of its messages are not among them.
    """

    request: GenerateRequest
    prompt: list[int]
    arrived_s: float
    num_shared: int = 0
    num_kept: int = 0
    trimmed: Trimmed | None = None

    @property
    def request_id(self) -> str:
        """Of the request."""
        return self.request.request_id

    @property
    def owner(self) -> str:
        """Of the request."""
        return self.request.owner

    @property
    def priority(self) -> Priority:
        """Of the request."""
        return self.request.priority


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


@dataclass(frozen=True, slots=True)
class Purged:
    """What was read for an owner, or for one of its conversations, must be forgotten."""

    owner: str
    conversation_id: str | None


@dataclass(frozen=True, slots=True)
class Expired:
    """What belongs to no conversation and was last used before a time must be forgotten."""

    before_ns: int


@dataclass(frozen=True, slots=True)
class StatesListed:
    """The states of this model that lie on disk."""

    files: list[StateFile]


@dataclass(frozen=True, slots=True)
class StateWritten:
    """A state lies on disk now; other files are gone."""

    file: StateFile
    gone: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class StateFetched:
    """A state that was asked for; None when it cannot be used, and its file is gone."""

    file: StateFile
    state: State | None


StateMail: TypeAlias = Purged | Expired | StatesListed | StateWritten | StateFetched
Mail: TypeAlias = Announced | Prepared | Refused | Aborted | StateMail
TextMail: TypeAlias = TextsAnnounced | TextsPrepared | Refused | Aborted
