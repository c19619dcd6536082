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

    def close(self, engine: Engine, *, is_replaced: bool) -> asyncio.Future[None]:
        """Begin to close an engine, for another or for good; return what is done when that is."""
        closing = asyncio.ensure_future(engine.close(is_replaced=is_replaced))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        return closing

    @property
    def now(self) -> frozenset[asyncio.Future[None]]:
        """Return what is done when those are closed that are being closed now."""
        return frozenset(self._closing)
