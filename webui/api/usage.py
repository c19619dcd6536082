"""What was used and what may be used: one's own, and everybody's for administrators."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from webui.accounts.usage import MAX_DAYS
from webui.api.deps import ActorDep, Json, RuntimeDep

router = APIRouter(prefix="/api/usage")


class UsageQuery(BaseModel):
    """How far back: today in UTC and so many days before, less one."""

    model_config = ConfigDict(extra="forbid")

    days: int = Field(default=30, ge=1, le=MAX_DAYS)


@router.get("")
async def get_usage(
    runtime: RuntimeDep, actor: ActorDep, query: Annotated[UsageQuery, Query()]
) -> Response:
    """Return what the actor used by day and model, and what is left of the actor's limits."""
    rows = await runtime.usage.list(actor, query.days)
    return Json({"usage": rows, "limits": await runtime.usage.limits(actor)})


@router.get("/all")
async def get_all_usage(
    runtime: RuntimeDep, actor: ActorDep, query: Annotated[UsageQuery, Query()]
) -> Response:
    """Return what everybody used by day and model; no text of anybody."""
    return Json({"usage": await runtime.usage.list_all(actor, query.days)})
