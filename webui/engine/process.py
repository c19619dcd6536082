"""A model in a child process that is started again when it dies.

Knows requests and lives of workers; knows neither tokens nor llama.cpp. Everything runs on one
event loop, in the main thread. A request that was at work when its worker died is never sent
again by us: it may be what killed it. One that only waited is, once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from webui.engine import ipc
from webui.engine.child import Patience, WorkerProcess
from webui.engine.embedding import Vectors, check_can_embed, check_can_generate
from webui.engine.interface import (
    MAX_GAP_MS,
    Delta,
    Embedded,
    EmbedRequest,
    EmbedResult,
    EngineState,
    GenerateRequest,
    ModelInfo,
    VectorPart,
)
from webui.engine.mailbox import LAST_WORDS, Mailbox
from webui.engine.stats import EngineStats, total
from webui.errors import (
    Busy,
    Conflict,
    ContextLengthExceeded,
    EngineDied,
    EngineError,
    InvalidRequest,
    LoadFailed,
    NothingAllowed,
    WebuiError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from webui.engine.loader import ModelSpec
    from webui.engine.mailbox import News

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of an engine; tests take smaller ones.

    Attributes:
        patience: How long a worker may be silent or busy.
        backoff_s: Pause before the first, second … start again; the last one repeats.
        max_deaths: So many deaths within `deaths_window_s` open the breaker.
        deaths_window_s: See `max_deaths`.
        max_requests: Live requests in all, running and waiting.
        max_gap_ms: Between two tokens of a reply while somebody's prompt is read.
        cache: Where the worker keeps what it has read.
    """

    patience: Patience = field(default_factory=Patience)
    backoff_s: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)
    max_deaths: int = 3
    deaths_window_s: float = 60.0
    max_requests: int = 512
    max_gap_ms: int = MAX_GAP_MS
    cache: ipc.CacheSpec = field(default_factory=ipc.CacheSpec)


