"""What people get who have nothing of their own, for administrators."""

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from starlette.responses import Response

from webui.api.deps import ActorDep, Json, RuntimeDep, SenderDep, body_of
from webui.api.users import MAX_PERMISSIONS, Role

router = APIRouter(prefix="/api/defaults")


class DefaultsBody(BaseModel):
    """All defaults; `permissions: null` gives users those of their role."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Role
    permissions: list[str] | None = Field(default=None, max_length=MAX_PERMISSIONS)


_defaults_body = body_of(TypeAdapter(DefaultsBody))


@router.get("")
async def get_defaults(runtime: RuntimeDep, actor: ActorDep) -> Response:
    """Return the role of new people, and what users may."""
    return Json({"defaults": await runtime.defaults.get(actor)})


@router.put("")
async def set_defaults(
    runtime: RuntimeDep,
    actor: ActorDep,
    sender: SenderDep,
    body: Annotated[DefaultsBody, Depends(_defaults_body)],
) -> Response:
    """Set them; what users may holds at once."""
    found = await runtime.defaults.set(actor, body.role, body.permissions, sender)
    return Json({"defaults": found})
