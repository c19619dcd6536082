"""Running replies: they belong to the server, not to the connection that asked for them.

Knows the engine pool and the event log, and hands saving to the saver; knows neither HTTP nor
SQL. Everything runs on one event loop. A token costs an append to a list and to the event log.
A reply is saved for good before its `done` is told, and stays in memory for a minute more, so
that a transcript which was read from storage just before is still completed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from webui.actor import check_model
from webui.chat.completions import Completions
from webui.chat.events import ConversationChanged
from webui.chat.owner_log import Entry
from webui.chat.prompt import engine_params
from webui.chat.reply import Order, Reply
from webui.chat.running import ProgramRequests
from webui.chat.saver import RETRY_FIRST_S, TICK_S, Saver
from webui.chat.views import ErrorView, GenerationView
from webui.engine.interface import GenerateRequest, Priority
from webui.engine.pool_status import PoolState
from webui.engine.turnover import Turnover
from webui.engine.waiting import MAX_WAITING
from webui.errors import (
    Busy,
    Conflict,
    EngineDied,
    EngineError,
    NotFound,
    QuotaExceeded,
    WebuiError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator

    from webui.accounts.meter import Meter
    from webui.accounts.quotas import Admission, Quotas
    from webui.actor import Actor
    from webui.chat.event_log import EventLog
    from webui.chat.reply import Phase
    from webui.chat.running import Running
    from webui.chat.server_prompt import ServerPrompt
    from webui.chat.views import ConversationView, MessageView
    from webui.engine.pool import EnginePool
    from webui.engine.pool_status import PoolStatus
    from webui.storage.database import Database

logger = logging.getLogger(__name__)

KEPT_S = 60.0
MAX_RUNNING_PER_OWNER = 32
LOAD_WAIT_S = 3600.0
STOP_WAIT_S = 0.5
CLOSE_WAIT_S = 5.0
KEPT_HINT = "What was written so far is kept."


@dataclass(frozen=True, slots=True)
class _Run:
    """A reply at work: `stream` reads the engine, `task` sees it to its end."""

    reply: Reply
    stream: asyncio.Task[None]
    task: asyncio.Task[None]


class Generations:
    """All running replies of this server.

    Args:
        database: Where replies are kept.
        pool: Whose engine writes them.
        events: Where their owners hear of them.
        quotas: What their owners may use.
        server_prompt: What replies to programs begin with.
        tick_s: Seconds between two savings of progress.
        retry_s: Seconds before a last saving that failed is tried again, at first.
        clock: Monotonic seconds.

    Attributes:
        requests: Those of programs, of which nothing is kept.
    """

    def __init__(  # noqa: PLR0913 - what it works with is given
        self,
        database: Database,
        pool: EnginePool,
        events: EventLog,
        quotas: Quotas,
        server_prompt: ServerPrompt,
        *,
        tick_s: float = TICK_S,
        retry_s: float = RETRY_FIRST_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.quotas = quotas
        self._pool = pool
        self._events = events
        self._saver = Saver(database, events, tick_s=tick_s, retry_s=retry_s)
        self._clock = clock
        self._runs: dict[str, _Run] = {}
        self._ended: dict[str, tuple[float, Reply]] = {}  # by message, oldest first
        self.requests = ProgramRequests(clock)
        self._completions = Completions(pool, quotas, self.requests, server_prompt)
        self.complete = self._completions.complete
        self._turnover = Turnover()
        self._reserved: set[tuple[str, str]] = set()
        self._is_closing = False
        pool.subscribe(self._on_pool)

    @contextmanager
    def reserve(self, owner: str, conversation_id: str) -> Iterator[None]:
        """Keep a conversation for one who is about to save a turn and `start` it.

        Raises:
            Conflict: A reply is being written in it, or the server is ending.
            Busy: The owner has too many running replies, or the queue is full; says when there may
                be room.
        """
        if self._is_closing:
            raise Conflict("The server is being stopped", "Try again when it is back.")
        key = (owner, conversation_id)
        orders = [run.reply.order for run in self._runs.values() if run.reply.order.owner == owner]
        if key in self._reserved or any(o.conversation_id == conversation_id for o in orders):
            raise Conflict(
                "A reply is already being written in this conversation",
                "Wait for its end or stop it first.",
            )
        if len(orders) >= MAX_RUNNING_PER_OWNER:
            raise Busy.about(
                f"{len(orders)} replies are already being written or waiting for you",
                "Wait until one of them has ended.",
                self._turnover.next_s(len(orders)),
            )
        self._check_queue(owner)
        self._reserved.add(key)
        try:
            yield
        finally:
            self._reserved.discard(key)

    def check_model(self, actor: Actor) -> None:
        """Check at once that the actor's key opens the loaded model; one on its way is not known.

        Raises:
            PermissionDenied: It does not.
        """
        if self._pool.current is not None:
            actor.require_model(self._pool.current_id)

    def start(self, order: Order, admission: Admission, meter: Meter) -> GenerationView:
        """Begin to write a reply whose row is committed; does not wait.

        Args:
            order: The reply.
            admission: Entered; left when the reply has ended.
            meter: What `admission` returned.
        """
        reply = Reply(order, self._clock)
        name = order.generation_id
        stream = asyncio.create_task(self._stream(reply, meter), name=f"stream {name}")
        seeing = self._see_through(reply, stream, meter, admission)
        task = asyncio.create_task(seeing, name=f"reply {name}")
        self._runs[name] = _Run(reply, stream, task)
        self._saver.add(reply)
        return GenerationView(name, order.message.id)

    def running(self, conversation_id: str) -> GenerationView | None:
        """Return the reply that is being written in a conversation."""
        for name, run in self._runs.items():
            if run.reply.order.conversation_id == conversation_id:
                return GenerationView(name, run.reply.order.message.id, run.reply.phase)
        return None

    async def follow(self, actor: Actor, after: str | None) -> AsyncGenerator[list[Entry], None]:
        """Yield the actor's events as `EventLog.subscribe` does.

        Who begins without a cursor hears first what each of his replies waits for.
        """
        owner = actor.user_id
        async with aclosing(self._events.subscribe(owner, after)) as batches:
            is_late = after is None
            async for batch in batches:
                if is_late:
                    batch += [Entry(batch[-1].n, phase) for phase in self._phases(owner)]
                    is_late = False
                yield batch

    def live(self, conversation_id: str) -> dict[str, MessageView]:
        """Return running and just ended replies of a conversation as they are now, by message."""
        self._forget_old()
        views = {
            reply.order.message.id: reply.view()
            for _, reply in self._ended.values()
            if reply.order.conversation_id == conversation_id
        }
        for run in self._runs.values():
            if run.reply.order.conversation_id == conversation_id:
                views[run.reply.order.message.id] = run.reply.view()
        return views

    def marked(self, conversation: ConversationView) -> ConversationView:
        """Return the conversation with the truth about `running`."""
        is_running = self.running(conversation.id) is not None
        return msgspec.structs.replace(conversation, running=is_running)

    async def stop(self, actor: Actor, generation_id: str) -> None:
        """End a reply and keep what there is of it; nothing happens when it has just ended.

        Raises:
            NotFound: There is no such reply, or it is somebody else's.
        """
        run = self._runs.get(generation_id)
        if run is None or run.reply.order.owner != actor.user_id:
            if any(
                reply.order.generation_id == generation_id and reply.order.owner == actor.user_id
                for _, reply in self._ended.values()
            ):
                return
            raise NotFound("There is no such running reply")
        await self._stop(run)

    async def stop_in(self, conversation_id: str) -> None:
        """End the reply of a conversation, if one is being written."""
        for run in list(self._runs.values()):
            if run.reply.order.conversation_id == conversation_id:
                await self._stop(run)

    async def stop_of(self, user_id: str) -> None:
        """End all replies that are being written for somebody, and keep what there is of them."""
        for run in list(self._runs.values()):
            if run.reply.order.owner == user_id:
                await self._stop(run)

    def all_running(self) -> list[Running]:
        """Return what is being written or read and what waits, of everybody."""
        return [run.reply.running() for run in self._runs.values()] + self.requests.running()

    async def close(self) -> None:
        """End all replies, keep their text as interrupted, and wait for that; idempotent."""
        self._is_closing = True
        runs = list(self._runs.values())
        for run in runs:
            run.stream.cancel()
        if runs:
            _, late = await asyncio.wait({run.task for run in runs}, timeout=CLOSE_WAIT_S)
            for task in late:  # storage refuses; the last tick is what is kept
                task.cancel()
            if late:
                await asyncio.wait(late)
        await self._saver.close()

    def _check_queue(self, owner: str) -> None:
        """Refuse a reply before it is saved that the engine would refuse a moment later."""
        engine, num_waiting = self._pool.current, self._pool.num_waiting
        if engine is not None:
            engine.check_room(owner)
        elif num_waiting >= MAX_WAITING:
            raise Busy(
                f"The queue is full: {num_waiting} replies wait for the model",
                "Try again when it is loaded.",
            )

    async def _stop(self, run: _Run) -> None:
        run.stream.cancel()
        await asyncio.wait({run.task}, timeout=STOP_WAIT_S)

    async def _stream(self, reply: Reply, meter: Meter) -> None:
        """Read the engine to the end of the reply."""
        order = reply.order
        self._tell_loading(self._pool.status, [reply])
        engine = await self._pool.acquire(LOAD_WAIT_S)
        check_model(order.models, self._pool.current_id)
        reply.asked(engine.info.name)
        request = GenerateRequest(
            request_id=order.generation_id,
            owner=order.owner,
            conversation_id=order.conversation_id,
            priority=Priority.CHAT,
            messages=order.prompt,
            continue_last=order.is_continuation,
            params=engine_params(order.params),
            is_seed_drawn=order.is_seed_drawn,
            num_shared_messages=order.shared.num_messages,
            num_shared_chars=order.shared.num_chars,
        )
        append, owner = self._events.append, order.owner
        async with aclosing(meter.watch(engine.generate(request))) as deltas:
            async for delta in deltas:
                for event in reply.take(delta):
                    append(owner, event)
        if meter.is_cut:
            append(owner, reply.notice(QuotaExceeded.code, NO_TOKENS_LEFT))
        if not reply.is_finished:
            raise EngineError("The engine ended the reply without saying why", "Try again.")

    async def _see_through(
        self, reply: Reply, stream: asyncio.Task[None], meter: Meter, admission: Admission
    ) -> None:
        """Wait for the stream, save the reply for good, then tell."""
        order = reply.order
        try:
            await asyncio.wait({stream})
            for event in reply.flush():
                self._events.append(order.owner, event)
            status, error = self._ending(reply, stream)
            spent = meter.spent(reply.model or "")
            conversation = await self._saver.finish(reply, reply.end(status, error), spent)
        except Exception:  # the rim: a bug must not leave a reply that never ends
            logger.exception("reply %s could not be ended", order.generation_id)
            conversation = await self._end_anyway(reply)
        finally:
            if reply.is_finished:
                self._turnover.note(reply.running().since_s)
            del self._runs[order.generation_id]
            admission.leave()
        self._keep(reply)
        self._events.append(order.owner, reply.saved())
        if conversation is not None:
            changed = ConversationChanged(self.marked(conversation))
            self._events.append(order.owner, changed)

    async def _end_anyway(self, reply: Reply) -> ConversationView | None:
        """Try once more to save a reply, as failed: a row left open would block its conversation."""
        try:
            return await self._saver.finish(reply, reply.end("error", INTERNAL_ERROR))
        except Exception:
            logger.exception("reply %s stays open until the next start", reply.order.generation_id)
            return None

    def _ending(self, reply: Reply, stream: asyncio.Task[None]) -> tuple[str, ErrorView | None]:
        """Return status and error that tell how the stream ended."""
        if stream.cancelled():
            return ("interrupted" if self._is_closing else "stopped"), None
        error = stream.exception()
        if error is None:
            return reply.finished_status, None
        if isinstance(error, WebuiError):
            if not isinstance(error, EngineDied):
                return "error", ErrorView(error.code, error.message, error.hint)
            hint = f"{KEPT_HINT} {error.hint}" if reply.has_text else error.hint
            return "interrupted", ErrorView(error.code, error.message, hint.rstrip())
        logger.error("reply %s failed", reply.order.generation_id, exc_info=error)
        return "error", INTERNAL_ERROR

    def _on_pool(self, status: PoolStatus) -> None:
        self._tell_loading(status, [run.reply for run in self._runs.values()])

    def _tell_loading(self, status: PoolStatus, replies: list[Reply]) -> None:
        is_restarting = status.state is PoolState.RESTARTING
        if not is_restarting and (self._pool.current or status.state is not PoolState.LOADING):
            return  # nobody waits: there is a model that answers
        for reply in replies:
            if reply.is_waiting:
                self._events.append(reply.order.owner, reply.loading(status.fraction or 0.0))

    def _phases(self, owner: str) -> list[Phase]:
        replies = [run.reply for run in self._runs.values()]
        return [r.phase for r in replies if r.order.owner == owner and r.phase is not None]

    def _keep(self, reply: Reply) -> None:
        self._forget_old()
        message_id = reply.order.message.id
        self._ended.pop(message_id, None)
        self._ended[message_id] = (self._clock(), reply)
        # Where nothing more happens it shall go too: with it goes the whole prompt.
        asyncio.get_running_loop().call_later(KEPT_S + 1, self._forget_old)

    def _forget_old(self) -> None:
        now = self._clock()
        while self._ended:
            message_id = next(iter(self._ended))
            if now - self._ended[message_id][0] < KEPT_S:
                return
            del self._ended[message_id]


NO_TOKENS_LEFT = "The reply ends here: you have used the tokens that you may use a day."
INTERNAL_ERROR = ErrorView("internal_error", "Internal error", "The log of the server says more.")
