"""Signing in and out of this browser, and how it stands: public, as the way in must be."""

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from webui.accounts.accounts import SignedIn
from webui.accounts.identity import Source
from webui.accounts.sessions import check_vouched
from webui.api.deps import Json, RuntimeDep, SenderDep, body_of
from webui.api.door import drop_token, keep_token, proxy_user_in, token_of
from webui.runtime import Runtime

MAX_NAME_CHARS = 200
MAX_PASSWORD_CHARS = 2000

router = APIRouter(prefix="/api/session")


class SignInBody(BaseModel):
    """By what somebody comes in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(max_length=MAX_NAME_CHARS)
    password: str = Field(max_length=MAX_PASSWORD_CHARS)


_sign_in_body = body_of(TypeAdapter(SignInBody))


async def begin(request: Request, runtime: Runtime, signed_in: SignedIn) -> Response:
    """Answer that somebody is signed in here; who was before is so no more."""
    before = request.state.identity
    if before is not None and before.source is Source.SESSION:
        await runtime.accounts.sign_out(before)
    response = Json({"user": signed_in.user})
    keep_token(response, signed_in.token, request.scope, runtime.settings.root_path)
    return response


@router.get("")
async def get_session(request: Request, runtime: RuntimeDep) -> Response:
    """Say whether there are accounts, who is signed in here, and by what else one may come in."""
    identity = request.state.identity
    user = None
    if identity is not None:
        user = {
            "id": identity.actor.user_id,
            "name": identity.actor.name,
            "role": identity.actor.role.value,
            "must_change_password": identity.must_change_password,
        }
    return Json(
        {
            "is_claimed": runtime.accounts.is_claimed,
            "user": user,
            "oidc": runtime.oidc.name,
            "proxy_user": proxy_user_in(request.scope),
        }
    )


@router.post("")
async def sign_in(
    request: Request,
    runtime: RuntimeDep,
    sender: SenderDep,
    body: Annotated[SignInBody, Depends(_sign_in_body)],
) -> Response:
    """Sign in by name and password; what was signed in here before is ended.

    Raises:
        PermissionDenied: A trusted proxy names somebody else.
    """
    check_vouched(sender, body.name)  # before the password is looked at
    signed_in = await runtime.accounts.sign_in(body.name, body.password, sender)
    return await begin(request, runtime, signed_in)


@router.delete("")
async def sign_out(request: Request, runtime: RuntimeDep) -> Response:
    """End the sign-in of this browser; nothing happens where there is none."""
    identity = request.state.identity
    if identity is not None:
        await runtime.accounts.sign_out(identity)
    response = Response(status_code=204)
    if token_of(request.scope["headers"]) is not None:
        drop_token(response, request.scope, runtime.settings.root_path)
    return response
