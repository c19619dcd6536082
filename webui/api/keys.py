"""API keys: one's own, and, for administrators, everybody's."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter
from starlette.responses import Response

from webui.accounts.identity import Scope
from webui.api.deps import ID_PATTERN, ActorDep, Json, RuntimeDep, SenderDep, body_of

MAX_NAME_CHARS = 200
MAX_WORDS = 50
MAX_WORD_CHARS = 1024

router = APIRouter(prefix="/api")

IdInPath = Annotated[str, Path(pattern=ID_PATTERN)]
Word = Annotated[str, Field(max_length=MAX_WORD_CHARS)]


class MakeBody(BaseModel):
    """A new key; what is left out or null bounds nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(max_length=MAX_NAME_CHARS)
    endpoints: list[Word] | None = Field(default=None, max_length=MAX_WORDS)
    models: list[Word] | None = Field(default=None, max_length=MAX_WORDS)
    expires_at: AwareDatetime | None = None


_make_body = body_of(TypeAdapter(MakeBody))


@router.get("/keys")
async def list_keys(runtime: RuntimeDep, actor: ActorDep) -> Response:
    """List the actor's keys, newest first."""
    return Json({"keys": await runtime.api_keys.list(actor)})


@router.post("/keys")
async def make_key(
    runtime: RuntimeDep,
    actor: ActorDep,
    sender: SenderDep,
    body: Annotated[MakeBody, Depends(_make_body)],
) -> Response:
    """Make a key, which is told this once."""
    scope = Scope(
        None if body.endpoints is None else frozenset(body.endpoints),
        None if body.models is None else frozenset(body.models),
    )
    made = await runtime.api_keys.make(
        actor, body.name, sender, scope=scope, expires_at=body.expires_at
    )
    return Json({"key": made.key, "view": made.view}, 201)


@router.delete("/keys/{key_id}")
async def delete_key(
    runtime: RuntimeDep, actor: ActorDep, sender: SenderDep, key_id: IdInPath
) -> Response:
    """Revoke one of the actor's keys."""
    await runtime.api_keys.delete(actor, key_id, sender)
    return Response(status_code=204)


@router.get("/users/{user_id}/keys")
async def list_keys_of(runtime: RuntimeDep, actor: ActorDep, user_id: IdInPath) -> Response:
    """List somebody's keys, newest first."""
    return Json({"keys": await runtime.api_keys.list_of(actor, user_id)})


@router.delete("/users/{user_id}/keys/{key_id}")
async def delete_key_of(
    runtime: RuntimeDep, actor: ActorDep, sender: SenderDep, user_id: IdInPath, key_id: IdInPath
) -> Response:
    """Revoke one of somebody's keys."""
    await runtime.api_keys.delete_of(actor, user_id, key_id, sender)
    return Response(status_code=204)
