"""Signing in by the word of a reverse proxy that was named.

Knows names that the proxy wrote; whether it was the proxy who wrote them, `api.forwarded` has said.
The name is the account: somebody of that name is let in, and nobody else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from webui.accounts import names, newcomers
from webui.accounts.accounts import SignedIn, note
from webui.accounts.enabled import check_enabled
from webui.accounts.id_token import SignInRefused
from webui.accounts.newcomers import UnknownPerson
from webui.accounts.permissions import actor_of, seen
from webui.accounts.throttle import Throttle
from webui.actor import UserRole
from webui.errors import InvalidRequest
from webui.storage import users
from webui.storage.tables import SignInWay

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from webui.accounts.accounts import Accounts
    from webui.accounts.identity import Sender
    from webui.settings import Settings
    from webui.storage.database import Database
    from webui.storage.tables import UserRow

BY = "the proxy"


class ProxySignIn:
    """The use case of it.

    Args:
        database: Where accounts are kept.
        accounts: Whose sign-ins are begun.
        settings: Whether accounts are made.
        throttle: How fast unknown names may follow each other.
    """

    def __init__(
        self,
        database: Database,
        accounts: Accounts,
        settings: Settings,
        *,
        throttle: Throttle | None = None,
    ) -> None:
        self._database = database
        self._accounts = accounts
        self._auto_create = settings.trusted_user_auto_create
        self._throttle = throttle or Throttle()

    async def sign_in(self, name: str, sender: Sender) -> SignedIn:
        """Begin a sign-in of somebody whom the proxy named.

        Raises:
            UnknownPerson: There is nobody of that name.
            SignInRefused: It is no name that an account can have.
            AccountDisabled: An administrator shut the account.
            TooManyAttempts: Too many unknown ones came from there.
        """
        try:
            is_good = names.checked(name) == name
        except InvalidRequest:
            is_good = False
        if not is_good:
            raise SignInRefused(
                "the proxy names somebody in a way that no account is called here",
                "It must be one name of letters and digits, in UTF-8 and without spaces around it.",
            )
        key = f"proxy {names.key_of(name)}"
        self._throttle.begin(key, sender.address)
        signed_in = await self._database.run(self._enter, name, sender)
        self._throttle.note_right(key, sender.address)
        return signed_in

    def _enter(self, session: Session, name: str, sender: Sender) -> SignedIn:
        row = users.find_by_key(session, names.key_of(name))
        if row is None and self._auto_create:
            row = newcomers.make(session, name, sender, by=BY)
        if row is None or not names.is_same(row.name, name):
            raise UnknownPerson(
                f"{name} has no account here", "An administrator can make one of that name."
            )
        check_enabled(row)
        _drop_made_up(row)
        note(session, actor_of(session, row), "sign_in", f"{sender.device}, by {BY}", sender)
        token = self._accounts.sessions.begin(session, row, sender, way=SignInWay.PROXY)
        return SignedIn(token, seen(session, row))


def _drop_made_up(row: UserRow) -> None:
    """Take away a password that was made up for somebody who needs none.

    An administrator keeps it, and must change it: there is always one who can come in by password.
    """
    if row.must_change_password and row.role is not UserRole.ADMINISTRATOR:
        row.password_hash, row.must_change_password = None, False
