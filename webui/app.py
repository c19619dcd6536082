"""The composition root: here alone the parts of the house are made and put together.

`create_app` constructs without I/O; the lifespan opens what was constructed and closes it in
reverse order. The page is drawn by Gradio, whose import takes seconds: a thread does that while
the server answers already. Importing this file loads neither Gradio nor a model library.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar, cast

import webui
from webui.accounts.accounts import Accounts
from webui.accounts.api_keys import ApiKeys
from webui.accounts.defaults import Defaults
from webui.accounts.groups import Groups
from webui.accounts.oidc import Oidc
from webui.accounts.passkeys import Passkeys
from webui.accounts.proxy_sign_in import ProxySignIn
from webui.accounts.quotas import Quotas
from webui.accounts.sessions import Lifetime
from webui.accounts.sign_ins import SignIns
from webui.accounts.usage import Usage
from webui.accounts.users import Users
from webui.actor import local_actor
from webui.administration.administration import Administration
from webui.administration.housekeeping import keep_house
from webui.administration.memory import keep_small
from webui.administration.reading import Reading
from webui.api.control import commands, endpoint
from webui.api.control.server import ControlServer
from webui.api.http_app import create_http_app
from webui.api.page import Page
from webui.chat.conversations import Conversations
from webui.chat.embeddings import Embeddings
from webui.chat.event_log import EventLog
from webui.chat.events import MeChanged
from webui.chat.figures import Figures
from webui.chat.generations import Generations
from webui.chat.models import Models
from webui.chat.parameters import Parameters
from webui.chat.server_prompt import ServerPrompt
from webui.chat.sharing import Sharing
from webui.chat.trash import Trash
from webui.engine import saved_states
from webui.engine.fake import FakeEngine
from webui.engine.ipc import CacheSpec
from webui.engine.pool import EnginePool
from webui.engine.process import Limits, LocalEngine
from webui.engine.saved_states import SavedStates
from webui.errors import WebuiError, in_one_line
from webui.hub.catalog import Catalog
from webui.jobs import Jobs
from webui.network.lan import Lan
from webui.runtime import Runtime
from webui.settings import default_models_dir
from webui.storage.backup import Backups
from webui.storage.daily_backup import back_up_daily
from webui.storage.database import Database
from webui.ui.gradio_import import gradio_import

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine

    from fastapi import FastAPI
    from starlette.applications import Starlette

    from webui.settings import Settings

    DrawPage = Callable[[Runtime, Settings], Starlette]

logger = logging.getLogger(__name__)

T = TypeVar("T")

PACKAGE = Path(webui.__file__).parent
LOCK_WAIT_S = 3.0  # for a command that has the data folder for a moment


def draw_with_gradio(runtime: Runtime, settings: Settings) -> Starlette:
    """Import Gradio and build the page; takes seconds and blocks."""
    with gradio_import(settings.data_dir / "tmp" / "gradio"):
        from webui.ui.page import create_page_app  # the one door to Gradio

        return create_page_app(runtime, settings)


def create_app(settings: Settings, *, draw: DrawPage = draw_with_gradio) -> FastAPI:
    """Construct everything; nothing is opened or read before the lifespan begins.

    Args:
        settings: What the server was told.
        draw: Builds the page, in a thread of its own.
    """
    runtime = _construct(settings)
    page = Page(PACKAGE / "ui", on=settings.ui, root_path=settings.root_path)
    control = ControlServer(
        endpoint.socket_path(settings.data_dir), partial(commands.answer, runtime)
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None, None]:
        async with AsyncExitStack() as stack:
            await _open(runtime, stack)
            if runtime.lan.binding.is_open or runtime.lan.certificates is not None:
                _start(stack, runtime.lan.follow(), "lan")
            if settings.ui:
                await asyncio.to_thread(page.read)
                _start(stack, _serve_page(page, runtime, draw), "page")
            stack.push_async_callback(control.close)
            await control.open()
            yield

    return create_http_app(runtime, page, lifespan=lifespan)


def end_streams(app: FastAPI) -> None:
    """End what otherwise holds the server open: event streams and completions; idempotent."""
    app.state.streams.close()


def _construct(settings: Settings) -> Runtime:
    events = EventLog()
    database = Database(settings.database_path, lock_wait_s=LOCK_WAIT_S)
    limits = Limits(max_gap_ms=settings.max_gap_ms, cache=_cache(settings))
    figures = Figures(events)
    open_engine = partial(LocalEngine.open, limits=limits, on_stats=figures.note)
    pool = EnginePool(open_engine, drain_s=settings.drain_s, stall_s=settings.load_stall_s)
    catalog = Catalog(settings.models_dir or default_models_dir(settings.data_dir))
    jobs = Jobs(database)
    parameters = Parameters(database)
    quotas = Quotas(database)
    states = SavedStates(pool, settings.states_dir)
    server_prompt = ServerPrompt(database, states)
    generations = Generations(database, pool, events, quotas, server_prompt)
    backups = Backups(settings.database_path)
    conversations = Conversations(database, generations, parameters, events, states, server_prompt)
    accounts = Accounts(database, lifetime=_lifetime(settings), issuer=settings.oidc_issuer)

    async def forget(user_id: str) -> None:
        events.forget(user_id)
        await quotas.forget(user_id)
        await states.purge(user_id)

    def note_change(user_id: str) -> None:
        events.append(user_id, MeChanged())

    accounts.tell(on_shut_out=generations.stop_of, on_gone=forget, on_change=note_change)
    return Runtime(
        settings=settings,
        database=database,
        accounts=accounts,
        oidc=Oidc(database, accounts, settings),
        proxy_sign_in=ProxySignIn(database, accounts, settings),
        users=Users(database, accounts),
        sign_ins=SignIns(database, accounts),
        administration=Administration(database, backups, generations, events, settings),
        backups=backups,
        api_keys=ApiKeys(database, accounts),
        passkeys=Passkeys(database, accounts),
        groups=Groups(database, accounts),
        defaults=Defaults(database, accounts),
        quotas=quotas,
        usage=Usage(database, quotas),
        pool=pool,
        catalog=catalog,
        events=events,
        jobs=jobs,
        lan=Lan(settings),
        generations=generations,
        embeddings=Embeddings(pool, quotas, generations.requests),
        conversations=conversations,
        sharing=Sharing(database, accounts, quotas, events),
        trash=Trash(database),
        reading=Reading(database, conversations, events),
        models=Models(pool, catalog, jobs, database, events, settings),
        parameters=parameters,
        server_prompt=server_prompt,
    )


def _lifetime(settings: Settings) -> Lifetime:
    idle, longest = settings.session_idle_days, settings.session_days
    return Lifetime(timedelta(days=idle), timedelta(days=longest))


def _cache(settings: Settings) -> CacheSpec:
    return CacheSpec(
        ram_bytes=settings.cache_ram_mb << 20,
        disk_bytes=settings.cache_disk_mb << 20,
        folder=str(settings.states_dir),
    )


async def _open(runtime: Runtime, stack: AsyncExitStack) -> None:
    """Open what lives; what is opened last is closed first."""
    settings = runtime.settings
    await runtime.database.open()
    stack.push_async_callback(runtime.database.close)
    await runtime.accounts.open()
    await runtime.oidc.open()
    await runtime.administration.open()
    await runtime.reading.open()
    await runtime.server_prompt.open()
    runtime.administration.log_tail.open()
    stack.callback(runtime.administration.log_tail.close)
    _start(stack, back_up_daily(runtime.backups), "backup")
    _start(stack, keep_house(runtime.database, runtime.accounts), "house")
    max_age_s = settings.cache_api_hours * 3600
    states = SavedStates(runtime.pool, settings.states_dir)
    _start(stack, saved_states.keep_fresh(states, max_age_s), "states")
    _start(stack, keep_small(lambda: bool(runtime.generations.all_running())), "memory")
    stack.push_async_callback(runtime.quotas.close)
    stack.push_async_callback(runtime.pool.close)
    stack.push_async_callback(runtime.jobs.close)
    stack.push_async_callback(runtime.generations.close)
    stack.push_async_callback(runtime.conversations.close)
    stack.push_async_callback(runtime.models.close)
    stack.callback(runtime.events.close)
    if settings.fake_engine is not None:
        await runtime.pool.adopt(FakeEngine(settings.fake_engine))
        return
    await saved_states.tidy(settings.states_dir, settings.cache_disk_mb << 20)
    await runtime.models.reopen_last()
    if settings.starter:
        await _take_starter(runtime, settings.starter)


async def _take_starter(runtime: Runtime, starter: Path | Literal[True]) -> None:
    """Begin to get the starter model: from the file named, or fetched where there is no model."""
    actor, models = local_actor(), runtime.models
    try:
        if isinstance(starter, Path):
            await models.starter(actor, starter)
        elif (await models.list(actor)).starter.available:
            await models.starter(actor)
    except WebuiError as error:
        logger.warning("%s", in_one_line(error.message, error.hint))


async def _serve_page(page: Page, runtime: Runtime, draw: DrawPage) -> None:
    """Draw the page, then keep its app alive until the server ends."""
    try:
        drawn = await _in_thread(lambda: draw(runtime, runtime.settings), "page")
        async with drawn.router.lifespan_context(drawn):
            page.adopt(drawn)
            # The end of the server comes as a cancel; the app behind shall see a plain end.
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
    except Exception:  # the rim: the shell is a whole page, so the server stays of use
        logger.exception("the page could not be drawn; the shell is served alone")
        page.fail()


def _start(stack: AsyncExitStack, work: Coroutine[None, None, None], name: str) -> None:
    """Start a task that the stack cancels and waits for."""
    task = asyncio.create_task(work, name=name)

    async def end() -> None:
        task.cancel()
        await asyncio.wait({task})

    stack.push_async_callback(end)


async def _in_thread(work: Callable[[], T], name: str) -> T:
    """Run `work` in a thread that does not keep the process from ending."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(cast("T", result))

    def run() -> None:
        result, failure = None, None
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - raised again where it is awaited
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await future
