"""Passkeys: one's own, and the way in by one, which is public as any way in must be."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from webui.accounts.ceremony import Assertion, Attestation
from webui.accounts.relying_party import PasskeysImpossible, RelyingParty, relying_party_of
from webui.accounts.views import PasskeyView
from webui.api.deps import (
    ID_PATTERN,
    ActorDep,
    IdentityDep,
    Json,
    RuntimeDep,
    SenderDep,
    body_of,
)
from webui.api.door import TICKET, drop_ticket, keep_ticket
from webui.api.session import MAX_NAME_CHARS, MAX_PASSWORD_CHARS, begin
from webui.errors import in_one_line

BASE64URL = r"^[A-Za-z0-9_-]*$"
MAX_ID_CHARS = 1400  # of 1,023 bytes
MAX_CHARS = 8_000
MAX_ATTESTATION_CHARS = 40_000  # some makers put their certificates in

router = APIRouter(prefix="/api")

IdInPath = Annotated[str, Path(pattern=ID_PATTERN)]
CredentialId = Annotated[str, Field(pattern=BASE64URL, min_length=1, max_length=MAX_ID_CHARS)]
Bytes = Annotated[str, Field(pattern=BASE64URL, max_length=MAX_CHARS)]


class PasskeysView(msgspec.Struct, frozen=True):
    """One's own passkeys.

    Attributes:
        impossible: Why none can be made here and what to do; null where one can.
    """

    passkeys: list[PasskeyView]
    impossible: str | None


class BeginBody(BaseModel):
    """How the passkey is to be called, and the password of who has one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(max_length=MAX_NAME_CHARS)
    password: str | None = Field(default=None, max_length=MAX_PASSWORD_CHARS)


class NameBody(BaseModel):
    """How the passkey is to be called."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(max_length=MAX_NAME_CHARS)


class AttestationBody(BaseModel):
    """What the device answered that made one; bytes as base64url without padding."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: CredentialId
    client_data: Bytes
    attestation: str = Field(pattern=BASE64URL, max_length=MAX_ATTESTATION_CHARS)


class AssertionBody(BaseModel):
    """What the device answered when one was used; bytes as base64url without padding."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: CredentialId
    client_data: Bytes
    authenticator_data: Bytes
    signature: Bytes
    user_handle: Bytes


_begin_body = body_of(TypeAdapter(BeginBody))
_name_body = body_of(TypeAdapter(NameBody))
_attestation_body = body_of(TypeAdapter(AttestationBody))
assertion_body = body_of(TypeAdapter(AssertionBody))


async def get_party(request: Request) -> RelyingParty:
    """Return as whom the request reached this server.

    Raises:
        PasskeysImpossible: Browsers keep no passkeys for that address.
    """
    return relying_party_of(request.scope["scheme"], request.headers["host"])


PartyDep = Annotated[RelyingParty, Depends(get_party)]


@router.get("/passkeys")
async def list_passkeys(request: Request, runtime: RuntimeDep, actor: ActorDep) -> Response:
    """List the actor's passkeys, oldest first, and say whether one can be made here."""
    impossible = None
    try:
        await get_party(request)
    except PasskeysImpossible as error:
        impossible = in_one_line(error.message, error.hint)
    return Json(PasskeysView(await runtime.passkeys.list(actor), impossible))


@router.post("/passkeys/options")
async def begin_adding(
    runtime: RuntimeDep,
    identity: IdentityDep,
    sender: SenderDep,
    party: PartyDep,
    body: Annotated[BeginBody, Depends(_begin_body)],
) -> Response:
    """Return what the browser needs to make a passkey."""
    options = await runtime.passkeys.begin_adding(identity, body.name, body.password, party, sender)
    return Json({"options": options})


@router.post("/passkeys")
async def add_passkey(
    runtime: RuntimeDep,
    identity: IdentityDep,
    sender: SenderDep,
    body: Annotated[AttestationBody, Depends(_attestation_body)],
) -> Response:
    """Keep the passkey that the device made."""
    answer = Attestation(body.id, body.client_data, body.attestation)
    return Json({"passkey": await runtime.passkeys.add(identity, answer, sender)}, 201)


@router.patch("/passkeys/{passkey_id}")
async def rename_passkey(
    runtime: RuntimeDep,
    actor: ActorDep,
    passkey_id: IdInPath,
    body: Annotated[NameBody, Depends(_name_body)],
) -> Response:
    """Call one of the actor's passkeys otherwise."""
    return Json({"passkey": await runtime.passkeys.rename(actor, passkey_id, body.name)})


@router.delete("/passkeys/{passkey_id}")
async def delete_passkey(
    runtime: RuntimeDep, actor: ActorDep, sender: SenderDep, passkey_id: IdInPath
) -> Response:
    """Take one of the actor's passkeys away."""
    await runtime.passkeys.delete(actor, passkey_id, sender)
    return Response(status_code=204)


@router.post("/session/passkey/options")
async def begin_sign_in(
    request: Request, runtime: RuntimeDep, sender: SenderDep, party: PartyDep
) -> Response:
    """Return what the browser needs to use a passkey; the cookie with it is good for five minutes."""
    ticket, options = runtime.passkeys.begin_sign_in(party, sender)
    response = Json({"options": options})
    keep_ticket(response, ticket, request.scope, runtime.settings.root_path)
    return response


@router.post("/session/passkey")
async def sign_in(
    request: Request,
    runtime: RuntimeDep,
    sender: SenderDep,
    body: Annotated[AssertionBody, Depends(assertion_body)],
) -> Response:
    """Sign in by a passkey; what was signed in here before is ended."""
    answer = Assertion(
        body.id, body.client_data, body.authenticator_data, body.signature, body.user_handle
    )
    signed_in = await runtime.passkeys.sign_in(request.cookies.get(TICKET, ""), answer, sender)
    response = await begin(request, runtime, signed_in)
    drop_ticket(response, request.scope, runtime.settings.root_path)
    return response
