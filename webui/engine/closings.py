"""The engines that are being closed: they answer nobody and may still write to disk.

Knows nothing of an engine but that it closes.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from webui.engine.interface import Engine


class Closings:
    """What is on its way out."""

    def __init__(self) -> None:
        self._closing: set[asyncio.Future[None]] = set()

    def close(self, engine: Engine) -> asyncio.Future[None]:
        """Begin to close an engine; return what is done when that is."""
        closing = asyncio.ensure_future(engine.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        return closing

    async def wait(self) -> bool:
        """Wait for all that are being closed now; return whether there were any."""
        closing = set(self._closing)
        if closing:
            await asyncio.wait(closing)
        return bool(closing)
