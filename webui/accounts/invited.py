"""Whom a provider's word makes an account for, where that is wanted, and how they are called.

Knows claims; no row. An account is made for somebody as they are when they first come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from webui.accounts import newcomers
from webui.accounts.id_token import SignInRefused
from webui.accounts.newcomers import UnknownPerson

if TYPE_CHECKING:
    from collections.abc import Mapping

    from webui.network.provider import Provider

EMAIL = frozenset({"email", "email_verified"})


async def name_of(
    provider: Provider,
    claims: Mapping[str, Any],
    access_token: str,
    *,
    domains: frozenset[str],
) -> str:
    """Return the name that somebody new is to have.

    Args:
        provider: Asked once more where the token does not say enough.
        claims: Of the token.
        access_token: To ask with.
        domains: Of whose confirmed e-mail addresses they must have one; empty lets all come.

    Raises:
        UnknownPerson: They have none.
        SignInRefused: The provider says two things of them.
        ProviderFailed: It does not answer.
    """
    wanted = EMAIL if domains else {"preferred_username"}
    if not wanted <= claims.keys():
        more = await provider.userinfo(access_token)
        if more and more.get("sub") != claims["sub"]:
            raise SignInRefused("the provider says two things of you", "Try again.")
        # An address and whether it is confirmed are one word: never half of each.
        pair = claims if claims.keys() >= EMAIL else more
        claims = {**more, **claims, **{one: pair.get(one) for one in EMAIL}}
    if domains and not _is_of(domains, claims):
        raise UnknownPerson(
            "accounts are made here for some e-mail domains alone, and yours is none of them, "
            "or not confirmed",
            "An administrator can make an account for you.",
        )
    return newcomers.name_in(claims)


def _is_of(domains: frozenset[str], claims: Mapping[str, Any]) -> bool:
    email = claims.get("email")
    if not isinstance(email, str) or claims.get("email_verified") is not True:
        return False
    local, _, domain = email.rpartition("@")
    return bool(local) and domain.lower() in domains
