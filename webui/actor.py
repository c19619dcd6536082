"""Who acts: the first argument of every use case.

A value file: permissions are data here; they are checked in the use cases.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from webui.errors import PermissionDenied

LOCAL_USER_ID = "local"


class Permission(StrEnum):
    """What an actor may be allowed to do beyond reading its own things."""

    CHAT = "chat"
    LOAD_MODELS = "load_models"
    DOWNLOAD_MODELS = "download_models"


@dataclass(frozen=True, slots=True)
class Actor:
    """One identified caller, made at the edge and passed down unchanged.

    Attributes:
        user_id: Opaque id of the row in `users`; owner of all it makes.
        name: What people see.
        permissions: What this caller may do.
    """

    user_id: str
    name: str
    permissions: frozenset[Permission]

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


def local_actor() -> Actor:
    """Return the one local user who needs no sign-in on the loopback address."""
    return Actor(LOCAL_USER_ID, "You", frozenset(Permission))
