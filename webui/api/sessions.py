"""One's own sign-ins: which there are, and ending them."""

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from webui.api.deps import ID_PATTERN, IdentityDep, Json, RuntimeDep, SenderDep

router = APIRouter(prefix="/api/sessions")


@router.get("")
async def list_sessions(runtime: RuntimeDep, identity: IdentityDep) -> Response:
    """List the sign-ins of the actor, last used first."""
    return Json({"sessions": await runtime.accounts.list_sessions(identity.actor, identity.id)})


@router.delete("")
async def sign_out_everywhere(
    runtime: RuntimeDep, identity: IdentityDep, sender: SenderDep
) -> Response:
    """End all sign-ins of the actor, this one too, and the replies that run."""
    await runtime.accounts.sign_out_everywhere(identity.actor, sender)
    return Response(status_code=204)


@router.delete("/{session_id}")
async def end_session(
    runtime: RuntimeDep,
    identity: IdentityDep,
    session_id: Annotated[str, Path(pattern=ID_PATTERN)],
) -> Response:
    """End one of the sign-ins of the actor."""
    await runtime.accounts.end_session(identity.actor, session_id)
    return Response(status_code=204)
