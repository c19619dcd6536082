"""A person's sampling parameters over HTTP; the schema says what they may be."""

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import TypeAdapter
from starlette.responses import Response

from webui.api.deps import ActorDep, Json, RuntimeDep, body_of
from webui.sampling_params import SamplingParams

router = APIRouter(prefix="/api/parameters")

_params_body = body_of(TypeAdapter(SamplingParams))


@router.get("")
async def get_parameters(runtime: RuntimeDep, actor: ActorDep) -> Response:
    """Return what the next message will use."""
    return _answer(await runtime.parameters.get(actor))


@router.put("")
async def save_parameters(
    runtime: RuntimeDep, actor: ActorDep, params: Annotated[SamplingParams, Depends(_params_body)]
) -> Response:
    """Save all of them; what is left out takes its default."""
    return _answer(await runtime.parameters.save(actor, params))


@router.patch("")
async def update_parameters(
    runtime: RuntimeDep, actor: ActorDep, params: Annotated[SamplingParams, Depends(_params_body)]
) -> Response:
    """Save those that are named; the others stay."""
    named = {name: getattr(params, name) for name in params.model_fields_set}
    saved = await runtime.parameters.update(actor, lambda old: old.model_copy(update=named))
    return _answer(saved)


@router.delete("")
async def reset_parameters(runtime: RuntimeDep, actor: ActorDep) -> Response:
    """Go back to the defaults."""
    return _answer(await runtime.parameters.reset(actor))


def _answer(params: SamplingParams) -> Response:
    return Json({"parameters": params.model_dump(mode="json")})
