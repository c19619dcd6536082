"""What is asked of devices that keep passkeys, and what their answers are worth.

The one file that knows py_webauthn; no row and no request. Answers come from strangers: whatever
the library trips over in one is a no.

Source: Web Authentication, Level 3 (W3C), sections 7.1 and 7.2.
"""

from __future__ import annotations

import hmac
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import webauthn
from webauthn.helpers import (
    base64url_to_bytes,
    bytes_to_base64url,
    decode_credential_public_key,
    decoded_public_key_to_cryptography,
    encode_cbor,
    options_to_json_dict,
    parse_cbor,
    parse_client_data_json,
)
from webauthn.helpers.structs import (
    AuthenticationCredential,
    AuthenticatorAssertionResponse,
    AuthenticatorAttestationResponse,
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    RegistrationCredential,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from webui.accounts.challenges import LASTS_S
from webui.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from webui.accounts.challenges import Challenge
    from webui.accounts.relying_party import RelyingParty

logger = logging.getLogger(__name__)

APP_NAME = "Hearthside"
TIMEOUT_MS = int(LASTS_S * 1000)
MAX_ID_BYTES = 1023  # as the standard has it
MAX_KEY_BYTES = 2000  # RSA with 8192 bits has 1,050
# Of nobody (the base point of P-256), so that an unknown passkey takes the time of a known one.
NOBODYS_KEY = encode_cbor(
    {
        1: 2,
        3: -7,
        -1: 1,
        -2: bytes.fromhex("6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"),
        -3: bytes.fromhex("4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"),
    }
)


@dataclass(frozen=True, slots=True)
class Attestation:
    """A device's answer when it has made a passkey; all of it base64url."""

    id: str
    client_data: str
    attestation: str


@dataclass(frozen=True, slots=True)
class Assertion:
    """A device's answer when a passkey was used; all of it base64url."""

    id: str
    client_data: str
    authenticator_data: str
    signature: str
    user_handle: str


@dataclass(frozen=True, slots=True)
class Made:
    """A passkey that a device made."""

    credential_id: str
    public_key: bytes
    sign_count: int
    backed_up: bool


@dataclass(frozen=True, slots=True)
class Used:
    """A passkey was used; how often so far, as the device counts."""

    sign_count: int
    backed_up: bool


def creation_options(
    party: RelyingParty, challenge: bytes, *, name: str, handle: bytes, known: Iterable[str]
) -> dict[str, Any]:
    """Return what a browser is given to make a passkey.

    Args:
        party: As whom this server asks.
        challenge: To be signed.
        name: Of the person, for the device to show.
        handle: Of the person, for the device to give back.
        known: Credential ids of the passkeys they have; the device makes no second one.
    """
    options = webauthn.generate_registration_options(
        rp_id=party.id,
        rp_name=APP_NAME,
        user_name=name,
        user_id=handle,
        challenge=challenge,
        timeout=TIMEOUT_MS,
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED,  # nobody writes a name to sign in
            user_verification=UserVerificationRequirement.REQUIRED,
        ),
        exclude_credentials=[
            PublicKeyCredentialDescriptor(id=base64url_to_bytes(one)) for one in known
        ],
    )
    return options_to_json_dict(options)


def request_options(party: RelyingParty, challenge: bytes) -> dict[str, Any]:
    """Return what a browser is given to use a passkey; it tells nothing of who there is."""
    options = webauthn.generate_authentication_options(
        rp_id=party.id,
        challenge=challenge,
        timeout=TIMEOUT_MS,
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return options_to_json_dict(options)


def read_made(answer: Attestation, challenge: Challenge) -> Made:
    """Return the passkey that a device made.

    Raises:
        InvalidRequest: The answer is not what was asked for.
    """
    try:
        verified = webauthn.verify_registration_response(
            credential=_registration(answer),
            expected_challenge=challenge.value,
            expected_rp_id=challenge.party.id,
            expected_origin=challenge.party.origin,
            require_user_verification=True,
        )
        decoded_public_key_to_cryptography(
            decode_credential_public_key(verified.credential_public_key)
        )  # else it could never sign in
    except Exception as error:
        logger.debug("a passkey was not made: %.200r", error)
        raise _not_made() from error
    if len(verified.credential_id) > MAX_ID_BYTES or len(verified.credential_public_key) > (
        MAX_KEY_BYTES
    ):
        raise _not_made()
    credential_id = bytes_to_base64url(verified.credential_id)
    if credential_id != answer.id:
        raise _not_made()
    return Made(
        credential_id,
        verified.credential_public_key,
        verified.sign_count,
        verified.credential_backed_up,
    )


def read_use(
    answer: Assertion, challenge: Challenge, *, public_key: bytes, handle: bytes
) -> Used | None:
    """Return how a passkey was used; None where the answer does not prove that it was.

    Args:
        answer: Of the device.
        challenge: That it was given.
        public_key: Of the passkey, in COSE form.
        handle: Of whose it is.
    """
    try:
        verified = webauthn.verify_authentication_response(
            credential=_authentication(answer),
            expected_challenge=challenge.value,
            expected_rp_id=challenge.party.id,
            expected_origin=challenge.party.origin,
            credential_public_key=public_key,
            # What it counts is believed once it is known to be signed, which is not yet.
            credential_current_sign_count=0,
            require_user_verification=True,
        )
        is_theirs = hmac.compare_digest(base64url_to_bytes(answer.user_handle), handle)
    except Exception as error:  # noqa: BLE001 - whatever a stranger's bytes make it stumble over
        logger.debug("a passkey was not used: %.200r", error)
        return None
    if not is_theirs:
        return None
    return Used(verified.new_sign_count, verified.credential_backed_up)


def _registration(answer: Attestation) -> RegistrationCredential:
    """Return the answer without what the maker says of the device: nobody here would believe it.

    Raises:
        ValueError: It is not base64url, CBOR or of the form.
    """
    whole = parse_cbor(base64url_to_bytes(answer.attestation))
    bare = encode_cbor({"fmt": "none", "attStmt": {}, "authData": whole["authData"]})
    return RegistrationCredential(
        id=answer.id,
        raw_id=base64url_to_bytes(answer.id),
        response=AuthenticatorAttestationResponse(
            client_data_json=_client_data(answer.client_data), attestation_object=bare
        ),
    )


def _authentication(answer: Assertion) -> AuthenticationCredential:
    return AuthenticationCredential(
        id=answer.id,
        raw_id=base64url_to_bytes(answer.id),
        response=AuthenticatorAssertionResponse(
            client_data_json=_client_data(answer.client_data),
            authenticator_data=base64url_to_bytes(answer.authenticator_data),
            signature=base64url_to_bytes(answer.signature),
            user_handle=base64url_to_bytes(answer.user_handle),
        ),
    )


def _client_data(text: str) -> bytes:
    """Return what the browser says of the page; it must stand in no page of another origin.

    Raises:
        ValueError: It does, or this cannot be read.
    """
    raw = base64url_to_bytes(text)
    if parse_client_data_json(raw).cross_origin:
        raise ValueError("the page stands in one of another origin")
    return raw


def _not_made() -> InvalidRequest:
    return InvalidRequest(
        "the device's answer is not what was asked for",
        "Try again; take another device, or another store of passkeys, if it stays so.",
    )