class LocalEngine:
    """Implements `Engine`; made by `open`.

    Args:
        spec: What is loaded, and again after a death.
        on_state: Called on every change of state, with the error where there is one.
        limits: Bounds.
        on_stats: Called with new figures, at most every second or so.
    """

    def __init__(
        self,
        spec: ModelSpec,
        on_state: Callable[[EngineState, EngineError | None], None] | None,
        limits: Limits,
        on_stats: Callable[[EngineStats], None] | None = None,
    ) -> None:
        self._spec = spec
        self._on_state = on_state
        self._on_stats = on_stats
        self._past = EngineStats()  # of workers that died, and what only we know
        self._present = EngineStats()  # of this worker
        self._limits = limits
        self._state = EngineState.STARTING
        self._failure: EngineError | None = None
        self._changed = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._live: dict[str, Mailbox] = {}
        self._deaths: deque[float] = deque()
        self._worker: WorkerProcess
        self._info: ModelInfo
        self._supervisor: asyncio.Task[None]

    @classmethod
    async def open(
        cls,
        spec: ModelSpec,
        on_progress: Callable[[float], None],
        on_state: Callable[[EngineState, EngineError | None], None] | None = None,
        *,
        limits: Limits | None = None,
        on_stats: Callable[[EngineStats], None] | None = None,
    ) -> LocalEngine:
        """Start a worker and wait until it has loaded the model; cancelling kills it.

        Raises:
            LoadFailed: The model cannot be opened, or the worker died over it.
        """
        engine = cls(spec, on_state, limits or Limits(), on_stats)
        try:
            await engine._start_worker(on_progress)
        except EngineDied as error:
            raise LoadFailed(
                f"Loading {spec.name} ended the engine. {error.message}",
                "The file may be damaged, or the memory too small for it.",
            ) from error
        engine._supervisor = asyncio.create_task(engine._supervise(), name="engine supervisor")
        engine._set_state(EngineState.READY)
        return engine

    @property
    def info(self) -> ModelInfo:
        """What is loaded."""
        return self._info

    @property
    def state(self) -> EngineState:
        """Where it stands now."""
        return self._state

    @property
    def pid(self) -> int:
        """Process id of the worker, dead or alive."""
        return self._worker.pid

    @property
    def stats(self) -> EngineStats:
        """Figures of all workers since the model was loaded, a second old or so."""
        return total(self._past, self._present)

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Delta, None]:
        """Write one reply; see `Engine.generate`."""
        check_can_generate(self._info)
        frame = _encode(ipc.Add(request), "messages")
        async with aclosing(self._exchange(request.request_id, frame)) as news:
            async for delta in news:
                assert not isinstance(delta, VectorPart | Embedded)
                yield delta

    async def embed(self, request: EmbedRequest) -> EmbedResult:
        """Turn texts into vectors; see `Engine.embed`."""
        check_can_embed(request, self._info)
        frame = _encode(ipc.Embed(request), "input" if request.query is None else "documents")
        vectors = Vectors(len(request.inputs))
        async with aclosing(self._exchange(request.request_id, frame)) as news:
            async for item in news:
                if isinstance(item, Embedded):
                    return vectors.result(item.num_tokens)
                assert isinstance(item, VectorPart)
                vectors.add(item)
        raise AssertionError("an exchange ended without its last word")

    async def _exchange(self, request_id: str, frame: bytes) -> AsyncGenerator[News, None]:
        """Send a request and yield what comes for it up to its last word."""
        if request_id in self._live:
            raise Conflict(f"The request {request_id} is already running")
        if len(self._live) >= self._limits.max_requests:
            raise Busy(
                f"The queue is full: {len(self._live)} requests are on their way",
                "Try again when some of them are done.",
            )
        mailbox = self._live[request_id] = Mailbox()
        self._idle.clear()
        try:
            while True:
                worker = mailbox.worker = await self._ready_worker()
                worker.send(frame)
                while (item := await mailbox.get()) is not None:
                    yield item
                    if type(item) in LAST_WORDS:
                        return
        finally:
            del self._live[request_id]
            if not self._live:
                self._idle.set()
            if mailbox.worker is not None and not mailbox.is_over:
                mailbox.worker.send(ipc.encode(ipc.Abort(request_id)))

    async def purge(self, owner: str, conversation_id: str | None) -> None:
        """Forget what was read for an owner, or only for one of its conversations."""
        if self._state is EngineState.READY:
            self._worker.send(ipc.encode(ipc.Purge(owner, conversation_id)))

    async def drain(self) -> None:
        """Wait until no request is at work or waiting."""
        await self._idle.wait()

    async def close(self) -> None:
        """End the model and its process; idempotent."""
        if self._state is EngineState.CLOSED:
            return
        self._set_state(EngineState.CLOSED)
        self._supervisor.cancel()
        await asyncio.wait({self._supervisor})
        error = EngineDied("The model was unloaded", "Load a model and send the message again.")
        for mailbox in self._live.values():
            mailbox.put(error)
        await self._worker.close()

    async def _start_worker(self, on_progress: Callable[[float], None]) -> None:
        """Bring up a worker that has loaded the model; none is left if that fails."""
        worker = WorkerProcess(self._limits.patience, self._deliver, on_progress, self._take_stats)
        await worker.start(self._spec, self._limits.max_gap_ms, self._limits.cache)
        try:
            self._info = await worker.loaded()
        except BaseException:
            await asyncio.shield(worker.close(politely=False))
            raise
        self._worker = worker

    async def _ready_worker(self) -> WorkerProcess:
        waiting = {EngineState.STARTING, EngineState.RESTARTING}
        while self._state in waiting or (self._state is EngineState.READY and self._worker.is_cut):
            await self._changed.wait()
        if self._state is EngineState.READY:
            return self._worker
        if self._failure is not None:
            raise EngineDied(self._failure.message, self._failure.hint)
        raise EngineDied("The model was unloaded", "Load a model and send the message again.")

    async def _supervise(self) -> None:
        """Start a new worker whenever one dies, until the breaker opens."""
        while True:
            error = await self._worker.wait_dead()
            logger.warning("model %s: %s", self._spec.model_id, error.message)
            self._fail_requests(error)
            if not await self._revive(error):
                return

    async def _revive(self, error: EngineError) -> bool:
        """Start a worker again after a pause; False when that is given up."""
        while True:
            num_deaths = self._count_death()
            if num_deaths >= self._limits.max_deaths:
                self._set_state(
                    EngineState.FAILED,
                    EngineDied(
                        f"The engine stopped {num_deaths} times within "
                        f"{self._limits.deaths_window_s:.0f} s and is not started again. "
                        f"{error.message}",
                        "Load the model again or choose another one.",
                    ),
                )
                return False
            self._set_state(EngineState.RESTARTING, error)
            backoff_s = self._limits.backoff_s
            await asyncio.sleep(backoff_s[min(num_deaths, len(backoff_s)) - 1])
            try:
                await self._start_worker(lambda _fraction: None)
            except EngineDied as death:
                error = death
            except LoadFailed as failure:
                self._set_state(EngineState.FAILED, failure)
                return False
            else:
                self._past = replace(self._past, num_restarts=self._past.num_restarts + 1)
                self._set_state(EngineState.READY)
                return True

    def _count_death(self) -> int:
        now_s = time.monotonic()
        self._deaths.append(now_s)
        while self._deaths[0] < now_s - self._limits.deaths_window_s:
            self._deaths.popleft()
        return len(self._deaths)

    def _fail_requests(self, error: EngineDied) -> None:
        num_failed = 0
        for mailbox in self._live.values():
            if mailbox.worker is self._worker:
                num_failed += mailbox.lose(error)
        past, self._present = self.stats, EngineStats()
        self._past = replace(
            past, num_deaths=past.num_deaths + 1, num_failed=past.num_failed + num_failed
        )
        self._tell_stats()

    def _take_stats(self, stats: EngineStats) -> None:
        self._present = stats
        self._tell_stats()

    def _tell_stats(self) -> None:
        if self._on_stats is not None:
            self._on_stats(self.stats)

    def _set_state(self, state: EngineState, error: EngineError | None = None) -> None:
        self._state = state
        self._failure = error
        self._changed.set()
        self._changed = asyncio.Event()
        if self._on_state is not None:
            self._on_state(state, error)

    def _deliver(self, message: ipc.Outputs | ipc.RequestError) -> None:
        live = self._live
        if isinstance(message, ipc.RequestError):
            mailbox = live.get(message.request_id)
            if mailbox is not None:
                mailbox.put(_as_error(message))
            return
        for output in message.items:
            mailbox = live.get(output.request_id)
            if mailbox is not None:  # else it was closed while this was on its way
                mailbox.put(output.delta)


def _encode(message: ipc.Add | ipc.Embed, field: str) -> bytes:
    try:
        frame = ipc.encode(message)
    except OverflowError as error:
        raise InvalidRequest(
            "The request holds a number of more than 64 bits", "Send smaller numbers."
        ) from error
    except (UnicodeEncodeError, msgspec.MsgspecError) as error:
        raise InvalidRequest(
            f"The message holds something that is not text: {error}", field=field
        ) from error
    if len(frame) > ipc.MAX_FRAME_TO_WORKER_BYTES:
        raise ContextLengthExceeded(
            f"The message has {len(frame)} bytes; {ipc.MAX_FRAME_TO_WORKER_BYTES} are allowed",
            "Shorten it.",
            field=field,
        )
    return frame


def _as_error(message: ipc.RequestError) -> WebuiError:
    if message.code == Busy.code:
        return Busy(message.message, message.hint, retry_after_s=message.retry_after_s)
    kind = _BY_CODE.get(message.code, EngineError)
    return kind(message.message, message.hint, field=message.field)


_BY_CODE: dict[str, type[WebuiError]] = {
    kind.code: kind
    for kind in (InvalidRequest, ContextLengthExceeded, NothingAllowed, EngineError, Conflict)
}
