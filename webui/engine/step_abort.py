"""Whether the step that runs now is still of use to anybody.

Knows request ids and one flag of the runner; knows no rows. The loop says whose step it makes,
the thread that takes mail says who has gone. A step is broken off only when all it is made for
have gone, when the worker is to end, or when it takes so long that making it anew with fewer
threads is sooner done: nobody loses anything by another one's cancel.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

LOOK_S = 0.05  # between two looks at a step that has a limit


class SetFlag(Protocol):
    """Tell a runner to break its step off, or not to; `ModelRunner.set_abort`."""

    def __call__(self, *, is_set: bool) -> None: ...


class StepAbort:
    """Sets the runner's flag while a step is in vain, and never outside of a step.

    Args:
        clock: Monotonic seconds.

    Attributes:
        is_too_slow: Whether the latest step was broken off because of its limit.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()  # held for a few set operations only
        self._has_limit = threading.Condition(self._lock)
        self._ends_s: float | None = None  # the limit of the step that runs
        self.is_too_slow = False
        self._gone: set[str] = set()  # cancelled, and the loop does not know yet
        self._wanted: set[str] = set()  # by whom the step that runs
        self._is_quitting = False
        self._set: SetFlag | None = None

    @contextmanager
    def step(
        self, request_ids: Iterable[str], set_flag: SetFlag, limit_s: float | None = None
    ) -> Iterator[None]:
        """Watch over a step; called by the loop.

        Args:
            request_ids: All that the step is made for.
            set_flag: Tells the runner to break off, or not to.
            limit_s: How long it may take, as long as `watch` runs; None sets no limit.
        """
        with self._lock:
            self._wanted = set(request_ids)
            self._set = set_flag
            self.is_too_slow = False
            if limit_s is not None:
                self._ends_s = self._clock() + limit_s
                self._has_limit.notify()
            self._decide()
        try:
            yield
        finally:
            with self._lock:
                self._set = self._ends_s = None
                set_flag(is_set=False)

    def watch(self) -> None:
        """Break steps off at their limits; blocks for ever, in a thread of its own."""
        while True:
            with self._lock:
                self._has_limit.wait_for(lambda: self._ends_s is not None)
            time.sleep(LOOK_S)
            self.look()

    def look(self) -> None:
        """Break the step off if it has gone beyond its limit."""
        with self._lock:
            is_over = self._ends_s is not None and self._clock() >= self._ends_s
            if self._set is not None and is_over:
                self.is_too_slow = True
                self._set(is_set=True)

    def cancel(self, request_id: str) -> None:
        """Note that nobody wants a request; called before the loop gets mail about it."""
        with self._lock:
            self._gone.add(request_id)
            self._decide()

    def taken(self, request_id: str) -> None:
        """Note that the loop knows of a cancel."""
        with self._lock:
            self._gone.discard(request_id)

    def quit(self) -> None:
        """Note that the worker is to end; called before the loop gets mail about it."""
        with self._lock:
            self._is_quitting = True
            self._decide()

    def _decide(self) -> None:
        if self._set is not None and (self._is_quitting or self._wanted <= self._gone):
            self._set(is_set=True)
