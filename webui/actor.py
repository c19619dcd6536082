"""Who acts: the first argument of every use case.

A value file: permissions are data here; they are checked in the use cases.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from webui.errors import PermissionDenied

if TYPE_CHECKING:
    from collections.abc import Iterable

LOCAL_USER_ID = "local"  # becomes the first administrator
LOCAL_NAME = "You"
COMMAND_LINE = "command line"


class Permission(StrEnum):
    """What an actor may be allowed to do beyond reading its own things."""

    CHAT = "chat"
    LOAD_MODELS = "load_models"
    DOWNLOAD_MODELS = "download_models"
    API_KEYS = "api_keys"
    SHARING = "sharing"
    ADMINISTER = "administer"


class UserRole(StrEnum):
    """What somebody is on this server; permissions follow from it unless an administrator set them."""

    ADMINISTRATOR = "administrator"
    USER = "user"
    GUEST = "guest"  # nothing of theirs outlives the sign-in


ROLE_PERMISSIONS = {
    UserRole.ADMINISTRATOR: frozenset(Permission),
    UserRole.USER: frozenset(
        {Permission.CHAT, Permission.LOAD_MODELS, Permission.API_KEYS, Permission.SHARING}
    ),
    UserRole.GUEST: frozenset({Permission.CHAT}),
}
# An administrator may grant these to others; ADMINISTER comes with the role alone.
GRANTABLE = frozenset(Permission) - {Permission.ADMINISTER}


def permissions_of(
    role: UserRole,
    own: Iterable[str] | None,
    of_groups: Iterable[Iterable[str]] = (),
    of_users: Iterable[str] | None = None,
) -> frozenset[Permission]:
    """Return what somebody may do; words of another version of the program are passed over.

    Args:
        role: An administrator may do everything.
        own: What an administrator set for them alone, which then is all; None where nobody did.
        of_groups: What each of their groups adds to the role's.
        of_users: What users may in place of what this program says; None where nobody set it.
    """
    if role is UserRole.ADMINISTRATOR:
        return ROLE_PERMISSIONS[role]
    if own is not None:
        return GRANTABLE.intersection(own)
    of_role = ROLE_PERMISSIONS[role]
    if role is UserRole.USER and of_users is not None:
        of_role = GRANTABLE.intersection(of_users)
    return of_role.union(*map(GRANTABLE.intersection, of_groups))


@dataclass(frozen=True, slots=True)
class Actor:
    """One identified caller, made at the edge and passed down unchanged.

    Attributes:
        user_id: Opaque id of the row in `users`; owner of all it makes.
        name: What people see.
        permissions: What this caller may do.
        role: What it is on this server.
        models: Ids of the models that the key it came with opens; None means any.
    """

    user_id: str
    name: str
    permissions: frozenset[Permission]
    role: UserRole = UserRole.USER
    models: frozenset[str] | None = None

    def require(self, permission: Permission) -> None:
        """Check one permission.

        Raises:
            PermissionDenied: The actor lacks it.
        """
        if permission not in self.permissions:
            raise PermissionDenied(
                f"{self.name} may not do this (needs the permission '{permission}')",
                "Ask the administrator of this server.",
            )

    def require_model(self, model_id: str | None) -> None:
        """Check that the key it came with, if it was one, opens a model.

        Raises:
            PermissionDenied: It does not.
        """
        check_model(self.models, model_id)


def check_model(models: frozenset[str] | None, model_id: str | None) -> None:
    """Check that a key opens a model.

    Args:
        models: Ids of those it opens; None means any.
        model_id: None where there is none any more.

    Raises:
        PermissionDenied: It does not.
    """
    if models is not None and model_id not in models:
        raise PermissionDenied(
            f"this API key does not open the model '{model_id or ''}'",
            f"It opens {', '.join(sorted(models))}.",
        )


def local_actor() -> Actor:
    """Return the one local user who needs no sign-in on the loopback address."""
    return Actor(LOCAL_USER_ID, LOCAL_NAME, frozenset(Permission), UserRole.ADMINISTRATOR)


def command_line_actor() -> Actor:
    """Return who acts when somebody types a command on the machine; no row of `users` is its."""
    return Actor(COMMAND_LINE, COMMAND_LINE, frozenset(Permission), UserRole.ADMINISTRATOR)
