"""Everything that can go wrong in words a person can act on.

A value file: it knows no HTTP, no logging and no other module of ours.
`message` says what is so, with the value; `hint` says what to do about it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Self

if TYPE_CHECKING:
    from datetime import datetime

MAX_TOLD_S = 120  # in seconds; longer times are told in minutes


class WebuiError(Exception):
    """Root of all errors that are shown to people; anything else is a bug.

    Args:
        message: What is so, with the offending value.
        hint: What the reader can do about it; may be empty.
        field: Dotted name of the offending input field, where there is one.
        retry_after_s: Seconds after which trying again makes sense; None where nobody knows, or
            time alone does not help.
    """

    code: ClassVar[str] = "error"

    def __init__(
        self,
        message: str,
        hint: str = "",
        *,
        field: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.field = field
        self.retry_after_s = retry_after_s


def in_one_line(message: str, hint: str) -> str:
    """Return message and hint with one full stop between them, wherever the message has one."""
    return f"{message.removesuffix('.')}. {hint}" if hint else message


class NotAuthenticated(WebuiError):
    """Nobody is signed in."""

    code = "not_authenticated"


class PermissionDenied(WebuiError):
    """The actor may not do this."""

    code = "permission_denied"


class NotFound(WebuiError):
    """There is no such thing, or it is somebody else's."""

    code = "not_found"


class Conflict(WebuiError):
    """The thing changed meanwhile, or is busy with something else."""

    code = "conflict"


class InvalidRequest(WebuiError):
    """The input is not of the required form."""

    code = "invalid_request"


class ContextLengthExceeded(InvalidRequest):
    """The prompt has more tokens than the model's context holds."""

    code = "context_length_exceeded"


class NothingAllowed(InvalidRequest):
    """What a request allows and what it bans leave no token that could come next."""

    code = "nothing_allowed"


class GrammarTooAmbiguous(InvalidRequest):
    """A grammar or schema can be kept in more ways at once than there is time to follow."""

    code = "grammar_too_ambiguous"


class Busy(WebuiError):
    """The queue is full.

    Args:
        message: What is full.
        hint: What to do.
        retry_after_s: Seconds after which trying again makes sense.
    """

    code = "busy"
    retry_after_s: float

    def __init__(self, message: str, hint: str = "", *, retry_after_s: float = 1.0) -> None:
        super().__init__(message, hint, retry_after_s=retry_after_s)

    @classmethod
    def about(cls, message: str, hint: str, wait_s: float | None) -> Self:
        """Return one whose hint says how long it may take; None is not known.

        Args:
            message: What is full.
            hint: What to do, in one sentence.
            wait_s: Estimated seconds until there is room.
        """
        if wait_s is None:
            return cls(message, hint)
        wait_s = max(1.0, wait_s)
        span = f"{math.ceil(wait_s)} s"
        if wait_s > MAX_TOLD_S:
            span = f"{math.ceil(wait_s / 60)} min"
        return cls(message, f"{hint.removesuffix('.')}, in about {span}.", retry_after_s=wait_s)


class QuotaExceeded(WebuiError):
    """A limit of the actor does not allow this; nothing was done.

    Args:
        message: Which limit, and how much of it is used.
        hint: What to do.
        remaining: How much of it is left.
        resets_at: Aware time from which there is more; None where time alone does not help.
        retry_after_s: Seconds until then; None as before.
    """

    code = "quota_exceeded"

    def __init__(
        self,
        message: str,
        hint: str = "",
        *,
        remaining: int = 0,
        resets_at: datetime | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, hint, retry_after_s=retry_after_s)
        self.remaining = remaining
        self.resets_at = resets_at


class ModelNotLoaded(WebuiError):
    """No model is loaded and none is on its way."""

    code = "model_not_loaded"


class StorageFull(WebuiError):
    """The disk has no room left."""

    code = "storage_full"


class StorageUnusable(WebuiError):
    """The data folder cannot be used: locked, corrupt, newer or read-only.

    Args:
        message: What cannot be used.
        hint: What to do.
        reason: What is wrong with the file, to be told of it in another role; may be empty.
    """

    code = "storage_unusable"

    def __init__(self, message: str, hint: str = "", *, reason: str = "") -> None:
        super().__init__(message, hint)
        self.reason = reason


class StorageBusy(WebuiError):
    """Another program holds the database; the write was not made."""

    code = "storage_busy"


class ProviderFailed(WebuiError):
    """The provider that vouches for people does not answer, or not as it must."""

    code = "provider_failed"


class EngineError(WebuiError):
    """The engine could not do what it was asked."""

    code = "engine_error"


class LoadFailed(EngineError):
    """A model could not be loaded.

    A use case raises it for a bad file alone. What goes wrong in the worker later, too little
    memory or its death, is told by the pool's status and by `ModelNotLoaded` or `EngineDied`.
    """

    code = "load_failed"


class EngineDied(EngineError):
    """The worker process that ran the model ended."""

    code = "engine_died"
