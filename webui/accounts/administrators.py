"""That somebody can always see to accounts: the last administrator stays.

Knows rows; who takes administrators away stands in `accounts` and `users`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from webui.actor import UserRole
from webui.errors import Conflict
from webui.storage import users

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from webui.storage.tables import UserRow


def check_left(session: Session, row: UserRow) -> None:
    """Check that another administrator could come in without this one.

    Raises:
        Conflict: Nobody could.
    """
    is_able = row.role is UserRole.ADMINISTRATOR and row.disabled_at is None
    if is_able and users.num_able_administrators(session) <= 1:
        raise Conflict(
            f"{row.name} is the only administrator", "Make somebody else one of them before."
        )
