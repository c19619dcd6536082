"""Model files and the loaded model: who may do what, and what is remembered.

Knows the catalog, the engine pool, jobs and settings; knows nothing of how a model is run. There
is one loaded model for everybody, so what is remembered belongs to the local user. A load goes
on when the one who asked for it goes away; everybody hears how it goes.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from webui.actor import LOCAL_USER_ID, Permission
from webui.chat import model_options
from webui.chat.events import JobChanged, ModelsChanged
from webui.chat.starter import StarterJob
from webui.chat.views import (
    AdapterCard,
    ModelList,
    ModelStatus,
    StarterView,
    job_view,
    model_card,
    status_view,
)
from webui.engine.loader import ModelSpec, NamesFiles
from webui.engine.pool_status import PoolState
from webui.errors import Conflict, LoadFailed, WebuiError, in_one_line
from webui.hub.starter import STARTER_BYTES, STARTER_FILE, adopt_starter, fetch_starter
from webui.storage import settings as settings_table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pydantic import BaseModel

    from webui.actor import Actor
    from webui.chat.event_log import EventLog
    from webui.chat.model_options import ModelOptions
    from webui.chat.views import JobView
    from webui.engine.adapters import ChosenScale
    from webui.engine.pool import EnginePool
    from webui.engine.pool_status import PoolStatus
    from webui.engine.stats import EngineStats
    from webui.hub.catalog import Catalog, ModelFile
    from webui.jobs import Job, Jobs, Progress
    from webui.settings import Settings
    from webui.storage.database import Database


logger = logging.getLogger(__name__)

CANCEL_WAIT_S = 5.0
UNLOAD_WAIT_S = 1.0
FORCE_WAIT_S = 10.0


class Models:
    """Use cases of model files and the loaded model.

    Args:
        pool: Holds the loaded model.
        catalog: Knows the files.
        jobs: Runs the download of the starter.
        database: Where the last model and the options are kept.
        events: Where everybody hears of changes.
        settings: Names the model to load at start.
    """

    def __init__(
        self,
        pool: EnginePool,
        catalog: Catalog,
        jobs: Jobs,
        database: Database,
        events: EventLog,
        settings: Settings,
    ) -> None:
        self._pool = pool
        self._catalog = catalog
        self._database = database
        self._events = events
        self._settings = settings
        self._tasks: set[asyncio.Task[None]] = set()  # loads and unloads, until all is tidy
        self._is_beginning = False
        self._starter = StarterJob(jobs)
        pool.subscribe(self._on_pool)
        jobs.subscribe(self._on_job)

    @property
    def status(self) -> ModelStatus:
        """Which model is loaded or on its way."""
        return status_view(self._pool.status)

    async def list(self, actor: Actor) -> ModelList:  # noqa: ARG002 - everybody may look
        """Return all model files, what is loaded, and whether the starter is worth offering."""
        files = await asyncio.to_thread(self._catalog.list)
        is_available = not self._starter.is_running and all(file.error for file in files)
        return ModelList(
            [model_card(file) for file in files if not file.is_adapter],
            self.status,
            StarterView(is_available, STARTER_BYTES),
            [
                AdapterCard(file.id, file.name, file.size_bytes, file.architecture)
                for file in files
                if file.is_adapter
            ],
        )

    def stats(self, actor: Actor) -> EngineStats | None:  # noqa: ARG002 - everybody may look
        """Return what the loaded model did and does; None without one."""
        engine = self._pool.current
        return None if engine is None else engine.stats

    async def load(
        self,
        actor: Actor,
        model_id: str,
        options: ModelOptions | None = None,
        *,
        force: bool = False,
    ) -> ModelStatus:
        """Begin to load a model and return at once; replies of the old one may end first.

        Args:
            actor: Who wants it.
            model_id: Id or name of a file in the models folder, or the id of what is loaded.
            options: How; None takes those it was last loaded with.
            force: End the replies of the old one at once.

        Raises:
            NotFound: There is no such file, adapter or draft model.
            LoadFailed: The file is no model that can be loaded, or no adapter, or the options
                contradict each other or the file; then it names the field.
            InvalidRequest: An option is out of its bounds or unknown; names the field.
            Conflict: Another load runs.
            PermissionDenied: The actor may not load models, or not this one.
        """
        actor.require(Permission.LOAD_MODELS)
        self._check_idle()
        file = await self._file(model_id)
        actor.require_model(file.id)
        return await self._begin(file, options, force=force)

    async def _begin(
        self,
        file: ModelFile,
        options: ModelOptions | None = None,
        *,
        force: bool = False,
    ) -> ModelStatus:
        """Start the task that loads a file."""
        if file.error is not None:
            error = LoadFailed(f"{file.name} cannot be loaded: {file.error}", file.hint)
            self._pool.fail(file.id, file.name, error)
            raise error
        loader = model_options.loader_of(file.path)
        saved = await self._database.read(model_options.find_options, file.id, loader)
        chosen = saved if options is None else model_options.checked(loader, options)
        try:
            await asyncio.to_thread(loader.check, file.path, chosen)
        except LoadFailed as error:
            self._pool.fail(file.id, file.name, error)
            raise
        located = await asyncio.to_thread(self._located, chosen, file)
        self._check_idle()
        spec = ModelSpec(file.id, file.name, file.path, loader, located)
        self._is_beginning = True
        try:
            loading = self._load_fully(spec, saved, chosen, force=force)
            task = asyncio.create_task(loading, name=f"load {file.id}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            await asyncio.sleep(0)  # the task's first step puts the pool to `loading`
        finally:
            self._is_beginning = False
        return self.status

    def set_lora(self, actor: Actor, chosen: Sequence[ChosenScale]) -> ModelStatus:
        """Let the adapters of the loaded model work as strongly as is chosen, the others not.

        So it is for requests that come from now on, until the model is loaded again; everybody
        hears of it.

        Raises:
            ModelNotLoaded: None is loaded.
            InvalidRequest: The model has no such adapter.
            PermissionDenied: The actor may not load models, or not this one.
        """
        actor.require(Permission.LOAD_MODELS)
        if self._pool.current is not None:
            actor.require_model(self._pool.current_id)
        self._pool.set_lora_scales(chosen)
        return self.status

    async def cancel(self, actor: Actor) -> ModelStatus:
        """End the load that runs, if one does; what was loaded before stays.

        Raises:
            PermissionDenied: The actor may not load models, or not this one.
        """
        actor.require(Permission.LOAD_MODELS)
        if self._pool.status.state is PoolState.LOADING:
            actor.require_model(self._pool.status.model_id)
        self._pool.cancel_load()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CANCEL_WAIT_S)
        return self.status

    async def unload(self, actor: Actor, *, force: bool = False) -> ModelStatus:
        """Close the loaded model once its replies have ended; the next start loads none.

        Returns soon; everybody hears when it is done.

        Args:
            actor: Who wants it.
            force: End the replies at once.

        Raises:
            PermissionDenied: The actor may not load models, or not what is loaded or on its way.
        """
        actor.require(Permission.LOAD_MODELS)
        for model_id in {self._pool.status.model_id, self._pool.current_id} - {None}:
            actor.require_model(model_id)
        task = asyncio.create_task(self._unload_fully(force=force), name="unload")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        done, _ = await asyncio.wait({task}, timeout=FORCE_WAIT_S if force else UNLOAD_WAIT_S)
        for task in done:
            task.result()
        return self.status

    async def _unload_fully(self, *, force: bool) -> None:
        await self._pool.unload(force=force)
        await self._database.run(settings_table.delete, LOCAL_USER_ID, model_options.LAST_MODEL)

    async def starter(self, actor: Actor, path: Path | None = None) -> JobView:
        """Begin to fetch the starter model, or take it from a file; then load it.

        It is loaded only where no model is. Asking again returns the job that runs.

        Raises:
            Conflict: It is being fetched from elsewhere, or for somebody else.
        """
        actor.require(Permission.DOWNLOAD_MODELS)
        actor.require_model(STARTER_FILE)

        async def fetch(progress: Progress) -> None:
            with self._pool.expecting():
                file = await asyncio.to_thread(self._fetch_starter, progress, path)
                self._tell(changed=True)
                if self._pool.status.state in (PoolState.NONE, PoolState.FAILED):
                    await self._begin(await asyncio.to_thread(self._catalog.get_at, str(file)))

        return job_view(await self._starter.begin(actor, path, fetch))

    async def options_for(self, actor: Actor, model_id: str) -> BaseModel:  # noqa: ARG002
        """Return the options a model was last loaded with, else the defaults.

        Raises:
            NotFound: There is no such file.
        """
        file = await self._file(model_id)
        return await self._database.read(
            model_options.find_options, file.id, model_options.loader_of(file.path)
        )

    async def update_options(
        self, actor: Actor, model_id: str, change: Callable[[BaseModel], ModelOptions]
    ) -> BaseModel:
        """Change some options for the next load of a model; changes made at once are all kept.

        Args:
            actor: Who wants it.
            model_id: Id or name of a file.
            change: Given what is saved, returns what is to be; runs in the writer's thread,
                within one transaction, and what it raises leaves all as it was.

        Raises:
            NotFound: There is no such file.
            InvalidRequest: An option is out of its bounds or unknown; names the field.
            PermissionDenied: The actor may not load models, or not this one.
        """
        actor.require(Permission.LOAD_MODELS)
        file = await self._file(model_id)
        actor.require_model(file.id)
        loader = model_options.loader_of(file.path)
        return await self._database.run(model_options.update_options, file.id, loader, change)

    async def reopen_last(self) -> None:
        """Begin to load the model the settings name, else the last one; called once at start.

        What is wrong with it is logged: the server is of use without a model.
        """
        wanted = self._settings.model
        if wanted is None:
            last = await self._database.read(
                settings_table.find, LOCAL_USER_ID, model_options.LAST_MODEL
            )
            wanted = last if isinstance(last, str) else None
        if wanted is None:
            return
        try:
            await self._begin(await asyncio.to_thread(self._catalog.get_at, wanted))
        except WebuiError as error:
            logger.warning("%s", in_one_line(error.message, error.hint))

    async def close(self) -> None:
        """End a load or unload that runs; idempotent."""
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _file(self, model_id: str) -> ModelFile:
        """Return a file of the models folder, or the one that was opened by its path."""
        is_open = model_id == self._pool.status.model_id
        get = self._catalog.get_at if is_open else self._catalog.get
        return await asyncio.to_thread(get, model_id)

    def _check_idle(self) -> None:
        if self._is_beginning or self._pool.status.state is PoolState.LOADING:
            name = self._pool.status.name or "A model"
            raise Conflict(
                f"{name} is being loaded", "Wait until it is there, or cancel that load first."
            )
        if self._pool.status.state is PoolState.UNLOADING:
            raise Conflict(
                f"{self._pool.status.name} is being unloaded", "Wait until its replies have ended."
            )

    def _located(self, options: BaseModel, file: ModelFile) -> BaseModel:
        """Return options of a model with the whole paths of files they name; blocks, in a thread."""
        if not isinstance(options, NamesFiles):
            return options
        catalog = self._catalog

        def draft_path(name: str) -> Path:
            path = catalog.get_draft(name).path
            if path.resolve() == file.path.resolve():
                raise LoadFailed(
                    f"{file.name} cannot be its own draft model",
                    "Choose a smaller one of the same family, or none.",
                )
            return path

        return options.located(lambda name: catalog.get_adapter(name).path, draft_path)

    async def _load_fully(
        self, spec: ModelSpec, saved: BaseModel, chosen: BaseModel, *, force: bool
    ) -> None:
        """See a load to its end; how it goes is told by the pool's status.

        `saved` are the options that were saved when it began, `chosen` those to be saved then.
        """
        try:
            await self._pool.load(spec, force=force)
            await self._database.run(model_options.remember_load, spec, saved, chosen)
        except WebuiError as error:
            logger.warning("%s", in_one_line(error.message, error.hint))
        except Exception:  # the rim: nobody awaits this task but to end it
            logger.exception("loading %s failed", spec.model_id)

    def _fetch_starter(self, progress: Progress, path: Path | None) -> Path:
        """Fetch or adopt; blocks, in a thread."""
        models_dir = self._catalog.models_dir
        if path is not None:
            return adopt_starter(path, models_dir)
        return fetch_starter(models_dir, progress.report, lambda: progress.cancelled)

    def _on_pool(self, _status: PoolStatus) -> None:
        self._tell(changed=False)

    def _on_job(self, job: Job) -> None:
        self._starter.note(job)
        self._events.append(job.owner_id, JobChanged(job_view(job)))

    def _tell(self, *, changed: bool) -> None:
        self._events.broadcast(ModelsChanged(self.status, changed))
