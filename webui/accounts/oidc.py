"""Signing in by OpenID Connect, and linking an account to a person at the provider.

Knows the authorization code flow with PKCE, state and nonce; no request and no cookie. A person is
who has the subject of that issuer: neither a name nor an e-mail address ever finds an account.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from webui.accounts import id_token, links, newcomers
from webui.accounts.accounts import SignedIn, note
from webui.accounts.attempts import Attempts, Begun
from webui.accounts.enabled import check_enabled
from webui.accounts.id_token import SignInRefused
from webui.accounts.identity import Source
from webui.accounts.permissions import actor_of, seen
from webui.accounts.throttle import Throttle
from webui.accounts.views import LinkedView, LinkView
from webui.errors import Conflict, InvalidRequest, NotAuthenticated, NotFound
from webui.network.provider import Provider
from webui.storage import credentials, external_identities, users
from webui.storage.sign_in_tables import ExternalIdentityRow
from webui.storage.tables import SignInWay, utc_now

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from sqlalchemy.orm import Session

    from webui.accounts.accounts import Accounts
    from webui.accounts.attempts import Attempt
    from webui.accounts.identity import Identity, Sender
    from webui.actor import Actor
    from webui.settings import Settings
    from webui.storage.database import Database

MAX_WORD_CHARS = 4096  # of what the provider sends back by way of the browser
MAX_SECRET_BYTES = 4096
EMAIL = frozenset({"email", "email_verified"})


class UnknownPerson(NotAuthenticated):
    """The provider vouches for somebody who has no account here."""

    code = "unknown_person"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back from the provider in the address; any of it may be empty."""

    code: str = ""
    state: str = ""
    error: str = ""
    issuer: str = ""


@dataclass(frozen=True, slots=True)
class Finished:
    """How a sign-in ended.

    Attributes:
        signed_in: None where an account was linked.
        next_path: Where the reader wanted to go.
    """

    signed_in: SignedIn | None
    next_path: str


