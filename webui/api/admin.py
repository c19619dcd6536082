"""The server as a whole, for administrators."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from starlette.responses import Response

from webui.api.deps import ActorDep, IdentityDep, Json, RuntimeDep, SenderDep, body_of

router = APIRouter(prefix="/api/admin")


class LogQuery(BaseModel):
    """How much of the log is wanted."""

    model_config = ConfigDict(extra="forbid")

    lines: int = Field(default=200, ge=1, le=1000)


class BannerBody(BaseModel):
    """What everybody is to see; empty takes it away."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    banner: str = Field(max_length=10_000)


class ReadingBody(BaseModel):
    """Whether administrators may read chats."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    is_on: bool


_reading_body = body_of(TypeAdapter(ReadingBody))
_banner_body = body_of(TypeAdapter(BannerBody))


@router.get("")
async def look(runtime: RuntimeDep, actor: ActorDep) -> Response:
    """Return how the server stands: who runs and waits, disk, backups, banner."""
    return Json({"server": await runtime.administration.look(actor)})


@router.get("/log")
async def get_log(
    runtime: RuntimeDep, actor: ActorDep, query: Annotated[LogQuery, Query()]
) -> Response:
    """Return the last lines of the log, oldest first."""
    return Json({"lines": runtime.administration.log(actor, query.lines)})


@router.get("/sessions")
async def list_sessions(runtime: RuntimeDep, identity: IdentityDep) -> Response:
    """List everybody's sign-ins and API keys, last used first."""
    return Json(await runtime.sign_ins.list(identity))


@router.get("/storage")
async def list_stored(runtime: RuntimeDep, actor: ActorDep) -> Response:
    """Return how much text each person keeps; reads all of it."""
    return Json({"people": await runtime.usage.list_stored(actor)})


@router.post("/backups")
async def back_up(runtime: RuntimeDep, actor: ActorDep) -> Response:
    """Make a backup now; answers when it is checked."""
    return Json({"backup": await runtime.administration.back_up(actor)}, 201)


@router.put("/banner")
async def set_banner(
    runtime: RuntimeDep, actor: ActorDep, body: Annotated[BannerBody, Depends(_banner_body)]
) -> Response:
    """Show everybody a line."""
    return Json({"banner": await runtime.administration.set_banner(actor, body.banner)})


@router.put("/reading")
async def switch_reading(
    runtime: RuntimeDep,
    actor: ActorDep,
    sender: SenderDep,
    body: Annotated[ReadingBody, Depends(_reading_body)],
) -> Response:
    """Let administrators read chats, of which everybody is told, or no more."""
    await runtime.reading.switch(actor, sender, is_on=body.is_on)
    return Json({"is_on": body.is_on})
