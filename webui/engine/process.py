"""A model in a child process that is started again when it dies.

Knows requests and lives of workers; knows neither tokens nor llama.cpp. Everything runs on one
event loop, in the main thread. A request that was at work when its worker died is never sent
again by us: it may be what killed it. One that had not begun is, once.
"""

from __future__ import annotations

import asyncio
import logging
import math
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from webui.engine import ipc
from webui.engine.adapters import rescaled
from webui.engine.child import Patience, WorkerProcess
from webui.engine.crash_breaker import CrashBreaker
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
from webui.engine.live_requests import LiveRequests
from webui.engine.mailbox import LAST_WORDS, deliver, unloaded
from webui.engine.stats import EngineStats, total
from webui.errors import (
    ContextLengthExceeded,
    EngineDied,
    EngineError,
    InvalidRequest,
    LoadFailed,
    ModelNotLoaded,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from webui.engine.adapters import Scales
    from webui.engine.loader import ModelSpec
    from webui.engine.mailbox import News

logger = logging.getLogger(__name__)

LOAD_HINT = (
    "Or load it now in the Model tab: if memory was short with a shorter context, fewer parallel "
    "replies or fewer GPU layers."
)


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of an engine; tests take smaller ones.

    Attributes:
        patience: How long a worker may be silent or busy.
        backoff_s: Pause before the first, second … start again; the last one repeats.
        max_deaths: So many deaths within `deaths_window_s` open the breaker.
        deaths_window_s: See `max_deaths`; after as long the next request has it tried again.
        restart_wait_s: So long a request waits for a worker that is being started.
        max_requests: Live requests in all, running and waiting.
        max_requests_per_owner: Those of one owner.
        max_gap_ms: Between two tokens of a reply while somebody's prompt is read.
        cache: Where the worker keeps what it has read.
    """

    patience: Patience = field(default_factory=Patience)
    backoff_s: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)
    max_deaths: int = 3
    deaths_window_s: float = 60.0
    restart_wait_s: float = 600.0
    max_requests: int = 512
    max_requests_per_owner: int = 256
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
        self._cause: EngineError | None = None  # why no worker is started
        self._changed = asyncio.Event()
        self._live = LiveRequests(limits.max_requests, limits.max_requests_per_owner)
        self._breaker = CrashBreaker(limits.max_deaths, limits.deaths_window_s, limits.backoff_s)
        self._wanted = asyncio.Event()  # somebody asks for a model that has failed
        self._worker: WorkerProcess
        self._info: ModelInfo
        self._scales: Scales | None = None  # as somebody set them
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
        if request.lora_scales is None:
            scales = tuple(adapter.scale for adapter in self._info.adapters)
            request = replace(request, lora_scales=scales)
        field = "messages" if request.plain_text is None else "prompt"
        frame = _encode(ipc.Add(request), field)
        async with aclosing(self._exchange(request, frame)) as news:
            async for delta in news:
                assert not isinstance(delta, VectorPart | Embedded)
                yield delta

    async def embed(self, request: EmbedRequest) -> EmbedResult:
        """Turn texts into vectors; see `Engine.embed`."""
        check_can_embed(request, self._info)
        frame = _encode(ipc.Embed(request), "input" if request.query is None else "documents")
        vectors = Vectors(len(request.inputs))
        async with aclosing(self._exchange(request, frame)) as news:
            async for item in news:
                if isinstance(item, Embedded):
                    return vectors.result(item.num_tokens)
                assert isinstance(item, VectorPart)
                vectors.add(item)
        raise AssertionError("an exchange ended without its last word")

    async def _exchange(
        self, request: GenerateRequest | EmbedRequest, frame: bytes
    ) -> AsyncGenerator[News, None]:
        """Send a request and yield what comes for it up to its last word."""
        is_reply = isinstance(request, GenerateRequest)
        with self._live.opened(request.request_id, request.owner, is_reply=is_reply) as mailbox:
            try:
                while True:
                    worker = mailbox.worker = await self._ready_worker()
                    worker.send(frame)
                    while (item := await mailbox.get()) is not None:
                        yield item
                        if type(item) in LAST_WORDS:
                            return
            finally:
                if mailbox.worker is not None and not mailbox.is_over:
                    mailbox.worker.send(ipc.encode(ipc.Abort(request.request_id)))

    def check_room(self, owner: str) -> None:
        """Raise `Busy` where the queue would refuse a reply; see `Engine.check_room`."""
        self._live.check_room(owner)

    async def purge(self, owner: str, conversation_id: str | None) -> None:
        """Forget what was read for an owner, or only for one of its conversations."""
        if self._state is EngineState.READY:
            self._worker.send(ipc.encode(ipc.Purge(owner, conversation_id)))

    async def expire(self, before_ns: int) -> None:
        """Forget what belongs to no conversation and was last used before a time."""
        if self._state is EngineState.READY:
            self._worker.send(ipc.encode(ipc.Expire(before_ns)))

    def set_lora_scales(self, scales: Scales) -> None:
        """Let the adapters work so strongly from now on, in workers to come too."""
        self._info = self._with_scales(self._info, scales)
        self._scales = scales

    async def drain(self) -> None:
        """Wait until no request is at work or waiting."""
        await self._live.drained()

    async def close(self, *, is_replaced: bool = False) -> None:
        """End the model and its process; idempotent."""
        if self._state is EngineState.CLOSED:
            return
        self._set_state(EngineState.CLOSED)
        self._supervisor.cancel()
        await asyncio.wait({self._supervisor})
        error = unloaded(is_replaced=is_replaced)
        for mailbox in self._live.mailboxes.values():
            mailbox.put(error)
        await self._worker.close()

    async def _start_worker(self, on_progress: Callable[[float], None]) -> None:
        """Bring up a worker that has loaded the model; none is left if that fails."""
        worker = WorkerProcess(self._limits.patience, self._deliver, on_progress, self._take_stats)
        await worker.start(self._spec, self._limits.max_gap_ms, self._limits.cache)
        try:
            self._info = self._with_scales(await worker.loaded(), self._scales)
        except BaseException:
            await asyncio.shield(worker.close(politely=False))
            raise
        self._worker = worker

    @staticmethod
    def _with_scales(info: ModelInfo, scales: Scales | None) -> ModelInfo:
        if scales is None:
            return info
        return replace(info, adapters=rescaled(info.adapters, scales))

    async def _ready_worker(self) -> WorkerProcess:
        """Return the worker that takes requests; wait for one that is on its way.

        Raises:
            EngineDied: There is none, and none is being started.
            ModelNotLoaded: It takes too long.
        """
        try:
            async with asyncio.timeout(self._limits.restart_wait_s):
                while self._state is not EngineState.READY or self._worker.is_cut:
                    self._check_coming()
                    await self._changed.wait()
        except TimeoutError as error:
            raise ModelNotLoaded(
                f"{self._spec.name} is still being started again after "
                f"{self._limits.restart_wait_s:.0f} s",
                "Try again in a while, or load it again in the Model tab.",
                retry_after_s=self._limits.backoff_s[-1],
            ) from error
        return self._worker

    def _check_coming(self) -> None:
        """Raise what keeps a worker from coming; where enough time has passed, have one started."""
        if self._state is EngineState.CLOSED:
            raise unloaded()
        if self._state is not EngineState.FAILED:
            return
        left_s = self._breaker.closed_in_s
        if left_s > 0:
            assert self._cause is not None
            hint = _rest_hint(self._cause, left_s)
            raise EngineDied(self._cause.message, hint, retry_after_s=left_s)
        self._wanted.set()

    async def _supervise(self) -> None:
        """Start a new worker whenever one dies."""
        while True:
            error = await self._worker.wait_dead()
            logger.warning("model %s: %s", self._spec.model_id, error.message)
            self._fail_requests(error)
            await self._revive(error)

    async def _revive(self, error: EngineError) -> None:
        """Start a worker again after a pause; when that is given up, once somebody wants one."""
        while True:
            if isinstance(error, LoadFailed):
                self._breaker.open()
                await self._rest(error)
            elif self._breaker.note_death():
                await self._rest(self._given_up(error))
            else:
                self._set_state(EngineState.RESTARTING, error)
                await asyncio.sleep(self._breaker.pause_s)
            try:
                await self._start_worker(lambda _fraction: None)
            except (EngineDied, LoadFailed) as failure:
                logger.warning("model %s: %s", self._spec.model_id, failure.message)
                error = failure
            else:
                self._past = replace(self._past, num_restarts=self._past.num_restarts + 1)
                self._set_state(EngineState.READY)
                return

    async def _rest(self, error: EngineError) -> None:
        """Start nothing until somebody asks for it, late enough."""
        self._wanted.clear()
        self._cause = error
        hint = _rest_hint(error, self._breaker.window_s)
        self._set_state(EngineState.FAILED, type(error)(error.message, hint))
        await self._wanted.wait()
        self._breaker.close()
        self._set_state(EngineState.RESTARTING, error)

    def _given_up(self, error: EngineError) -> EngineDied:
        window_s = self._breaker.window_s
        return EngineDied(
            f"The engine stopped {self._breaker.num_deaths} times within {window_s:.0f} s and is "
            f"not started again for now. {error.message}"
        )

    def _fail_requests(self, error: EngineDied) -> None:
        num_failed = 0
        for mailbox in self._live.mailboxes.values():
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
        self._changed.set()
        self._changed = asyncio.Event()
        if self._on_state is not None:
            self._on_state(state, error)

    def _deliver(self, message: ipc.OfRequests) -> None:
        deliver(message, self._live.mailboxes)


def _rest_hint(error: EngineError, wait_s: float) -> str:
    again = f"The next message after {math.ceil(wait_s)} s has it started again."
    return " ".join(filter(None, (error.hint, again, LOAD_HINT)))


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
