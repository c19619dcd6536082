"""Groups of people and their limits, for administrators."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter
from starlette.responses import Response

from webui.accounts.groups import GroupChange
from webui.accounts.limits import Limits
from webui.accounts.users import MAX_USERS
from webui.api.deps import ID_PATTERN, ActorDep, Json, RuntimeDep, SenderDep, body_of
from webui.api.session import MAX_NAME_CHARS
from webui.errors import InvalidRequest

router = APIRouter(prefix="/api/groups")

IdInPath = Annotated[str, Path(pattern=ID_PATTERN)]
Ids = Annotated[
    list[Annotated[str, StringConstraints(pattern=ID_PATTERN)]], Field(max_length=MAX_USERS)
]


class AddBody(BaseModel):
    """A new group."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(max_length=MAX_NAME_CHARS)
    limits: Limits | None = None
    member_ids: Ids | None = None


class ChangeBody(BaseModel):
    """What is to change; what is left out stays, `limits` and `member_ids` are replaced whole."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str | None = Field(default=None, max_length=MAX_NAME_CHARS)
    limits: Limits | None = None
    member_ids: Ids | None = None


_add_body = body_of(TypeAdapter(AddBody))
_change_body = body_of(TypeAdapter(ChangeBody))


@router.get("")
async def list_groups(runtime: RuntimeDep, actor: ActorDep) -> Response:
    """List all groups by name."""
    return Json({"groups": await runtime.groups.list(actor)})


@router.post("")
async def add_group(
    runtime: RuntimeDep,
    actor: ActorDep,
    sender: SenderDep,
    body: Annotated[AddBody, Depends(_add_body)],
) -> Response:
    """Make a group."""
    wanted = GroupChange(name=body.name, limits=body.limits, member_ids=body.member_ids)
    return Json({"group": await runtime.groups.add(actor, wanted, sender)}, 201)


@router.patch("/{group_id}")
async def change_group(
    runtime: RuntimeDep,
    actor: ActorDep,
    sender: SenderDep,
    group_id: IdInPath,
    body: Annotated[ChangeBody, Depends(_change_body)],
) -> Response:
    """Change a group; it holds from the next request on."""
    if not body.model_fields_set:
        raise InvalidRequest("the body names nothing to change", "Name at least one field.")
    wanted = GroupChange(name=body.name, limits=body.limits, member_ids=body.member_ids)
    return Json({"group": await runtime.groups.change(actor, group_id, wanted, sender)})


@router.delete("/{group_id}")
async def delete_group(
    runtime: RuntimeDep, actor: ActorDep, sender: SenderDep, group_id: IdInPath
) -> Response:
    """Take a group away; its members stay."""
    await runtime.groups.delete(actor, group_id, sender)
    return Response(status_code=204)
