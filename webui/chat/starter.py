"""The one job that fetches the starter model: asking twice does not fetch it twice.

Knows jobs; what the work is, and what becomes of the file, is the caller's.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from webui.errors import Conflict
from webui.storage.tables import JobStatus

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from webui.actor import Actor
    from webui.jobs import Job, Jobs, Progress

STARTER_KIND = "starter"


@dataclass(frozen=True, slots=True)
class _Running:
    job: Job
    path: Path | None


class StarterJob:
    """Runs at most one download of the starter.

    Args:
        jobs: Runs it.
    """

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._starting = asyncio.Lock()
        self._running: _Running | None = None

    @property
    def is_running(self) -> bool:
        """Whether it is on its way."""
        return self._running is not None

    def note(self, job: Job) -> None:
        """Take note of how a job stands."""
        running = self._running
        if running is not None and running.job.id == job.id:
            is_over = job.status is not JobStatus.RUNNING
            self._running = None if is_over else _Running(job, running.path)

    async def begin(
        self, actor: Actor, path: Path | None, work: Callable[[Progress], Awaitable[None]]
    ) -> Job:
        """Begin the download, or return the one that runs if it is the same.

        Args:
            actor: Who wants it.
            path: A file to take instead of downloading; None downloads.
            work: What the job does.

        Raises:
            Conflict: Another one runs: of another file, or of somebody else.
            Busy: Too much work is running.
        """
        async with self._starting:
            running = self._running
            if running is None:
                title = "Starter model" if path is None else f"Starter model from {path.name}"
                job = await self._jobs.start(actor, STARTER_KIND, title, work, unit="bytes")
                self._running = _Running(job, path)
                return job
            if (running.job.owner_id, running.path) == (actor.user_id, path):
                return running.job
        raise Conflict("The starter model is being fetched already", "Wait for its end.")
