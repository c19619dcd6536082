"""The caller's own account."""

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from webui import __version__
from webui.api.deps import (
    ActorDep,
    IdentityDep,
    Json,
    RuntimeDep,
    SenderDep,
    StreamsDep,
    body_of,
)
from webui.api.door import drop_token, keep_token
from webui.api.export import FileStream
from webui.api.session import MAX_NAME_CHARS, MAX_PASSWORD_CHARS
from webui.chat.export import export
from webui.storage.tables import utc_now

router = APIRouter(prefix="/api/me")


class PasswordBody(BaseModel):
    """The password so far, of who has one, and the next one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    old: str | None = Field(default=None, max_length=MAX_PASSWORD_CHARS)
    new: str = Field(max_length=MAX_PASSWORD_CHARS)


class DeleteBody(BaseModel):
    """The password of who has one, since there is no way back; else, by a proxy's word, the name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    password: str | None = Field(default=None, max_length=MAX_PASSWORD_CHARS)
    name: str | None = Field(default=None, max_length=MAX_NAME_CHARS)


_password_body = body_of(TypeAdapter(PasswordBody))
_delete_body = body_of(TypeAdapter(DeleteBody), optional=True)


@router.get("")
async def get_me(runtime: RuntimeDep, actor: ActorDep) -> Response:
    """Return who the actor is and may do, the banner, and the server's version."""
    user = {
        "id": actor.user_id,
        "name": actor.name,
        "role": actor.role.value,
        "permissions": sorted(actor.permissions),
        "has_password": (await runtime.accounts.get(actor)).has_password,
    }
    claimed = runtime.accounts.is_claimed
    return Json(
        {
            "user": user,
            "is_claimed": claimed,
            "banner": runtime.administration.banner,
            "administrators_read": runtime.reading.is_on,
            "version": __version__,
        }
    )


@router.get("/export")
async def export_me(runtime: RuntimeDep, actor: ActorDep, streams: StreamsDep) -> Response:
    """Return all chats, parameters, usage, passkeys and links of the actor as one JSON file."""
    pieces = export(
        actor,
        runtime.conversations,
        runtime.parameters,
        runtime.usage,
        runtime.passkeys,
        runtime.oidc,
    )
    return FileStream(streams, pieces, f"hearthside-{utc_now():%Y-%m-%d}.json")


@router.put("/password")
async def change_password(
    request: Request,
    runtime: RuntimeDep,
    identity: IdentityDep,
    sender: SenderDep,
    body: Annotated[PasswordBody, Depends(_password_body)],
) -> Response:
    """Change the password, or take a first one; all sign-ins end, and this browser gets a new one."""
    changed = await runtime.accounts.change_password(identity, body.old, body.new, sender)
    response = Json({"user": changed.user})
    keep_token(response, changed.token, request.scope, runtime.settings.root_path)
    return response


@router.delete("")
async def delete_me(
    request: Request,
    runtime: RuntimeDep,
    identity: IdentityDep,
    sender: SenderDep,
    body: Annotated[DeleteBody, Depends(_delete_body)],
) -> Response:
    """Take the account away with everything in it."""
    await runtime.accounts.delete(identity, body.password, sender, name=body.name)
    response = Response(status_code=204)
    drop_token(response, request.scope, runtime.settings.root_path)
    return response
