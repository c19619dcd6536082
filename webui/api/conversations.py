"""Conversations over HTTP: the list, the tree, and the turns that change it.

Knows paths, bodies and answers; all rules of the tree are in `chat`.
"""

from typing import Annotated, Literal, assert_never

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter
from starlette.responses import Response

from webui.api.deps import ID_PATTERN, ActorDep, Json, RuntimeDep, body_of
from webui.errors import InvalidRequest
from webui.sampling_params import OverflowPolicy

router = APIRouter(prefix="/api/conversations")

Id = Annotated[str, StringConstraints(pattern=ID_PATTERN)]
IdInPath = Annotated[str, Path(pattern=ID_PATTERN)]


class ListQuery(BaseModel):
    """Which part of the list is wanted."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=50, ge=1, le=200)
    before: str | None = Field(default=None, max_length=200)


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CreateBody(_Body):
    """A new conversation."""

    title: str = ""


class ChangeBody(_Body):
    """What of a conversation is to change; what is left out stays."""

    title: str | None = None
    active_leaf_id: Id | None = None
    context_overflow: OverflowPolicy | None = None


class SendBody(_Body):
    """A new message below `parent_id` and a reply to it."""

    mode: Literal["send"]
    parent_id: Id | None = None
    text: str


class RetryBody(_Body):
    """Another reply beside this one."""

    mode: Literal["retry"]
    message_id: Id


class ContinueBody(_Body):
    """More of a reply that ended early."""

    mode: Literal["continue"]
    message_id: Id


class EditBody(_Body):
    """Another version of a message, without a reply."""

    mode: Literal["edit"]
    message_id: Id
    text: str


TurnBody = Annotated[SendBody | RetryBody | ContinueBody | EditBody, Field(discriminator="mode")]

_create_body = body_of(TypeAdapter(CreateBody), optional=True)
_change_body = body_of(TypeAdapter(ChangeBody))
# The first part of a location in a union is the tag.
_turn_body = body_of(TypeAdapter[SendBody | RetryBody | ContinueBody | EditBody](TurnBody), skip=1)


@router.get("")
async def list_conversations(
    runtime: RuntimeDep, actor: ActorDep, query: Annotated[ListQuery, Query()]
) -> Response:
    """List the actor's conversations, newest first."""
    return Json(await runtime.conversations.list(actor, query.limit, query.before))


@router.post("")
async def create_conversation(
    runtime: RuntimeDep, actor: ActorDep, body: Annotated[CreateBody, Depends(_create_body)]
) -> Response:
    """Begin a conversation."""
    conversation = await runtime.conversations.create(actor, body.title)
    return Json({"conversation": conversation}, 201)


@router.get("/{conversation_id}")
async def get_conversation(
    runtime: RuntimeDep, actor: ActorDep, conversation_id: IdInPath
) -> Response:
    """Return a conversation with all its messages."""
    return Json(await runtime.conversations.get(actor, conversation_id))


@router.patch("/{conversation_id}")
async def change_conversation(
    runtime: RuntimeDep,
    actor: ActorDep,
    conversation_id: IdInPath,
    body: Annotated[ChangeBody, Depends(_change_body)],
) -> Response:
    """Rename a conversation, show another branch of it, or choose how it is cut.

    A `context_overflow` of null leaves that to the parameters.
    """
    conversation = None
    if body.title is not None:
        conversation = await runtime.conversations.rename(actor, conversation_id, body.title)
    if body.active_leaf_id is not None:
        conversation = await runtime.conversations.set_active_leaf(
            actor, conversation_id, body.active_leaf_id
        )
    if "context_overflow" in body.model_fields_set:
        conversation = await runtime.conversations.set_context_overflow(
            actor, conversation_id, body.context_overflow
        )
    if conversation is None:
        raise InvalidRequest(
            "nothing is to change",
            "Send title, active_leaf_id or context_overflow.",
            field="title",
        )
    return Json({"conversation": conversation})


@router.delete("/{conversation_id}")
async def delete_conversation(
    runtime: RuntimeDep, actor: ActorDep, conversation_id: IdInPath
) -> Response:
    """Put a conversation away; it can be restored."""
    await runtime.conversations.delete(actor, conversation_id)
    return Response(status_code=204)


@router.post("/{conversation_id}/restore")
async def restore_conversation(
    runtime: RuntimeDep, actor: ActorDep, conversation_id: IdInPath
) -> Response:
    """Undo a deletion."""
    return Json({"conversation": await runtime.conversations.restore(actor, conversation_id)})


@router.post("/{conversation_id}/messages")
async def take_turn(
    runtime: RuntimeDep,
    actor: ActorDep,
    conversation_id: IdInPath,
    body: Annotated[SendBody | RetryBody | ContinueBody | EditBody, Depends(_turn_body)],
) -> Response:
    """Send, retry, continue or edit; what is answered is saved, a reply then runs by itself."""
    conversations = runtime.conversations
    match body:
        case SendBody():
            turn = await conversations.send(actor, conversation_id, body.parent_id, body.text)
        case RetryBody():
            turn = await conversations.retry(actor, conversation_id, body.message_id)
        case ContinueBody():
            turn = await conversations.continue_reply(actor, conversation_id, body.message_id)
        case EditBody():
            turn = await conversations.edit(actor, conversation_id, body.message_id, body.text)
        case _:
            assert_never(body)
    return Json(turn, 200 if isinstance(body, EditBody) else 202)
