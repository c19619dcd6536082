"""What a sampler needs and takes long to make: made by a thread of its own, used by the loop.

So replies go on meanwhile, and other prompts are read. Knows nothing of what is made.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_KEPT = 16

K = TypeVar("K")
V = TypeVar("V")


class MadeAhead(Generic[K, V]):
    """Things by what was asked for, the latest of them.

    Args:
        make: Makes one; on either thread.
        drop: Frees one; on the loop thread, or on that of `prepare` what the loop never saw.
    """

    def __init__(self, make: Callable[[K], V], drop: Callable[[V], None] = lambda _: None) -> None:
        self._make = make
        self._drop = drop
        self._lock = threading.Lock()
        self._made: dict[K, V] = {}  # on its way to the loop, the latest last
        self._kept: dict[K, V] = {}  # the one used last comes last; the loop's own

    def has(self, key: K) -> bool:
        """Return whether `prepare` has nothing to make; any thread may ask."""
        with self._lock:
            return key in self._kept or key in self._made

    def prepare(self, key: K, check: Callable[[V], None] = lambda _: None) -> None:
        """Make what `get` is going to be asked for; called by one thread beside the loop's.

        No more is on its way than is kept: requests may be refused before they ask for it.

        Args:
            key: What is asked for.
            check: Refuses what was made, by an exception; not asked about what is there already.
        """
        if self.has(key):
            return
        value = self._make(key)
        check(value)
        with self._lock:
            self._made[key] = value
            if len(self._made) > MAX_KEPT:
                self._drop(self._made.pop(next(iter(self._made))))

    def get(self, key: K) -> V:
        """Return what was asked for, and make it where `prepare` did not, or long ago."""
        self._take_made()
        value = self._kept[key] if key in self._kept else self._make(key)
        self._keep(key, value)
        return value

    def close(self) -> None:
        """Drop all; idempotent."""
        self._take_made()
        while self._kept:
            self._drop(self._kept.popitem()[1])

    def _take_made(self) -> None:
        with self._lock:
            while self._made:
                key = next(iter(self._made))
                self._keep(key, self._made.pop(key))

    def _keep(self, key: K, value: V) -> None:
        before = self._kept.pop(key, value)
        if before is not value:
            self._drop(before)
        self._kept[key] = value
        if len(self._kept) > MAX_KEPT:
            self._drop(self._kept.pop(next(iter(self._kept))))
