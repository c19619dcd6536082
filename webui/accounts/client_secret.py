"""The secret that a provider gave this server, in a file of its own.

Knows a file and its size; what the secret opens is for `oidc` to say. Blocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from webui.errors import InvalidRequest

if TYPE_CHECKING:
    from pathlib import Path

MAX_SECRET_BYTES = 4096


def read(file: Path) -> str:
    """Return the secret in a file.

    Raises:
        InvalidRequest: It cannot be read, or is none.
    """
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
