"""Whether the server is up: public, cheap, and answered before anything is loaded."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from webui import __version__
from webui.api.deps import Json, PageDep, RuntimeDep

router = APIRouter(prefix="/health")


@router.get("")
async def get_health(request: Request, runtime: RuntimeDep, page: PageDep) -> Response:
    """Say that the web process is up, and how page and model stand; strangers get no names."""
    status = runtime.models.status
    return Json(
        {
            "status": "ok",
            "version": __version__,
            "ui": page.state,
            "model": status if request.state.identity else {"state": status.state},
        }
    )
