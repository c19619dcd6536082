"""Which model is loaded, and the way from one to the next.

Knows engines and their states; knows neither files nor people. All of it runs on the event
loop; a load that fails or is cancelled leaves what was loaded before alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from webui.engine.interface import EngineState
from webui.engine.process import LocalEngine
from webui.errors import Conflict, EngineError, ModelNotLoaded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from webui.engine.interface import Engine, ModelInfo
    from webui.engine.loader import ModelSpec

logger = logging.getLogger(__name__)

MIN_FRACTION_STEP = 0.01


class PoolState(StrEnum):
    """Where the pool stands."""

    NONE = "none"
    LOADING = "loading"
    READY = "ready"
    RESTARTING = "restarting"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class PoolError:
    """Why the latest load failed or the engine gave up, in words for people."""

    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """What people see of the pool.

    Attributes:
        state: While a model is loaded and another one is on its way, `loading`.
        model_id: Of the model on its way, else the loaded one, else the one that failed.
        name: Name of the same.
        fraction: How much of it is read, 0 to 1; None unless loading.
        error: Of the latest load or of the engine; gone with the next load.
        info: Of the model that is loaded, also while another one is on its way.
    """

    state: PoolState = PoolState.NONE
    model_id: str | None = None
    name: str | None = None
    fraction: float | None = None
    error: PoolError | None = None
    info: ModelInfo | None = None


class OpenEngine(Protocol):
    """How an engine is opened; `LocalEngine.open` in earnest."""

    async def __call__(
        self,
        spec: ModelSpec,
        on_progress: Callable[[float], None],
        on_state: Callable[[EngineState, EngineError | None], None],
    ) -> Engine: ...


@dataclass(slots=True)
class _Resident:
    """The model that answers."""

    model_id: str
    engine: Engine = field(init=False)
    error: EngineError | None = None


@dataclass(slots=True)
class _Loading:
    """The model on its way."""

    spec: ModelSpec
    task: asyncio.Task[Engine]
    fraction: float = 0.0
    is_cancelled: bool = False

    def cancel(self) -> None:
        self.is_cancelled = True
        self.task.cancel()


class EnginePool:
    """Holds at most one loaded model and at most one on its way.

    Args:
        open_engine: How to open one.
    """

    def __init__(self, open_engine: OpenEngine = LocalEngine.open) -> None:
        self._open_engine = open_engine
        self._resident: _Resident | None = None
        self._loading: _Loading | None = None
        self._failed: tuple[str, str] | None = None  # id and name
        self._error: PoolError | None = None
        self._is_closed = False
        self._num_expected = 0
        self._callbacks: list[Callable[[PoolStatus], None]] = []
        self._status = PoolStatus()
        self._changed = asyncio.Event()

    @property
    def current(self) -> Engine | None:
        """The engine that answers now."""
        return self._resident.engine if self._resident else None

    @property
    def current_id(self) -> str | None:
        """The id of the model that answers now, also while another one is on its way."""
        return self._resident.model_id if self._resident else None

    @property
    def status(self) -> PoolStatus:
        """What people see."""
        return self._status

    def subscribe(self, callback: Callable[[PoolStatus], None]) -> Callable[[], None]:
        """Call back on every change, on the loop; returns what ends that."""
        self._callbacks.append(callback)

        def unsubscribe() -> None:
            with contextlib.suppress(ValueError):
                self._callbacks.remove(callback)

        return unsubscribe

    async def adopt(self, engine: Engine, model_id: str = "") -> None:
        """Put an engine that somebody else opened in the place of the old one; close that."""
        resident = _Resident(model_id or engine.info.name)
        resident.engine = engine
        old, self._resident = self._resident, resident
        self._publish()
        if old is not None:
            await old.engine.close()

    async def load(self, spec: ModelSpec) -> None:
        """Open a model fully, put it in the place of the old one, then close that.

        Raises:
            Conflict: Another load runs, or this one was cancelled by `cancel_load`.
            LoadFailed: It cannot be opened; the old one still answers.
        """
        if self._is_closed:
            raise Conflict("The server is being stopped")
        if self._loading is not None:
            raise Conflict(
                f"{self._loading.spec.name} is being loaded",
                "Wait until it is there, or cancel that load first.",
            )
        resident = _Resident(spec.model_id)

        def on_state(_state: EngineState, error: EngineError | None) -> None:
            resident.error = error
            self._publish()

        task = asyncio.ensure_future(self._open_engine(spec, self._on_progress, on_state))
        self._loading = loading = _Loading(spec, task)
        self._failed = self._error = None
        self._publish()
        try:
            resident.engine = await self._opened(loading)
            old, self._resident = self._resident, resident
        finally:
            self._loading = None
            self._publish()
        if old is not None:
            await old.engine.close()

    def fail(self, model_id: str, name: str, error: EngineError) -> None:
        """Note why a model cannot be loaded, until the next load; the loaded one stays."""
        self._failed = model_id, name
        self._error = PoolError(error.message, error.hint)
        self._publish()

    def cancel_load(self) -> None:
        """End the load that runs, if one does; what was loaded before stays."""
        if self._loading is not None:
            self._loading.cancel()

    async def unload(self) -> None:
        """End a load that runs and close the loaded model; idempotent."""
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.wait([self._loading.task])
        old, self._resident = self._resident, None
        self._failed = self._error = None
        self._publish()
        if old is not None:
            await old.engine.close()

    @contextlib.contextmanager
    def expecting(self) -> Iterator[None]:
        """Say that a model is on its way that is not being loaded yet: who needs one waits."""
        self._num_expected += 1
        try:
            yield
        finally:
            self._num_expected -= 1
            self._wake()

    async def acquire(self, timeout: float) -> Engine:  # noqa: ASYNC109 - named by its callers
        """Return the engine that answers; wait for it while the first one is loading.

        Raises:
            ModelNotLoaded: None is loaded or on its way, or it did not come in `timeout` seconds.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self._resident is None and (self._loading is not None or self._num_expected):
                    await self._changed.wait()
        if self._resident is not None:
            return self._resident.engine
        if self._loading is not None:
            raise ModelNotLoaded(
                f"{self._loading.spec.name} is still being loaded", "Try again in a while."
            )
        if self._error is not None:
            raise ModelNotLoaded(self._error.message, self._error.hint)
        raise ModelNotLoaded("No model is loaded", "Choose one in the Model tab.")

    async def close(self) -> None:
        """End everything; idempotent."""
        self._is_closed = True
        await self.unload()

    async def _opened(self, loading: _Loading) -> Engine:
        """Wait for the engine; no way out of here leaves one open that nobody holds."""
        spec, task = loading.spec, loading.task
        try:
            engine = await asyncio.shield(task)
        except asyncio.CancelledError:
            if loading.is_cancelled:
                raise Conflict(f"Loading {spec.name} was cancelled") from None
            task.cancel()  # our caller is being cancelled: the load goes with it
            await asyncio.wait([task])
            if not task.cancelled() and task.exception() is None:
                await task.result().close()
            raise
        except EngineError as error:
            logger.warning("loading %s failed: %s", spec.model_id, error.message)
            self.fail(spec.model_id, spec.name, error)
            raise
        if loading.is_cancelled:  # it came just before the cancel
            await engine.close()
            raise Conflict(f"Loading {spec.name} was cancelled")
        return engine

    def _on_progress(self, fraction: float) -> None:
        loading = self._loading
        if loading is not None and fraction - loading.fraction >= MIN_FRACTION_STEP:
            loading.fraction = min(fraction, 1.0)
            self._publish()

    def _publish(self) -> None:
        status = self._make_status()
        if status == self._status:
            return
        self._status = status
        self._wake()
        for callback in tuple(self._callbacks):
            callback(status)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _make_status(self) -> PoolStatus:
        resident, loading = self._resident, self._loading
        info = resident.engine.info if resident else None
        if loading is not None:
            spec = loading.spec
            return PoolStatus(
                PoolState.LOADING, spec.model_id, spec.name, loading.fraction, None, info
            )
        if resident is not None:
            error = self._error
            if resident.error is not None:
                error = PoolError(resident.error.message, resident.error.hint)
            return PoolStatus(
                _STATES[resident.engine.state],
                resident.model_id,
                resident.engine.info.name,
                None,
                error,
                info,
            )
        if self._failed is not None:
            return PoolStatus(PoolState.FAILED, *self._failed, None, self._error)
        return PoolStatus()


_STATES = {
    EngineState.STARTING: PoolState.RESTARTING,
    EngineState.READY: PoolState.READY,
    EngineState.RESTARTING: PoolState.RESTARTING,
    EngineState.FAILED: PoolState.FAILED,
    EngineState.CLOSED: PoolState.FAILED,
}
