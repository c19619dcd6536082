"""Model files and the loaded model over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter
from starlette.responses import Response

from webui.api.deps import ActorDep, Json, RuntimeDep, body_of
from webui.chat.views import figures_view, stats_view
from webui.engine.adapters import MAX_ADAPTERS, MAX_LORA_SCALE, ChosenScale

MAX_MODEL_ID_CHARS = 1024

router = APIRouter(prefix="/api/models")


class LoadBody(BaseModel):
    """Which model to load; options are checked by the loader of that file."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model_id: str = Field(min_length=1, max_length=MAX_MODEL_ID_CHARS)
    options: dict[str, JsonValue] | None = None
    force: bool = False


class LoraScale(BaseModel):
    """How strongly one adapter of the loaded model works."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    id: int = Field(ge=0, lt=MAX_ADAPTERS)
    scale: float = Field(ge=-MAX_LORA_SCALE, le=MAX_LORA_SCALE)


class LoraBody(BaseModel):
    """How strongly adapters work; those that are not named do not work at all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lora: list[LoraScale] = Field(max_length=MAX_ADAPTERS)


_load_body = body_of(TypeAdapter(LoadBody))
_lora_body = body_of(TypeAdapter(LoraBody))


@router.get("")
async def list_models(runtime: RuntimeDep, actor: ActorDep) -> Response:
    """List the model files and say what is loaded."""
    return Json(await runtime.models.list(actor))


@router.get("/stats")
async def get_stats(runtime: RuntimeDep, actor: ActorDep) -> Response:
    """Return what the loaded model did since it was loaded, and what it does now."""
    stats = runtime.models.stats(actor)
    if stats is None:
        return Json({"stats": None, "figures": None})
    return Json({"stats": stats_view(stats), "figures": figures_view(stats)})


@router.post("/load")
async def load_model(
    runtime: RuntimeDep, actor: ActorDep, body: Annotated[LoadBody, Depends(_load_body)]
) -> Response:
    """Begin to load a model; progress comes over `/api/events`."""
    status = await runtime.models.load(actor, body.model_id, body.options, force=body.force)
    return Json({"status": status}, 202)


@router.put("/lora")
async def set_lora(
    runtime: RuntimeDep, actor: ActorDep, body: Annotated[LoraBody, Depends(_lora_body)]
) -> Response:
    """Let the adapters of the loaded model work more or less from the next request on."""
    chosen = [ChosenScale(one.id, one.scale) for one in body.lora]
    return Json({"status": runtime.models.set_lora(actor, chosen)})


@router.post("/cancel")
async def cancel_load(runtime: RuntimeDep, actor: ActorDep) -> Response:
    """Give up the load that runs."""
    return Json({"status": await runtime.models.cancel(actor)}, 202)


@router.post("/unload")
async def unload_model(runtime: RuntimeDep, actor: ActorDep, *, force: bool = False) -> Response:
    """Take the loaded model out of memory when its replies have ended, or at once."""
    return Json({"status": await runtime.models.unload(actor, force=force)}, 202)


@router.post("/starter")
async def fetch_starter(runtime: RuntimeDep, actor: ActorDep) -> Response:
    """Begin to fetch the starter model; a job, with progress over `/api/events`."""
    return Json({"job": await runtime.models.starter(actor)}, 202)
