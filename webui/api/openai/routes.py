"""`/v1/chat/completions`, `/v1/completions` and `/v1/models`.

Knows what they have in common; the answers are written by `answers`.
"""

import asyncio
import secrets
from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from webui.actor import Actor
from webui.api.deps import ActorDep, Json, RuntimeDep, StreamsDep, parse
from webui.api.openai.answers import Completion, CompletionStream, Heading
from webui.api.openai.chat_request import ChatRequest
from webui.api.openai.fan import numbered
from webui.api.openai.model_name import check_model
from webui.api.openai.shapes import ChatShape, ProbsShape, Shape, TextShape
from webui.api.openai.text_request import TextRequest
from webui.api.sse import Streams
from webui.errors import NotFound
from webui.hub.catalog import Catalog
from webui.runtime import Runtime

router = APIRouter(prefix="/v1")

_chat = TypeAdapter(ChatRequest)
_text = TypeAdapter(TextRequest)


async def read_chat_request(request: Request) -> ChatRequest:
    """Read the body as leniently as clients of this dialect expect."""
    return parse(_chat, await request.body(), strict=None)


async def read_text_request(request: Request) -> TextRequest:
    """Read the body as leniently as clients of this dialect expect."""
    return parse(_text, await request.body(), strict=None)


@router.post("/chat/completions")
async def complete_chat(
    runtime: RuntimeDep,
    actor: ActorDep,
    streams: StreamsDep,
    asked: Annotated[ChatRequest, Depends(read_chat_request)],
) -> Response:
    """Answer a conversation that nobody keeps."""
    return _complete(runtime, actor, streams, asked, ChatShape())


@router.post("/completions")
async def complete_text(
    runtime: RuntimeDep,
    actor: ActorDep,
    streams: StreamsDep,
    asked: Annotated[TextRequest, Depends(read_text_request)],
) -> Response:
    """Write on at the end of a text, without a chat template."""
    shape = ProbsShape() if asked.wants_probs else TextShape()
    return _complete(runtime, actor, streams, asked, shape, echo=bool(asked.echo))


@router.get("/models")
async def list_models(runtime: RuntimeDep, _: ActorDep) -> Response:
    """List what answers now: the loaded model."""
    engine, model_id = runtime.pool.current, runtime.pool.current_id
    models = []
    if engine is not None and model_id is not None:
        created = await asyncio.to_thread(_modified_s, runtime.catalog, model_id)
        entry = {"object": "model", "created": created, "owned_by": "hearthside"}
        models = [{"id": engine.info.name, **entry}]
    return Json({"object": "list", "data": models})


def _modified_s(catalog: Catalog, model_id: str) -> int:
    """Return when a model's file was written, in Unix seconds; 0 where there is none. Blocks."""
    try:
        return int(catalog.get_at(model_id).path.stat().st_mtime)
    except (NotFound, OSError):
        return 0


def _complete(
    runtime: Runtime,
    actor: Actor,
    streams: Streams,
    asked: ChatRequest | TextRequest,
    shape: Shape,
    *,
    echo: bool = False,
) -> Response:
    params, prompts, form = asked.params(), asked.prompts(), asked.form()
    num_replies = len(prompts) * asked.num_choices
    heading = Heading(
        shape=shape,
        completion_id=f"{shape.id_prefix}{secrets.token_hex(12)}",
        model=check_model(asked.model, runtime),
        num_choices=num_replies,
        with_logprobs=params.logprobs,
        with_usage=asked.wants_usage,
        echoes=tuple((echo and prompt.text) or "" for prompt in prompts),
        service_tier=asked.told_tier,
    )
    admission = runtime.quotas.admission(actor, num_requests=num_replies)
    replies = [
        runtime.generations.complete(
            actor,
            prompt.messages,
            choice,
            plain_text=prompt.text,
            continue_last=prompt.continue_last,
            form=form,
            admission=admission,
            lora=asked.lora_scales(),
            is_background=asked.is_background,
        )
        for prompt in prompts
        for choice in asked.choices(params)
    ]
    kind = CompletionStream if asked.stream else Completion
    return kind(streams, numbered(replies), heading)
