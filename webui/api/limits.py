"""Limits of everybody, for administrators."""

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, TypeAdapter
from starlette.responses import Response

from webui.accounts.limits import Limits
from webui.api.deps import ActorDep, Json, RuntimeDep, SenderDep, body_of

router = APIRouter(prefix="/api/limits")


class LimitsBody(BaseModel):
    """All limits that are to be set; those that are left out are not, null is no limit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    limits: Limits


read_limits_body = body_of(TypeAdapter(LimitsBody))


@router.get("")
async def get_limits(runtime: RuntimeDep, actor: ActorDep) -> Response:
    """Return the default limits."""
    return Json({"limits": (await runtime.groups.default_limits(actor)).saved()})


@router.get("/all")
async def list_limits(runtime: RuntimeDep, actor: ActorDep) -> Response:
    """List the limits of everybody, and from where each comes."""
    return Json({"people": await runtime.groups.list_limits(actor)})


@router.put("")
async def set_limits(
    runtime: RuntimeDep,
    actor: ActorDep,
    sender: SenderDep,
    body: Annotated[LimitsBody, Depends(read_limits_body)],
) -> Response:
    """Set the default limits; they hold from the next request on."""
    limits = await runtime.groups.set_default_limits(actor, body.limits, sender)
    return Json({"limits": limits.saved()})
