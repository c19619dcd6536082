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
from webui.api.users import MAX_PERMISSIONS
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
    permissions: list[str] | None = Field(default=None, max_length=MAX_PERMISSIONS)
    limits: Limits | None = None
    member_ids: Ids | None = None


class ChangeBody(BaseModel):
    """What is to change; what is left out stays, lists and `limits` are replaced whole.

    `joining_ids` and `leaving_ids` move some members and leave the others.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str | None = Field(default=None, max_length=MAX_NAME_CHARS)
    permissions: list[str] | None = Field(default=None, max_length=MAX_PERMISSIONS)
    limits: Limits | None = None
    member_ids: Ids | None = None
    joining_ids: Ids = Field(default_factory=list)
    leaving_ids: Ids = Field(default_factory=list)


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
    wanted = GroupChange(
        name=body.name,
        permissions=body.permissions,
        limits=body.limits,
        member_ids=body.member_ids,
    )
    return Json({"group": await runtime.groups.add(actor, wanted, sender)}, 201)


@router.patch("/{group_id}")
async def change_group(
    runtime: RuntimeDep,
    actor: ActorDep,
    sender: SenderDep,
    group_id: IdInPath,
    body: Annotated[ChangeBody, Depends(_change_body)],
) -> Response:
    """Change a group; limits hold from the next request on, permissions at once."""
    if not body.model_fields_set:
        raise InvalidRequest("the body names nothing to change", "Name at least one field.")
    wanted = GroupChange(
        name=body.name,
        permissions=body.permissions,
        limits=body.limits,
        member_ids=body.member_ids,
        joining_ids=tuple(body.joining_ids),
        leaving_ids=tuple(body.leaving_ids),
    )
    return Json({"group": await runtime.groups.change(actor, group_id, wanted, sender)})


@router.delete("/{group_id}")
async def delete_group(
    runtime: RuntimeDep, actor: ActorDep, sender: SenderDep, group_id: IdInPath
) -> Response:
    """Take a group away; its members stay."""
    await runtime.groups.delete(actor, group_id, sender)
    return Response(status_code=204)
