"""Forgetting on demand what models have read: in the loaded one, and on disk for all of them.

Knows the pool and the folder of states; asked when a conversation or an account is deleted.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, NoReturn

from webui.engine import state_files

if TYPE_CHECKING:
    from pathlib import Path

    from webui.engine.pool import EnginePool

logger = logging.getLogger(__name__)

EXPIRE_EVERY_S = 3600.0


async def tidy(folder: Path, max_bytes: int) -> None:
    """Make what lies on disk fit the setting, which may have shrunk since; remove leftovers."""
    try:
        await asyncio.to_thread(state_files.tidy, folder, max_bytes)
    except OSError as error:
        logger.warning("prompt states on disk cannot be removed: %s", error)


async def keep_fresh(
    states: SavedStates, max_age_s: float, *, every_s: float = EXPIRE_EVERY_S
) -> NoReturn:
    """Remove what programs had read once it is too old, now and then, until cancelled.

    Args:
        states: What was read.
        max_age_s: Since they were last used, of those that belong to no conversation.
        every_s: Seconds between two times.
    """
    while True:
        await states.expire(time.time_ns() - int(max_age_s * 1e9))
        await asyncio.sleep(every_s)


class SavedStates:
    """What models have read for people, wherever it lies.

    Args:
        pool: Holds the loaded model; None where no server runs.
        folder: Of the states on disk; None where there are none.
    """

    def __init__(self, pool: EnginePool | None, folder: Path | None) -> None:
        self._pool = pool
        self._folder = folder

    async def purge(self, owner: str, conversation_id: str | None = None) -> None:
        """Forget all of an owner, or only what belongs to one of its conversations."""
        closing = frozenset() if self._pool is None else self._pool.closings.now
        if self._pool is not None:
            await self._pool.purge(owner, conversation_id)
        await self._remove(owner, conversation_id)
        if closing:  # what is being closed takes no orders, and writes what it still holds
            await asyncio.wait(closing)
            await self._remove(owner, conversation_id)

    async def expire(self, before_ns: int) -> None:
        """Forget what belongs to no conversation and was last used before a time."""
        if self._pool is not None and (engine := self._pool.current) is not None:
            await engine.expire(before_ns)
        if self._folder is None:
            return
        try:
            await asyncio.to_thread(state_files.expire, self._folder, before_ns)
        except OSError as error:
            logger.warning("prompt states on disk cannot be removed: %s", error)

    async def _remove(self, owner: str, conversation_id: str | None) -> None:
        if self._folder is None:
            return
        try:
            await asyncio.to_thread(state_files.purge, self._folder, owner, conversation_id)
        except OSError as error:
            logger.warning("prompt states on disk cannot be removed: %s", error)
