"""What an ID token of OpenID Connect says, once it is sure that it may be believed.

Knows signatures, claims and time (OpenID Connect Core 1.0, 3.1.3.7); asks nobody. Signatures are
those of key pairs alone: a secret that two share, or none at all, proves nothing here.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any

from joserfc import jwt
from joserfc.errors import ExpiredTokenError, InvalidClaimError, InvalidKeyIdError, JoseError
from joserfc.jwk import ECKey, KeySet, OKPKey, RSAKey

from webui.errors import NotAuthenticated

if TYPE_CHECKING:
    from collections.abc import Mapping

ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "Ed25519"),
)
KINDS: Mapping[str, type[RSAKey | ECKey | OKPKey]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}
LEEWAY_S = 60
MAX_TOKEN_CHARS = 32 * 1024
MAX_SUBJECT_CHARS = 255
MIN_RSA_BITS = 2048
BITS_A_CHAR = 6  # of base64
MAX_KEYS = 100


class SignInRefused(NotAuthenticated):
    """What another site said of somebody is not good enough to let them in."""

    code = "sign_in_refused"


class UnknownKey(Exception):  # noqa: N818 - told to the caller, never shown
    """The token is signed with a key that is not among those given."""


def read(
    token: str, keys: Mapping[str, Any], *, issuer: str, client_id: str, nonce: str, now_s: int
) -> Mapping[str, Any]:
    """Return the claims of a token.

    Args:
        token: As the provider gave it.
        keys: Of the provider, as JWKS.
        issuer: Who must have made it.
        client_id: For whom it must be.
        nonce: What it must have been asked with.
        now_s: Seconds since 1970.

    Raises:
        SignInRefused: It is not to be believed.
        UnknownKey: Its key is none of these.
    """
    if len(token) > MAX_TOKEN_CHARS or not token.isascii():
        raise _refused("is no token")
    try:
        decoded = jwt.decode(token, _key_set(keys), algorithms=ALGORITHMS)
        claims = decoded.claims
        jwt.JWTClaimsRegistry(
            now=now_s,
            leeway=LEEWAY_S,
            iss={"essential": True, "value": issuer},
            aud={"essential": True, "value": client_id},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
        ).validate(claims)
    except InvalidKeyIdError as error:
        raise UnknownKey from error
    except ExpiredTokenError as error:
        raise _wrong_clock("has run out") from error
    except InvalidClaimError as error:
        if error.claim in {"iat", "nbf"}:
            raise _wrong_clock("is of a time to come") from error
        raise _refused(f"does not fit ({error.claim})") from error
    except (JoseError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise _refused(f"does not prove who made it ({type(error).__name__})") from error
    _check_rest(claims, client_id, nonce)
    return claims


def check_anew(claims: Mapping[str, Any], *, since_s: int, now_s: int) -> None:
    """Check that somebody signed in at the provider because we asked, and was not waved through.

    Args:
        claims: Of a token that is believed.
        since_s: When they were sent there; seconds since 1970.
        now_s: As in `read`.

    Raises:
        SignInRefused: They did not, or the provider does not say; it must where it was asked with
            `max_age` (OpenID Connect Core 1.0, 2).
    """
    at_s = claims.get("auth_time")
    if isinstance(at_s, bool) or not isinstance(at_s, int | float):
        raise SignInRefused(
            "the provider does not say when you signed in there",
            "It must put auth_time into its ID tokens; until it does, an administrator can set a "
            "password for you.",
        )
    if not at_s >= since_s - LEEWAY_S:  # so that what is no number is refused too
        raise SignInRefused(
            "the provider did not ask you to sign in anew",
            "Sign out there, then begin it anew here; else its clock is wrong, or that of this "
            "server.",
        )
    if at_s > now_s + LEEWAY_S:
        raise _wrong_clock("says that you signed in at a time to come")


def _check_rest(claims: Mapping[str, Any], client_id: str, nonce: str) -> None:
    """Check what the registry does not: for whom alone it is, and by which question it came."""
    audience, party = claims["aud"], claims.get("azp")
    if party not in {None, client_id} if isinstance(party, str | None) else True:
        raise _refused("does not fit (azp)")
    if isinstance(audience, list) and len(audience) > 1 and party is None:
        raise _refused("does not fit (aud)")
    given = claims.get("nonce")
    if not isinstance(given, str) or not hmac.compare_digest(given.encode(), nonce.encode()):
        raise _refused("does not fit (nonce)")
    if not 0 < len(claims["sub"]) <= MAX_SUBJECT_CHARS:
        raise _refused("does not fit (sub)")


def _key_set(keys: Mapping[str, Any]) -> KeySet:
    """Return the public keys for signatures; what else is in the list is passed over."""
    found: list[RSAKey | ECKey | OKPKey] = []
    listed = keys.get("keys")
    for one in listed[:MAX_KEYS] if isinstance(listed, list) else []:
        kind = KINDS.get(str(one.get("kty"))) if isinstance(one, dict) else None
        is_weak = kind is RSAKey and len(str(one.get("n"))) * BITS_A_CHAR < MIN_RSA_BITS
        if kind is None or is_weak or one.get("use", "sig") != "sig":
            continue
        try:
            found.append(kind.import_key(one))
        except (JoseError, ValueError, TypeError, KeyError):
            continue
    return KeySet([*found])


def _refused(said: str) -> SignInRefused:
    return SignInRefused(
        f"the ID token {said}", "Try again; else the provider is set up in a way that cannot work."
    )


def _wrong_clock(said: str) -> SignInRefused:
    return SignInRefused(
        f"the ID token {said}",
        "Try again; else a clock is wrong, that of this server or that of the provider.",
    )