class Oidc:
    """Use cases of signing in by a provider.

    Args:
        database: Where accounts are kept.
        accounts: Whose sign-ins are begun.
        settings: Which provider it is, if any.
        provider: In its place.
        throttle: How fast wrong answers may follow each other.
        attempts: That have not come back.
    """

    def __init__(
        self,
        database: Database,
        accounts: Accounts,
        settings: Settings,
        *,
        provider: Provider | None = None,
        throttle: Throttle | None = None,
        attempts: Attempts | None = None,
    ) -> None:
        self._database = database
        self._accounts = accounts
        self._settings = settings
        if provider is None and settings.oidc_issuer:
            provider = Provider(settings.oidc_issuer, settings.oidc_client_id or "")
        self._provider = provider
        self._throttle = throttle or Throttle()
        self._attempts = attempts or Attempts()
        self._secret: str | None = None

    @property
    def name(self) -> str | None:
        """Return what people call the provider; None where there is none."""
        return self._settings.oidc_name if self._provider is not None else None

    async def open(self) -> None:
        """Read the secret; the provider is not asked.

        Raises:
            InvalidRequest: It cannot be read.
        """
        file = self._settings.oidc_client_secret_file
        if file is not None:
            self._secret = await asyncio.to_thread(_read_secret, file)

    async def begin(self, sender: Sender, *, redirect_uri: str, next_path: str) -> tuple[str, str]:
        """Begin a sign-in.

        Returns:
            The address to which the browser must go, and the word that it must keep.

        Raises:
            NotFound: There is no provider.
            Conflict: There is no administrator yet.
            ProviderFailed: It does not answer.
        """
        self._check_open()
        begun = self._attempts.begin(
            sender.address, redirect_uri=redirect_uri, next_path=next_path, link_session_id=""
        )
        return await self._address(begun), begun.browser

    async def begin_link(
        self, identity: Identity, password: str, sender: Sender, *, redirect_uri: str
    ) -> tuple[str, str]:
        """Begin to link one's own account; returns the same as `begin`.

        Raises:
            InvalidRequest: The password is wrong.
            TooManyAttempts: It was guessed wrong too often.
            NotFound: There is no provider.
            Conflict: Nobody is signed in by a sign-in that could be linked.
            ProviderFailed: It does not answer.
        """
        self._check_open()
        if identity.source is not Source.SESSION:
            raise Conflict("nobody is signed in here", "Sign in on the page.")
        await self._accounts.confirm(identity.actor, password, sender)
        begun = self._attempts.begin(
            sender.address, redirect_uri=redirect_uri, next_path="/", link_session_id=identity.id
        )
        return await self._address(begun), begun.browser

    async def finish(
        self, answer: Answer, browser: str | None, identity: Identity | None, sender: Sender
    ) -> Finished:
        """Let in, or link, who comes back from the provider.

        Args:
            answer: What the provider said by way of the browser.
            browser: The word that the browser kept.
            identity: Who is signed in there.
            sender: From where it comes.

        Raises:
            SignInRefused: What came back is not good enough.
            UnknownPerson: They have no account here.
            AccountDisabled: An administrator shut it.
            TooManyAttempts: Too many wrong answers came from there.
            ProviderFailed: It does not answer.
            Conflict: The link is somebody else's.
        """
        provider = self._check_open()
        # Before anything is counted: any site can send our people here with a state of its own.
        attempt = self._attempts.take(answer.state, browser)
        key = f"oidc {sender.address}"
        self._throttle.begin(key, sender.address)
        await self._check_answer(answer, provider)
        tokens = await provider.exchange(
            answer.code,
            secret=self._secret,
            verifier=attempt.verifier,
            redirect_uri=attempt.redirect_uri,
        )
        claims = await self._claims(provider, tokens.id_token, attempt.nonce)
        self._throttle.note_right(key, sender.address)
        if attempt.link_session_id:
            await self._link(attempt, identity, claims["sub"], sender)
            return Finished(None, attempt.next_path)
        signed_in = await self._database.run(self._enter, claims["sub"], sender)
        if signed_in is None:
            signed_in = await self._make(provider, claims, tokens.access_token, sender)
        return Finished(signed_in, attempt.next_path)

    async def get_link(self, actor: Actor) -> LinkView | None:
        """Return how one's own account is linked; None where there is no provider."""
        if self._provider is None:
            return None
        row = await self._database.read(
            external_identities.find, actor.user_id, self._provider.issuer
        )
        user = await self._database.read(users.get, actor.user_id)
        return LinkView(
            name=self._settings.oidc_name,
            linked_at=None if row is None else row.created_at,
            last_used_at=None if row is None else row.last_used_at,
            has_password=user.password_hash is not None,
        )

    async def list_links(self, actor: Actor) -> Sequence[LinkedView]:
        """Return who one is at all providers, also at those that were named here before."""
        return await self._database.read(links.list_all, actor.user_id)

    async def unlink(self, actor: Actor, sender: Sender) -> None:
        """Forget who one is at the provider.

        Raises:
            NotFound: The account is not linked.
            Conflict: Its owner could not come in any more.
        """
        provider = self._check_open()
        await self._database.run(
            links.drop, actor, provider.issuer, self._settings.oidc_name, sender
        )

    def _check_open(self) -> Provider:
        if self._provider is None:
            raise NotFound(
                "this server has no OpenID Connect provider",
                "Its administrator can name one with --oidc-issuer.",
            )
        if not self._accounts.is_claimed:
            raise Conflict(
                "this server has no administrator yet",
                "Make one first: the server printed an address and a code for it.",
            )
        return self._provider

    async def _address(self, begun: Begun) -> str:
        provider = self._check_open()
        places = await provider.places()
        more = {
            "redirect_uri": begun.attempt.redirect_uri,
            "scope": self._settings.oidc_scopes,
            "state": begun.state,
            "nonce": begun.attempt.nonce,
            "code_challenge": create_s256_code_challenge(begun.attempt.verifier),
            "code_challenge_method": "S256",
        }
        return str(prepare_grant_uri(places.authorization, provider.client_id, "code", **more))

    async def _check_answer(self, answer: Answer, provider: Provider) -> None:
        """Check what came by way of the browser.

        Raises:
            SignInRefused: It is another provider's, a refusal, or no answer at all.
        """
        places = await provider.places()
        is_theirs = hmac.compare_digest(answer.issuer.encode(), provider.issuer.encode())
        if (answer.issuer or places.names_itself) and not is_theirs:
            raise SignInRefused("another provider answered than was asked", "Begin it anew.")
        if answer.error:
            shown = answer.error if _is_word(answer.error) else "no word for why"
            raise SignInRefused(
                f"{self._settings.oidc_name} did not let you in ({shown})",
                "Try again, or sign in with a password.",
            )
        if not 0 < len(answer.code) <= MAX_WORD_CHARS:
            raise SignInRefused("the provider sent no code", "Begin it anew.")

    async def _claims(self, provider: Provider, token: str, nonce: str) -> Mapping[str, Any]:
        wanted = {"issuer": provider.issuer, "client_id": provider.client_id, "nonce": nonce}
        try:
            keys = await provider.keys()
            return id_token.read(token, keys, **wanted, now_s=int(time.time()))
        except id_token.UnknownKey:
            keys = await provider.keys(anew=True)
        try:
            return id_token.read(token, keys, **wanted, now_s=int(time.time()))
        except id_token.UnknownKey as error:
            raise SignInRefused(
                "the ID token is signed with a key that is none of the provider's",
                "Try again in a minute.",
            ) from error

    def _enter(self, session: Session, subject: str, sender: Sender) -> SignedIn | None:
        """Begin a sign-in of who is known; None for others."""
        assert self._provider is not None
        found = credentials.find_external(session, self._provider.issuer, subject)
        if found is None:
            return None
        link, user = found
        check_enabled(user)
        link.last_used_at = utc_now()
        said = f"{sender.device}, by {self._settings.oidc_name}"
        note(session, actor_of(session, user), "sign_in", said, sender)
        token = self._accounts.sessions.begin(session, user, sender, way=SignInWay.PROVIDER)
        return SignedIn(token, seen(session, user))

    async def _make(
        self, provider: Provider, claims: Mapping[str, Any], access_token: str, sender: Sender
    ) -> SignedIn:
        """Make an account for somebody new, where that is wanted.

        Raises:
            UnknownPerson: It is not, or not for them.
            SignInRefused: The provider says two things of them.
        """
        domains = frozenset(self._settings.oidc_email_domains)
        if not self._settings.oidc_auto_create:
            raise UnknownPerson(
                "you have no account here, or it is not linked",
                "Sign in with your password and link it under Your account; else an administrator "
                "can make an account for you.",
            )
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
        name = newcomers.name_in(claims)
        return await self._database.run(self._add, name, claims["sub"], sender)

    def _add(self, session: Session, wanted: str, subject: str, sender: Sender) -> SignedIn:
        assert self._provider is not None
        issuer, by = self._provider.issuer, self._settings.oidc_name
        if credentials.find_external(session, issuer, subject) is None:  # a second tab was faster
            row = newcomers.make(session, newcomers.free_name(session, wanted), sender, by=by)
            link = ExternalIdentityRow(issuer=issuer, subject=subject, owner_id=row.id)
            external_identities.add(session, link)
        signed_in = self._enter(session, subject, sender)
        assert signed_in is not None
        return signed_in

    async def _link(
        self, attempt: Attempt, identity: Identity | None, subject: str, sender: Sender
    ) -> None:
        assert self._provider is not None
        if identity is None or identity.id != attempt.link_session_id:
            raise SignInRefused(
                "whoever began to link their account is not signed in here any more",
                "Sign in and begin it anew.",
            )
        row = ExternalIdentityRow(
            issuer=self._provider.issuer, subject=subject, owner_id=identity.actor.user_id
        )
        await self._database.run(links.keep, identity, row, self._settings.oidc_name, sender)


def _is_of(domains: frozenset[str], claims: Mapping[str, Any]) -> bool:
    email = claims.get("email")
    if not isinstance(email, str) or claims.get("email_verified") is not True:
        return False
    local, _, domain = email.rpartition("@")
    return bool(local) and domain.lower() in domains


def _is_word(text: str) -> bool:
    return len(text) <= 60 and text.isascii() and text.replace("_", "").isalnum()


def _read_secret(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            raw = opened.read(MAX_SECRET_BYTES + 1)
        secret = raw.decode("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(
            f"the secret in {file} cannot be read", "Name a file that this user may read."
        ) from error
    if not secret or len(raw) > MAX_SECRET_BYTES:
        raise InvalidRequest(
            f"{file} holds no secret", "Write into it what the provider gave you, and nothing else."
        )
    return secret
