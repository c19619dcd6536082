"""The model that answers, and the one on its way: what the pool keeps of each.

Values that change; the pool alone changes them.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from webui.engine.pool_status import SEEN_AS, PoolState

if TYPE_CHECKING:
    from webui.engine.interface import Engine
    from webui.engine.load_watch import LoadWatch
    from webui.engine.loader import ModelSpec
    from webui.errors import EngineError


@dataclass(slots=True)
class Resident:
    """The model that answers."""

    model_id: str
    spec: ModelSpec | None = None  # None when somebody else opened it
    engine: Engine = field(init=False)
    error: EngineError | None = None
    is_leaving: bool = False  # it takes no new requests

    @property
    def seen_as(self) -> PoolState:
        """Where it stands, for people, when no other model is on its way."""
        return PoolState.UNLOADING if self.is_leaving else SEEN_AS[self.engine.state]

    async def close(self, *, is_replaced: bool) -> None:
        """Close its engine, whatever becomes of the caller meanwhile."""
        closing = asyncio.ensure_future(self.engine.close(is_replaced=is_replaced))
        try:
            await asyncio.shield(closing)
        except asyncio.CancelledError:
            await closing
            raise


@dataclass(slots=True)
class Loading:
    """The model on its way."""

    spec: ModelSpec
    task: asyncio.Task[Engine]
    resident: Resident
    watch: LoadWatch
    is_cancelled: bool = False
    is_last: bool = False  # nothing is loaded in its place

    def cancel(self, *, is_last: bool = False) -> None:
        """End it; with `is_last` what was loaded before does not come back."""
        self.is_cancelled = True
        self.is_last = is_last
        self.task.cancel()
