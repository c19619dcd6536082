"""A backup each day while the server runs.

Knows when; how is a matter of `backup`. A backup that fails is told in the log and tried again.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, NoReturn

from webui.errors import WebuiError
from webui.storage.backup import DAILY, BackupStopped

if TYPE_CHECKING:
    from webui.storage.backup import Backups

logger = logging.getLogger(__name__)

FIRST_S = 60.0  # after the start, which has enough to do
CHECK_S = 600.0


async def back_up_daily(
    backups: Backups, *, first_s: float = FIRST_S, check_s: float = CHECK_S
) -> NoReturn:
    """Make a backup whenever the newest is older than a day, until cancelled.

    Args:
        backups: Of the database that is in use; none can be made afterwards.
        first_s: Seconds until it is looked for the first time.
        check_s: Seconds between two looks.
    """
    try:
        await asyncio.sleep(first_s)
        while True:
            await asyncio.to_thread(_back_up, backups)
            await asyncio.sleep(check_s)
    finally:
        backups.stop()  # the thread may be in the middle of one


def _back_up(backups: Backups) -> None:
    try:
        if backups.is_due():
            logger.info("backed the database up to %s", backups.make(DAILY).path)
    except BackupStopped:
        return
    except WebuiError as error:
        logger.warning("the daily backup failed: %s. %s", error.message, error.hint)
