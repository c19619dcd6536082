"""The model that answers, and the one on its way: what the pool keeps of each.

Values that change; the pool alone changes them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

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
