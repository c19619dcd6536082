"""Which model is loaded, and the way from one to the next.

Knows engines and their states; knows neither files nor people. All of it runs on the event
loop. There may not be memory for two models: the old one lets its replies end, at most
`drain_s`, and is closed before the new one is opened. Who comes meanwhile waits for the new one.
When a load fails or is cancelled, what was loaded before goes on, or is opened again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from webui.engine.adapters import scales_of
from webui.engine.closings import Closings
from webui.engine.interface import EngineState
from webui.engine.load_watch import STALL_S, LoadWatch
from webui.engine.pool_status import (
    LoadOutcome,
    PoolError,
    PoolState,
    PoolStatus,
    not_loaded,
)
from webui.engine.process import LocalEngine
from webui.engine.residents import Loading, Resident
from webui.errors import Conflict, EngineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from webui.engine.adapters import ChosenScale
    from webui.engine.interface import Engine
    from webui.engine.loader import ModelSpec

logger = logging.getLogger(__name__)

DRAIN_S = 30.0


class OpenEngine(Protocol):
    """How an engine is opened; `LocalEngine.open` in earnest."""

    async def __call__(
        self,
        spec: ModelSpec,
        on_progress: Callable[[float], None],
        on_state: Callable[[EngineState, EngineError | None], None],
    ) -> Engine: ...


class EnginePool:
    """Holds at most one loaded model and at most one on its way.

    Args:
        open_engine: How to open one.
        drain_s: How long running replies may go on when their model is to leave.
        stall_s: So long without progress a load is said to stand still.

    Attributes:
        closings: The models that leave.
    """

    def __init__(
        self,
        open_engine: OpenEngine = LocalEngine.open,
        *,
        drain_s: float = DRAIN_S,
        stall_s: float = STALL_S,
    ) -> None:
        self._open_engine = open_engine
        self._drain_s = drain_s
        self._stall_s = stall_s
        self._hurry = asyncio.Event()  # set: nobody is waited for
        self._resident: Resident | None = None
        self._loading: Loading | None = None
        self._failed: tuple[str, str] | None = None  # id and name
        self._error: PoolError | None = None
        self._outcome: LoadOutcome | None = None
        self._is_closed = False
        self.closings = Closings()
        self._num_expected = 0
        self._num_waiting = 0
        self._callbacks: list[Callable[[PoolStatus], None]] = []
        self._status = PoolStatus()
        self._changed = asyncio.Event()

    @property
    def current(self) -> Engine | None:
        """The engine that answers who comes now."""
        resident = self._resident
        return resident.engine if resident and not resident.is_leaving else None

    @property
    def current_id(self) -> str | None:
        """The id of the model that answers now, also while another one is on its way."""
        return self._resident.model_id if self._resident else None

    @property
    def status(self) -> PoolStatus:
        """What people see."""
        return self._status

    @property
    def num_waiting(self) -> int:
        """Requests that wait for a model on its way; no engine knows of them yet."""
        return self._num_waiting

    def subscribe(self, callback: Callable[[PoolStatus], None]) -> Callable[[], None]:
        """Call back on every change, on the loop; returns what ends that."""
        self._callbacks.append(callback)

        def unsubscribe() -> None:
            with contextlib.suppress(ValueError):
                self._callbacks.remove(callback)

        return unsubscribe

    async def adopt(self, engine: Engine, model_id: str = "") -> None:
        """Put an engine that somebody else opened in the place of the old one; close that."""
        resident = Resident(model_id or engine.info.name)
        resident.engine = engine
        old, self._resident = self._resident, resident
        self._publish()
        if old is not None:
            await old.close(is_replaced=True)

    async def load(self, spec: ModelSpec, *, force: bool = False) -> None:
        """Let the old model's replies end, close it, and open another one in its place.

        Args:
            spec: What to open.
            force: End the replies at once.

        Raises:
            Conflict: Another load runs, or this one was cancelled by `cancel_load`.
            LoadFailed: It cannot be opened; the old one is back.
        """
        self._check_free()
        former = self._former()
        self._set_hurry(force=force)
        self._failed = self._error = self._outcome = None
        with self.expecting():
            loading = self._start_load(spec)
            try:
                await self._finish_load(loading)
            except (Conflict, EngineError) as error:
                if isinstance(error, Conflict) and not loading.is_last:
                    self._outcome = LoadOutcome.CANCELLED
                if former and self._resident is None and not loading.is_last:
                    await self._restore(former)
                raise
            finally:
                self._publish()

    def fail(self, model_id: str, name: str, error: EngineError) -> None:
        """Note why a model cannot be loaded, until the next load; the loaded one stays."""
        self._failed = model_id, name
        self._error = PoolError(error.message, error.hint, error.field)
        self._outcome = LoadOutcome.FAILED
        self._publish()

    def cancel_load(self) -> None:
        """End the load that runs, if one does; what was loaded before stays or comes back."""
        if self._loading is not None:
            self._loading.cancel()

    async def unload(self, *, force: bool = False) -> None:
        """End a load that runs, let the replies of the loaded model end, and close it; idempotent.

        Args:
            force: End the replies at once; those of an unload under way too.
        """
        self._set_hurry(force=force)
        if self._loading is not None:
            self._loading.cancel(is_last=True)
            await asyncio.wait([self._loading.task])
        self._failed = self._error = self._outcome = None
        if self._resident is not None:
            await self._retire(self._resident, is_replaced=False)
        self._publish()

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
        self._num_waiting += 1
        try:
            async with asyncio.timeout(timeout):
                while self.current is None and (self._loading is not None or self._num_expected):
                    await self._changed.wait()
        except TimeoutError:
            pass
        finally:
            self._num_waiting -= 1
        if (engine := self.current) is not None:
            return engine
        name = None if self._loading is None else self._loading.spec.name
        raise not_loaded(
            name, self._error, leaves_in_s=None if self._resident is None else self._drain_s
        )

    async def purge(self, owner: str, conversation_id: str | None = None) -> None:
        """Let the loaded model forget what it read for an owner, or only for one conversation."""
        if self._resident is not None:
            await self._resident.engine.purge(owner, conversation_id)

    def set_lora_scales(self, chosen: Sequence[ChosenScale]) -> None:
        """Let the adapters of the loaded model work as strongly as is chosen, the others not.

        Raises:
            ModelNotLoaded: None is loaded.
            InvalidRequest: It has no such adapter.
        """
        if (engine := self.current) is None:
            raise not_loaded(None, None)
        engine.set_lora_scales(scales_of(engine.info.adapters, chosen))
        self._publish()

    async def close(self) -> None:
        """End everything; idempotent."""
        self._is_closed = True
        await self.unload(force=True)

    def _check_free(self) -> None:
        if self._is_closed:
            raise Conflict("The server is being stopped")
        if self._loading is not None:
            raise Conflict(
                f"{self._loading.spec.name} is being loaded",
                "Wait until it is there, or cancel that load first.",
            )
        if self._resident is not None and self._resident.is_leaving:
            raise Conflict(
                f"{self._resident.engine.info.name} is being unloaded",
                "Wait until its replies have ended.",
            )

    def _former(self) -> ModelSpec | None:
        """Return what to open again should a load fail; nothing that had given up itself."""
        resident = self._resident
        if resident is None or resident.engine.state is EngineState.FAILED:
            return None
        return resident.spec

    def _set_hurry(self, *, force: bool) -> None:
        if force:
            self._hurry.set()
        else:
            self._hurry.clear()

    def _start_load(self, spec: ModelSpec) -> Loading:
        resident = Resident(spec.model_id, spec)
        watch = LoadWatch(self._stall_s, self._publish)

        def on_state(_state: EngineState, error: EngineError | None) -> None:
            resident.error = error
            self._publish()

        async def swap() -> Engine:
            old = self._resident
            if old is not None and old.spec is not None:
                await self._retire(old, is_replaced=True)
            with watch.waiting():
                return await self._open_engine(spec, watch.note, on_state)

        self._loading = Loading(spec, asyncio.create_task(swap()), resident, watch)
        self._publish()
        return self._loading

    async def _finish_load(self, loading: Loading) -> None:
        """Wait for a load and let its engine answer."""
        try:
            loading.resident.engine = await self._opened(loading)
            old, self._resident = self._resident, loading.resident
            self._outcome = LoadOutcome.LOADED
        finally:
            self._loading = None
        if old is not None:  # it cannot be opened again, so it stayed until now
            await self._drain(old)
            await self.closings.close(old.engine, is_replaced=True)

    async def _restore(self, former: ModelSpec) -> None:
        """Open again what was loaded before; how and why the other load ended stays told."""
        error, outcome = self._error, self._outcome
        try:
            await self._finish_load(self._start_load(former))
        except (Conflict, EngineError):
            logger.warning("%s could not be loaded again", former.model_id)
        self._error = error or self._error
        self._outcome = outcome

    async def _retire(self, old: Resident, *, is_replaced: bool) -> None:
        """Let replies end, then close; a cancel before the end of that leaves the model loaded."""
        old.is_leaving = True
        self._publish()
        try:
            await self._drain(old)
        except asyncio.CancelledError:
            old.is_leaving = False
            self._wake()
            raise
        if self._resident is old:
            self._resident = None
            self._publish()
        closing = self.closings.close(old.engine, is_replaced=is_replaced)
        try:
            await asyncio.shield(closing)
        except asyncio.CancelledError:
            await closing
            raise

    async def _drain(self, old: Resident) -> None:
        """Wait until nothing runs, the time is over, or somebody is in a hurry."""
        if self._hurry.is_set():
            return
        waits = {
            asyncio.ensure_future(old.engine.drain()),
            asyncio.ensure_future(self._hurry.wait()),
        }
        try:
            await asyncio.wait(waits, timeout=self._drain_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _opened(self, loading: Loading) -> Engine:
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
            spec, watch = loading.spec, loading.watch
            status = PoolStatus(PoolState.LOADING, spec.model_id, spec.name, watch.fraction)
            return replace(status, info=info, stalled_s=watch.stalled_s)
        if resident is not None:
            own = resident.error
            error = PoolError(own.message, own.hint) if own else self._error
            return PoolStatus(
                resident.seen_as,
                resident.model_id,
                resident.engine.info.name,
                None,
                error,
                info,
                self._outcome,
            )
        if self._failed is not None:
            return PoolStatus(
                PoolState.FAILED, *self._failed, None, self._error, outcome=self._outcome
            )
        return PoolStatus(outcome=self._outcome)
