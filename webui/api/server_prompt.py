"""What the model is told in every conversation: everybody reads it, administrators set it."""

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, TypeAdapter
from starlette.responses import Response

from webui.api.deps import ActorDep, Json, RuntimeDep, SenderDep, body_of

router = APIRouter(prefix="/api/server-prompt")


class ServerPromptBody(BaseModel):
    """The whole text; empty takes it away."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    server_prompt: str


_server_prompt_body = body_of(TypeAdapter(ServerPromptBody))


@router.get("")
async def get_server_prompt(runtime: RuntimeDep, _: ActorDep) -> Response:
    """Return what every conversation begins with."""
    return Json({"server_prompt": runtime.server_prompt.text})


@router.put("")
async def set_server_prompt(
    runtime: RuntimeDep,
    actor: ActorDep,
    sender: SenderDep,
    body: Annotated[ServerPromptBody, Depends(_server_prompt_body)],
) -> Response:
    """Set it, from the next reply on."""
    kept = await runtime.server_prompt.set(actor, body.server_prompt, sender)
    return Json({"server_prompt": kept})
