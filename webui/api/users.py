"""Accounts of others, for administrators."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from starlette.responses import Response

from webui.accounts.users import UserChange
from webui.actor import UserRole
from webui.api.conversations import ListQuery
from webui.api.deps import ID_PATTERN, ActorDep, Json, RuntimeDep, SenderDep, body_of
from webui.api.limits import LimitsBody, read_limits_body
from webui.api.session import MAX_NAME_CHARS, MAX_PASSWORD_CHARS
from webui.errors import InvalidRequest

MAX_PERMISSIONS = 50

router = APIRouter(prefix="/api/users")

IdInPath = Annotated[str, Path(pattern=ID_PATTERN)]
Role = Annotated[UserRole, Field(strict=False)]


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AddBody(_Body):
    """A new account; without a password one is made up, without a role it is the default."""

    name: str = Field(max_length=MAX_NAME_CHARS)
    role: Role | None = None
    password: str | None = Field(default=None, max_length=MAX_PASSWORD_CHARS)


class ChangeBody(_Body):
    """What is to change; `permissions: null` gives those of the role and the groups again.

    Attributes:
        empties: Who becomes a guest may lose the chats and settings they have.
    """

    name: str | None = Field(default=None, max_length=MAX_NAME_CHARS)
    role: Role | None = None
    permissions: list[str] | None = Field(default=None, max_length=MAX_PERMISSIONS)
    is_disabled: bool | None = None
    empties: bool = False


class ResetBody(_Body):
    """A new password; none makes one up.

    Attributes:
        unlinks: Whether links to providers end too; left out, those of who had a password do.
    """

    password: str | None = Field(default=None, max_length=MAX_PASSWORD_CHARS)
    unlinks: bool | None = None


_add_body = body_of(TypeAdapter(AddBody))
_change_body = body_of(TypeAdapter(ChangeBody))
_reset_body = body_of(TypeAdapter(ResetBody), optional=True)


@router.get("")
async def list_users(runtime: RuntimeDep, actor: ActorDep) -> Response:
    """List all accounts."""
    return Json({"users": await runtime.users.list(actor)})


@router.post("")
async def add_user(
    runtime: RuntimeDep,
    actor: ActorDep,
    sender: SenderDep,
    body: Annotated[AddBody, Depends(_add_body)],
) -> Response:
    """Make an account; a password that was made up is told this once."""
    user, password = await runtime.users.add(
        actor, body.name, sender, role=body.role, password=body.password
    )
    return Json({"user": user, "password": password}, 201)


@router.patch("/{user_id}")
async def change_user(
    runtime: RuntimeDep,
    actor: ActorDep,
    sender: SenderDep,
    user_id: IdInPath,
    body: Annotated[ChangeBody, Depends(_change_body)],
) -> Response:
    """Change what somebody is or may do; it holds at once."""
    if not body.model_fields_set - {"empties"}:
        raise InvalidRequest("the body names nothing to change", "Name at least one field.")
    wanted = UserChange(
        name=body.name,
        role=body.role,
        permissions=body.permissions,
        resets_permissions="permissions" in body.model_fields_set and body.permissions is None,
        is_disabled=body.is_disabled,
        empties=body.empties,
    )
    return Json({"user": await runtime.users.change(actor, user_id, wanted, sender)})


@router.post("/{user_id}/password")
async def reset_password(
    runtime: RuntimeDep,
    actor: ActorDep,
    sender: SenderDep,
    user_id: IdInPath,
    body: Annotated[ResetBody, Depends(_reset_body)],
) -> Response:
    """Set somebody's password; one that was made up is told this once."""
    password = await runtime.users.reset_password(
        actor, user_id, sender, password=body.password, unlinks=body.unlinks
    )
    return Json({"password": password})


@router.delete("/{user_id}/sessions")
async def end_sessions(
    runtime: RuntimeDep, actor: ActorDep, sender: SenderDep, user_id: IdInPath
) -> Response:
    """End all sign-ins of somebody, and the replies that run."""
    await runtime.sign_ins.end_all(actor, user_id, sender)
    return Response(status_code=204)


@router.delete("/{user_id}/sessions/{session_id}")
async def end_session(
    runtime: RuntimeDep,
    actor: ActorDep,
    sender: SenderDep,
    user_id: IdInPath,
    session_id: IdInPath,
) -> Response:
    """End one of somebody's sign-ins."""
    await runtime.sign_ins.end(actor, user_id, session_id, sender)
    return Response(status_code=204)


@router.get("/{user_id}/limits")
async def get_limits(runtime: RuntimeDep, actor: ActorDep, user_id: IdInPath) -> Response:
    """Return the limits set for somebody alone, and those that hold."""
    return Json(await runtime.groups.limits_of(actor, user_id))


@router.put("/{user_id}/limits")
async def set_limits(
    runtime: RuntimeDep,
    actor: ActorDep,
    sender: SenderDep,
    user_id: IdInPath,
    body: Annotated[LimitsBody, Depends(read_limits_body)],
) -> Response:
    """Set somebody's limits; those that are left out are as for others."""
    return Json(await runtime.groups.set_limits_of(actor, user_id, body.limits, sender))


@router.delete("/{user_id}")
async def delete_user(
    runtime: RuntimeDep, actor: ActorDep, sender: SenderDep, user_id: IdInPath
) -> Response:
    """Take an account away with everything in it."""
    await runtime.users.delete(actor, user_id, sender)
    return Response(status_code=204)


@router.get("/{user_id}/conversations")
async def list_conversations(
    runtime: RuntimeDep,
    actor: ActorDep,
    sender: SenderDep,
    user_id: IdInPath,
    query: Annotated[ListQuery, Query()],
) -> Response:
    """List somebody's conversations, where administrators may read them; written down."""
    page = await runtime.reading.list(
        actor, user_id, sender, limit=query.limit, before=query.before
    )
    return Json(page)


@router.get("/{user_id}/conversations/{conversation_id}")
async def get_conversation(
    runtime: RuntimeDep,
    actor: ActorDep,
    sender: SenderDep,
    user_id: IdInPath,
    conversation_id: IdInPath,
) -> Response:
    """Return one of somebody's conversations, where administrators may; written down."""
    return Json(await runtime.reading.get(actor, user_id, conversation_id, sender))
