"""Making the first administrator with the code that the server printed: public, and once."""

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from webui.api.deps import Json, RuntimeDep, SenderDep, body_of
from webui.api.door import keep_token
from webui.api.session import MAX_NAME_CHARS, MAX_PASSWORD_CHARS

MAX_CODE_CHARS = 100

router = APIRouter(prefix="/api/first-run")


class ClaimBody(BaseModel):
    """The code, and who the administrator is to be."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str = Field(max_length=MAX_CODE_CHARS)
    name: str = Field(max_length=MAX_NAME_CHARS)
    password: str = Field(max_length=MAX_PASSWORD_CHARS)


_claim_body = body_of(TypeAdapter(ClaimBody))


@router.post("")
async def claim(
    request: Request,
    runtime: RuntimeDep,
    sender: SenderDep,
    body: Annotated[ClaimBody, Depends(_claim_body)],
) -> Response:
    """Make the administrator, who is signed in with it."""
    signed_in = await runtime.accounts.claim(body.code, body.name, body.password, sender)
    response = Json({"user": signed_in.user}, 201)
    keep_token(response, signed_in.token, request.scope, runtime.settings.root_path)
    return response
