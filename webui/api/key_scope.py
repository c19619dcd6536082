"""Which paths an API key opens: groups of endpoints in one table.

Shut by default: a path that is in no group is for people alone, and for no key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from webui.accounts.identity import EndpointGroup
from webui.errors import PermissionDenied

if TYPE_CHECKING:
    from collections.abc import Mapping

    from webui.accounts.identity import Scope

# A path, and what lies below it.
PATHS: Mapping[EndpointGroup, tuple[str, ...]] = {
    EndpointGroup.CHAT: ("/v1/chat/completions", "/v1/completions"),
    EndpointGroup.EMBEDDINGS: ("/v1/embeddings", "/v1/rerank"),
    EndpointGroup.MODELS: ("/v1/models",),
    EndpointGroup.METRICS: ("/metrics",),
    EndpointGroup.MANAGE: ("/api/models", "/api/jobs"),
    EndpointGroup.CONVERSATIONS: ("/api/conversations", "/api/generations", "/api/events"),
}


class KeyScope(PermissionDenied):
    """An API key does not open this."""

    code = "key_scope"


def group_of(path: str) -> EndpointGroup | None:
    """Return the group that a path belongs to; None where no key opens it."""
    return next(
        (
            group
            for group, begins in PATHS.items()
            if any(path == begin or path.startswith(f"{begin}/") for begin in begins)
        ),
        None,
    )


def check_scope(scope: Scope | None, path: str) -> None:
    """Check that a key opens a path.

    Raises:
        KeyScope: It does not, or no key does.
    """
    group = group_of(path)
    if group is None or scope is None:
        raise KeyScope("no API key opens this", "Sign in on the page.")
    if not scope.has(group):
        raise KeyScope(
            f"this API key does not open '{group}'",
            f"It opens {', '.join(sorted(scope.endpoints or ()))}; make another one.",
        )
