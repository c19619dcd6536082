"""The first administrator: the code that makes one, and what becomes of the local user.

Knows one code and one row; whoever reads the terminal has the code.
"""

from __future__ import annotations

import hmac
import secrets
from typing import TYPE_CHECKING

from webui.accounts import names
from webui.actor import UserRole
from webui.errors import Conflict
from webui.storage import users

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from webui.storage.tables import UserRow

ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # without those that look alike
NUM_CHARS = 12


class AlreadyClaimed(Conflict):
    """There is an administrator."""


def new_code() -> str:
    """Return a code of 60 random bits, in groups of four."""
    chars = [secrets.choice(ALPHABET) for _ in range(NUM_CHARS)]
    return "-".join("".join(chars[begin : begin + 4]) for begin in range(0, NUM_CHARS, 4))


def is_same(code: str, given: str) -> bool:
    """Whether somebody wrote the code, however they wrote it."""
    plain = "".join(given.upper().replace("-", "").split())
    return hmac.compare_digest(code.replace("-", "").encode(), plain.encode())


def make_administrator(session: Session, name: str, password_hash: str) -> UserRow:
    """Make the local user the administrator, whose things stay where they are.

    Raises:
        AlreadyClaimed: There is one; nothing was changed.
    """
    if users.is_claimed(session):
        raise claimed()
    row = users.ensure_local(session)
    row.name, row.name_key, row.role = name, names.key_of(name), UserRole.ADMINISTRATOR
    row.password_hash = password_hash
    return row


def claimed() -> AlreadyClaimed:
    """Return what is said to who wants to be the first where there is one."""
    return AlreadyClaimed("this server has an administrator", "Sign in.")
