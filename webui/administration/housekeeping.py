"""What the server clears away by itself: the trash, what ran out, what guests left.

Knows when; how is a matter of the rooms whose things they are.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, NoReturn

from webui.errors import WebuiError
from webui.storage import credentials, trash, unattended
from webui.storage.tables import utc_now

if TYPE_CHECKING:
    from webui.accounts.accounts import Accounts
    from webui.storage.database import Database

logger = logging.getLogger(__name__)

EVERY_S = 3600.0
EMPTY_KEPT = timedelta(days=1)


async def keep_house(
    database: Database, accounts: Accounts, *, every_s: float = EVERY_S
) -> NoReturn:
    """Clear away now and then, until cancelled; what fails is told and tried again.

    Args:
        database: What is cleared.
        accounts: Whose guests leave things.
        every_s: Seconds between two times.
    """
    while True:
        try:
            await clear(database, accounts)
        except WebuiError as error:
            logger.warning("clearing away failed: %s. %s", error.message, error.hint)
        await asyncio.sleep(every_s)


async def clear(database: Database, accounts: Accounts) -> None:
    """Clear away once.

    Raises:
        StorageBusy: Another program holds the database.
        StorageFull: The disk is full.
    """
    now = utc_now()
    await database.run(unattended.purge_trash, now - trash.KEPT)
    await database.run(unattended.purge_empty, now - EMPTY_KEPT)
    await database.run(credentials.delete_expired, now)
    await database.run(unattended.purge_shares, now)
    await accounts.empty_left_guests()
