"""The trash: conversations that were deleted, and their end for good."""

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from webui.api.deps import ID_PATTERN, ActorDep, Json, RuntimeDep

router = APIRouter(prefix="/api/trash")

IdInPath = Annotated[str, Path(pattern=ID_PATTERN)]


@router.get("")
async def get_trash(runtime: RuntimeDep, actor: ActorDep) -> Response:
    """List what the actor deleted and can bring back, the latest first."""
    return Json(await runtime.trash.get(actor))


@router.delete("")
async def empty_trash(runtime: RuntimeDep, actor: ActorDep) -> Response:
    """End all of it for good."""
    return Json({"deleted": await runtime.trash.empty(actor)})


@router.delete("/{conversation_id}")
async def delete_for_good(
    runtime: RuntimeDep, actor: ActorDep, conversation_id: IdInPath
) -> Response:
    """End one conversation for good."""
    await runtime.trash.delete(actor, conversation_id)
    return Response(status_code=204)
