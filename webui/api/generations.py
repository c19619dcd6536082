"""Running replies over HTTP: stopping one; their text comes over `/api/events`."""

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from webui.api.deps import ID_PATTERN, ActorDep, Json, RuntimeDep

router = APIRouter(prefix="/api/generations")


@router.post("/{generation_id}/stop")
async def stop_generation(
    runtime: RuntimeDep,
    actor: ActorDep,
    generation_id: Annotated[str, Path(pattern=ID_PATTERN)],
) -> Response:
    """End a running reply; what is there of it stays."""
    await runtime.generations.stop(actor, generation_id)
    return Json({}, 202)
