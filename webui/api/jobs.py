"""Long work over HTTP: what there is, and cancelling; progress comes over `/api/events`."""

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from webui.api.deps import ID_PATTERN, ActorDep, Json, RuntimeDep
from webui.chat.views import job_view

router = APIRouter(prefix="/api/jobs")


@router.get("")
async def list_jobs(runtime: RuntimeDep, actor: ActorDep) -> Response:
    """List the actor's jobs, newest first."""
    return Json({"jobs": [job_view(job) for job in await runtime.jobs.list(actor)]})


@router.post("/{job_id}/cancel")
async def cancel_job(
    runtime: RuntimeDep, actor: ActorDep, job_id: Annotated[str, Path(pattern=ID_PATTERN)]
) -> Response:
    """End a running job."""
    await runtime.jobs.cancel(actor, job_id)
    return Json({}, 202)
