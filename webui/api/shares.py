"""Shares: what the actor lets others read, and what others let the actor read."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter
from starlette.responses import Response

from webui.api.deps import ID_PATTERN, ActorDep, Json, RuntimeDep, SenderDep, body_of
from webui.chat.sharing import MAX_AT_ONCE, Wanted

router = APIRouter(prefix="/api/shares")

Id = Annotated[str, StringConstraints(pattern=ID_PATTERN)]
IdInPath = Annotated[str, Path(pattern=ID_PATTERN)]
Ids = Annotated[list[Id], Field(max_length=MAX_AT_ONCE)]


class ChoicesQuery(BaseModel):
    """Which conversation is to be shared."""

    model_config = ConfigDict(extra="forbid")

    conversation_id: Id


class ReceivedQuery(BaseModel):
    """What the reader has of it."""

    model_config = ConfigDict(extra="forbid")

    version: str = Field(default="", max_length=64)


class ShareBody(BaseModel):
    """What is to be shared and with whom; nobody is meant by being left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    conversation_id: Id
    user_ids: Ids = []
    group_ids: Ids = []
    everybody: bool = False
    is_live: bool = False
    leaf_id: Id | None = None
    expires_at: AwareDatetime | None = None


_share_body = body_of(TypeAdapter(ShareBody))


@router.get("")
async def list_shares(runtime: RuntimeDep, actor: ActorDep) -> Response:
    """List what the actor shares, newest first."""
    return Json({"shares": await runtime.sharing.list(actor)})


@router.post("")
async def share(
    runtime: RuntimeDep,
    actor: ActorDep,
    sender: SenderDep,
    body: Annotated[ShareBody, Depends(_share_body)],
) -> Response:
    """Let others read a conversation; says who sees how much."""
    wanted = Wanted(**dict(body))
    return Json({"shares": await runtime.sharing.share(actor, wanted, sender)}, 201)


@router.get("/choices")
async def list_choices(
    runtime: RuntimeDep, actor: ActorDep, query: Annotated[ChoicesQuery, Query()]
) -> Response:
    """Return with whom a conversation can be shared, and what they would see."""
    return Json(await runtime.sharing.choices(actor, query.conversation_id))


@router.get("/received")
async def list_received(runtime: RuntimeDep, actor: ActorDep) -> Response:
    """List what others let the actor read, the latest first."""
    return Json({"shares": await runtime.sharing.list_received(actor)})


@router.get("/received/{share_id}")
async def get_received(
    runtime: RuntimeDep,
    actor: ActorDep,
    share_id: IdInPath,
    query: Annotated[ReceivedQuery, Query()],
) -> Response:
    """Return the messages of a share; nothing where the reader has them in that version."""
    found = await runtime.sharing.get_received(actor, share_id)
    return Response(status_code=204) if found.version == query.version else Json(found)


@router.post("/received/{share_id}/copy")
async def copy_received(runtime: RuntimeDep, actor: ActorDep, share_id: IdInPath) -> Response:
    """Make a conversation of the actor's own that says the same."""
    return Json({"conversation": await runtime.sharing.copy(actor, share_id)}, 201)


@router.delete("/{share_id}")
async def revoke(
    runtime: RuntimeDep, actor: ActorDep, sender: SenderDep, share_id: IdInPath
) -> Response:
    """End one of the actor's shares."""
    await runtime.sharing.revoke(actor, share_id, sender)
    return Response(status_code=204)
