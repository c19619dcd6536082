"""Signing in by OpenID Connect, linking an account to a person there, and confirming that it is them.

Knows the authorization code flow with PKCE, state and nonce; no request and no cookie. A person is
who has the subject of that issuer: neither a name nor an e-mail address ever finds an account.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from webui.accounts import client_secret, id_token, invited, links, newcomers, way_back
from webui.accounts.accounts import SignedIn, note
from webui.accounts.attempts import Aim, Attempts, Begun
from webui.accounts.confirmation import Means
from webui.accounts.enabled import check_enabled, check_signed_in
from webui.accounts.id_token import SignInRefused
from webui.accounts.identity import Source
from webui.accounts.newcomers import UnknownPerson
from webui.accounts.permissions import actor_of, seen
from webui.accounts.throttle import Throttle
from webui.accounts.views import LinkedView, LinkView
from webui.errors import Conflict, NotFound
from webui.network.provider import Provider
from webui.storage import credentials, external_identities, users
from webui.storage.sign_in_tables import ExternalIdentityRow
from webui.storage.tables import SignInWay, utc_now

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.orm import Session

    from webui.accounts.accounts import Accounts
    from webui.accounts.attempts import Attempt
    from webui.accounts.identity import Identity, Sender
    from webui.accounts.way_back import Answer
    from webui.actor import Actor
    from webui.settings import Settings
    from webui.storage.database import Database
    from webui.storage.tables import UserRow

# Whoever is signed in there is asked all the same (OpenID Connect Core 1.0, 3.1.2.1).
ANEW = MappingProxyType({"prompt": "login", "max_age": "0"})


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
            self._secret = await asyncio.to_thread(client_secret.read, file)

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
        begun = self._attempts.begin(sender.address, redirect_uri=redirect_uri, next_path=next_path)
        return await self._address(begun), begun.browser

    async def begin_link(
        self, identity: Identity, password: str | None, sender: Sender, *, redirect_uri: str
    ) -> tuple[str, str]:
        """Begin to link one's own account; returns the same as `begin`.

        Raises:
            NoPassword: There is none, and this was not confirmed otherwise.
            InvalidRequest: The password is wrong.
            TooManyAttempts: It was guessed wrong too often.
            NotFound: There is no provider.
            Conflict: Nobody is signed in by a sign-in that could be linked.
            ProviderFailed: It does not answer.
        """
        self._check_open()
        if identity.source is not Source.SESSION:
            raise Conflict("nobody is signed in here", "Sign in on the page.")
        await self._accounts.confirmation.check(identity, password, sender)
        begun = self._attempts.begin(
            sender.address,
            redirect_uri=redirect_uri,
            next_path="/",
            aim=Aim.LINK,
            session_id=identity.id,
        )
        address = await self._address(begun)
        self._accounts.confirmation.spend(identity)
        return address, begun.browser

    async def begin_confirmation(
        self, identity: Identity, sender: Sender, *, redirect_uri: str, next_path: str
    ) -> tuple[str, str]:
        """Begin to show anew that it is really them; returns the same as `begin`.

        Raises:
            NotFound: There is no provider.
            Conflict: The account has a password, or is not linked to the provider.
            ProviderFailed: It does not answer.
        """
        self._check_open()
        await self._accounts.confirmation.check_means(identity, Means.PROVIDER, sender)
        begun = self._attempts.begin(
            sender.address,
            redirect_uri=redirect_uri,
            next_path=next_path,
            aim=Aim.CONFIRM,
            session_id=identity.id,
        )
        return await self._address(begun), begun.browser

    async def finish(
        self, answer: Answer, browser: str | None, identity: Identity | None, sender: Sender
    ) -> Finished:
        """Let in, link, or believe anew who comes back from the provider.

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
        places = await provider.places()
        way_back.check(
            answer,
            issuer=provider.issuer,
            names_itself=places.names_itself,
            name=self._settings.oidc_name,
        )
        tokens = await provider.exchange(
            answer.code,
            secret=self._secret,
            verifier=attempt.verifier,
            redirect_uri=attempt.redirect_uri,
        )
        claims = await self._claims(provider, tokens.id_token, attempt.nonce)
        self._throttle.note_right(key, sender.address)
        if attempt.aim is Aim.LINK:
            await self._link(_who_began(attempt, identity), claims["sub"], sender)
            return Finished(None, attempt.next_path)
        if attempt.aim is Aim.CONFIRM:
            began = _who_began(attempt, identity)
            id_token.check_anew(claims, since_s=attempt.begun_at_s, now_s=int(time.time()))
            signed_in = await self._confirm(began, claims["sub"], sender)
            return Finished(signed_in, attempt.next_path)
        entered = await self._database.run(self._enter, claims["sub"], sender)
        if entered is None:
            entered = await self._make(provider, claims, tokens.access_token, sender)
        return Finished(entered, attempt.next_path)

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
            **(ANEW if begun.attempt.aim is Aim.CONFIRM else {}),
        }
        return str(prepare_grant_uri(places.authorization, provider.client_id, "code", **more))

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
        return None if found is None else self._let_in(session, *found, sender, action="sign_in")

    def _let_in(
        self,
        session: Session,
        link: ExternalIdentityRow,
        user: UserRow,
        sender: Sender,
        *,
        action: str,
    ) -> SignedIn:
        check_enabled(user)
        link.last_used_at = utc_now()
        said = f"{sender.device}, by {self._settings.oidc_name}"
        note(session, actor_of(session, user), action, said, sender)
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
        if not self._settings.oidc_auto_create:
            raise UnknownPerson(
                "you have no account here, or it is not linked",
                "Sign in with your password and link it under Your account; else an administrator "
                "can make an account for you.",
            )
        domains = frozenset(self._settings.oidc_email_domains)
        name = await invited.name_of(provider, claims, access_token, domains=domains)
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

    async def _link(self, identity: Identity, subject: str, sender: Sender) -> None:
        assert self._provider is not None
        row = ExternalIdentityRow(
            issuer=self._provider.issuer, subject=subject, owner_id=identity.actor.user_id
        )
        await self._database.run(links.keep, identity, row, self._settings.oidc_name, sender)

    async def _confirm(self, identity: Identity, subject: str, sender: Sender) -> SignedIn:
        """Begin a sign-in that counts as confirmed, in place of the one that asked."""
        signed_in = await self._database.run(self._begin_anew, identity, subject, sender)
        await self._accounts.confirmation.note(signed_in.token, sender)
        return signed_in

    def _begin_anew(
        self, session: Session, identity: Identity, subject: str, sender: Sender
    ) -> SignedIn:
        assert self._provider is not None
        check_signed_in(session, identity)
        found = credentials.find_external(session, self._provider.issuer, subject)
        if found is None or found[1].id != identity.actor.user_id:
            raise SignInRefused(
                f"you signed in at {self._settings.oidc_name} as somebody else than here",
                "Sign in there as yourself.",
            )
        return self._let_in(session, *found, sender, action="confirm")


def _who_began(attempt: Attempt, identity: Identity | None) -> Identity:
    """Return who began an attempt of somebody who was signed in, and still is.

    Raises:
        SignInRefused: They are not.
    """
    if identity is None or identity.id != attempt.session_id:
        raise SignInRefused(
            "whoever began this is not signed in here any more", "Sign in and begin it anew."
        )
    return identity
