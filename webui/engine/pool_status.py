"""What people see of the engine pool, and are told where it has no model for them.

Values only.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from webui.engine.interface import EngineState
from webui.errors import ModelNotLoaded

if TYPE_CHECKING:
    from webui.engine.interface import ModelInfo


LOADING_RETRY_S = 10.0


class PoolState(StrEnum):
    """Where the pool stands."""

    NONE = "none"
    LOADING = "loading"
    READY = "ready"
    UNLOADING = "unloading"  # its replies may end; it takes no new ones
    RESTARTING = "restarting"
    FAILED = "failed"


SEEN_AS = {
    EngineState.STARTING: PoolState.RESTARTING,
    EngineState.READY: PoolState.READY,
    EngineState.RESTARTING: PoolState.RESTARTING,
    EngineState.FAILED: PoolState.FAILED,
    EngineState.CLOSED: PoolState.FAILED,
}


class LoadOutcome(StrEnum):
    """How a load ended."""

    LOADED = "loaded"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class PoolError:
    """Why the latest load failed or the engine gave up, in words for people.

    Attributes:
        message: What is so.
        hint: What to do.
        field: The load option it is about, where it is about one.
    """

    message: str
    hint: str
    field: str | None = None


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """What people see of the pool.

    Attributes:
        state: While a model is loaded and another one is on its way, `loading`; while one is to
            leave with none in its place, `unloading`.
        model_id: Of the model on its way, else the loaded one, else the one that failed.
        name: Name of the same.
        fraction: How much of it is read, 0 to 1; None unless loading.
        error: Of the latest load or of the engine; gone with the next load.
        info: Of the model that is loaded, also while another one is on its way.
        outcome: Of the latest load, also when the model before it is back; None while one runs
            and after an unload.
        stalled_s: Seconds without progress of a load, once they are too many.
    """

    state: PoolState = PoolState.NONE
    model_id: str | None = None
    name: str | None = None
    fraction: float | None = None
    error: PoolError | None = None
    info: ModelInfo | None = None
    outcome: LoadOutcome | None = None
    stalled_s: int | None = None


def not_loaded(
    name: str | None, error: PoolError | None, *, leaves_in_s: float | None = None
) -> ModelNotLoaded:
    """Return why no model answers.

    Args:
        name: Of the model that is being loaded; None where none is.
        error: Of the latest load.
        leaves_in_s: A model is being unloaded, which takes so long at most.
    """
    if name is not None:
        return ModelNotLoaded(
            f"{name} is still being loaded", "Try again in a while.", retry_after_s=LOADING_RETRY_S
        )
    if leaves_in_s is not None:
        return ModelNotLoaded(
            "The model is being unloaded",
            "Load one in the Model tab once it is gone.",
            retry_after_s=max(1.0, leaves_in_s),
        )
    if error is not None:
        return ModelNotLoaded(error.message, error.hint)
    return ModelNotLoaded("No model is loaded", "Choose one in the Model tab.")
