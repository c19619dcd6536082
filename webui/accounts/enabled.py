"""Whether an account is open, and a sign-in still there, when something is about to be kept.

Knows rows; who shuts accounts and ends sign-ins stands in `users`, `accounts` and `sign_ins`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from webui.errors import NotAuthenticated, NotFound
from webui.storage import sessions

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from webui.accounts.identity import Identity
    from webui.storage.tables import UserRow


class AccountDisabled(NotAuthenticated):
    """It is who they say, but an administrator shut the account."""

    code = "account_disabled"


def check_enabled(row: UserRow) -> None:
    """Check that nobody shut an account.

    Raises:
        AccountDisabled: An administrator did.
    """
    if row.disabled_at is not None:
        raise AccountDisabled(
            "this account is disabled", "An administrator of this server can enable it."
        )


def check_signed_in(session: Session, identity: Identity) -> None:
    """Check that a sign-in did not end while its request was on its way.

    Raises:
        NotAuthenticated: It did; a way in that it makes now would outlive its end.
    """
    try:
        sessions.get(session, identity.actor.user_id, identity.id)
    except NotFound as error:
        raise NotAuthenticated(
            "your sign-in ended meanwhile", "Sign in and begin it anew."
        ) from error
