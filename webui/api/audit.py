"""What was done to accounts, for administrators."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from webui.api.deps import ActorDep, Json, RuntimeDep

router = APIRouter(prefix="/api/audit")


class AuditQuery(BaseModel):
    """Which part of the log is wanted."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=50, ge=1, le=500)
    before: int | None = Field(default=None, ge=0, le=2**53)


@router.get("")
async def list_audit(
    runtime: RuntimeDep, actor: ActorDep, query: Annotated[AuditQuery, Query()]
) -> Response:
    """List what was done, newest first."""
    entries = await runtime.users.list_audit(actor, limit=query.limit, before=query.before)
    return Json({"entries": entries})
