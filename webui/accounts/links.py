"""Accounts that are linked to people at a provider: what is written down of it.

Knows rows; that somebody really is who they are there, `oidc` has found out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from webui.accounts.accounts import note
from webui.accounts.enabled import check_signed_in
from webui.accounts.views import LinkedView, linked_view
from webui.errors import Conflict, NotFound
from webui.storage import credentials, external_identities, users

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from webui.accounts.identity import Identity, Sender
    from webui.actor import Actor
    from webui.storage.sign_in_tables import ExternalIdentityRow


def list_all(session: Session, owner_id: str) -> list[LinkedView]:
    """Return who an owner is at all providers, also at those that were named here before."""
    return [linked_view(row) for row in external_identities.list_oldest(session, owner_id)]


def keep(
    session: Session, identity: Identity, row: ExternalIdentityRow, by: str, sender: Sender
) -> None:
    """Link an account; nothing happens where it is linked already.

    Args:
        session: Of the database.
        identity: Whose account it is, by the sign-in that began it.
        row: Who they are at the provider.
        by: What people call the provider.
        sender: From where this is asked.

    Raises:
        NotAuthenticated: That sign-in ended meanwhile.
        Conflict: That person is somebody else here, or the account is linked to another one.
    """
    check_signed_in(session, identity)
    actor = identity.actor
    found = credentials.find_external(session, row.issuer, row.subject)
    if found is not None and found[1].id != actor.user_id:
        raise Conflict(
            f"that account at {by} is linked to somebody else here", "Sign in there as yourself."
        )
    if found is not None:
        return
    if external_identities.find(session, actor.user_id, row.issuer) is not None:
        raise Conflict(f"your account is linked to another one at {by}", "Unlink that before.")
    external_identities.add(session, row)
    note(session, actor, "link", by, sender)


def drop(session: Session, actor: Actor, issuer: str, by: str, sender: Sender) -> None:
    """Forget who an owner is at a provider.

    Raises:
        NotFound: The account is not linked.
        Conflict: Its owner could not come in any more.
    """
    row = external_identities.find(session, actor.user_id, issuer)
    if row is None:
        raise NotFound(f"your account is not linked to {by}")
    if users.get(session, actor.user_id).password_hash is None:
        raise Conflict(
            "you have no password, and could not come in any more",
            "An administrator can set one.",
        )
    external_identities.delete(session, row)
    note(session, actor, "unlink", by, sender)
