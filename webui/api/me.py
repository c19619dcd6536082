"""Who the caller is."""

from fastapi import APIRouter
from starlette.responses import Response

from webui import __version__
from webui.api.deps import ActorDep, Json

router = APIRouter(prefix="/api/me")


@router.get("")
async def get_me(actor: ActorDep) -> Response:
    """Return the actor's id and name, and the server's version."""
    return Json({"user": {"id": actor.user_id, "name": actor.name}, "version": __version__})
