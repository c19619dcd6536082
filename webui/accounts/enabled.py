"""Whether an account is open: asked by every way in, once it is known whose it is.

Knows one row; who shuts accounts stands in `users`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from webui.errors import NotAuthenticated

if TYPE_CHECKING:
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
