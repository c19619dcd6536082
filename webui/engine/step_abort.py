"""Whether the step that runs now is still of use to anybody.

Knows request ids and one flag of the runner; knows no rows. The loop says whose step it makes,
the thread that takes mail says who has gone. A step is broken off only when all it is made for
have gone, or when the worker is to end: nobody loses anything by another one's cancel.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class SetFlag(Protocol):
    """Tell a runner to break its step off, or not to; `ModelRunner.set_abort`."""

    def __call__(self, *, is_set: bool) -> None: ...


class StepAbort:
    """Sets the runner's flag while a step is in vain, and never outside of a step."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # held for a few set operations only
        self._gone: set[str] = set()  # cancelled, and the loop does not know yet
        self._wanted: set[str] = set()  # by whom the step that runs
        self._is_quitting = False
        self._set: SetFlag | None = None

    @contextmanager
    def step(self, request_ids: Iterable[str], set_flag: SetFlag) -> Iterator[None]:
        """Watch over a step; called by the loop.

        Args:
            request_ids: All that the step is made for.
            set_flag: Tells the runner to break off, or not to.
        """
        with self._lock:
            self._wanted = set(request_ids)
            self._set = set_flag
            self._decide()
        try:
            yield
        finally:
            with self._lock:
                self._set = None
                set_flag(is_set=False)

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
