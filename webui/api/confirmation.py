"""Confirming what has no way back, for who has no password: by a passkey, or at the provider.

What is confirmed begins another sign-in: its token takes the place of the one in the cookie.
"""

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from webui.accounts.ceremony import Assertion
from webui.api.deps import IdentityDep, Json, RuntimeDep, SenderDep
from webui.api.oidc import BeginBody, begin_body, on_the_way, redirect_uri_of
from webui.api.page import PAGE
from webui.api.passkeys import AssertionBody, PartyDep, assertion_body
from webui.api.session import begin

router = APIRouter(prefix="/api/confirmation")


@router.get("")
async def look(runtime: RuntimeDep, identity: IdentityDep, sender: SenderDep) -> Response:
    """Say by what the caller confirms, and whether they just did."""
    found = await runtime.accounts.confirmation.look(identity, sender)
    return Json({"confirmation": found, "provider": runtime.oidc.name})


@router.post("/provider")
async def begin_at_provider(
    request: Request,
    runtime: RuntimeDep,
    identity: IdentityDep,
    sender: SenderDep,
    body: Annotated[BeginBody, Depends(begin_body)],
) -> Response:
    """Begin to confirm at the provider: the address to which the browser must go."""
    root_path = runtime.settings.root_path
    url, browser = await runtime.oidc.begin_confirmation(
        identity,
        sender,
        redirect_uri=redirect_uri_of(request, root_path),
        next_path=body.next if PAGE.fullmatch(body.next) else "/",
    )
    return on_the_way(request, root_path, url, browser)


@router.post("/passkey/options")
async def begin_by_passkey(
    runtime: RuntimeDep, identity: IdentityDep, sender: SenderDep, party: PartyDep
) -> Response:
    """Return what the browser needs to use a passkey, within five minutes."""
    options = await runtime.passkeys.begin_confirmation(identity, party, sender)
    return Json({"options": options})


@router.post("/passkey")
async def confirm_by_passkey(
    request: Request,
    runtime: RuntimeDep,
    identity: IdentityDep,
    sender: SenderDep,
    body: Annotated[AssertionBody, Depends(assertion_body)],
) -> Response:
    """Confirm by a passkey; this browser gets a new sign-in in place of its own."""
    answer = Assertion(
        body.id, body.client_data, body.authenticator_data, body.signature, body.user_handle
    )
    signed_in = await runtime.passkeys.confirm(identity, answer, sender)
    return await begin(request, runtime, signed_in)
