"""A thread that makes requests ready for the loop, one after the other.

Knows no model: what is made is given. Its stack is large because tokenizers recurse.
"""

from __future__ import annotations

import queue
import threading
import time
import traceback
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from webui.engine.ipc import Begun, Waits
from webui.engine.mail import Refused
from webui.errors import EngineError, WebuiError

if TYPE_CHECKING:
    from collections.abc import Callable

    from webui.engine.mail import Prepared, TextsPrepared

STACK_BYTES = 512 << 20


class Request(Protocol):
    """What a preparer asks of a request."""

    @property
    def request_id(self) -> str: ...


R = TypeVar("R", bound=Request)


class Preparer(Generic[R]):
    """Takes requests from the reader's thread and puts mail for the loop.

    Args:
        name: Of the thread.
        put: Takes the mail.
        tell: Tells the web process which request may be why the worker ends.
    """

    def __init__(
        self,
        name: str,
        put: Callable[[Prepared | TextsPrepared | Refused], None],
        tell: Callable[[Begun | Waits], None],
    ) -> None:
        self._name = name
        self._put = put
        self._tell = tell
        self._requests: queue.SimpleQueue[tuple[R, float] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._is_stopped = False
        self._wanted: set[str] = set()  # asked for and not yet prepared, nor dropped
        self.begun_s: float | None = None  # when the present request was begun

    def start(self, prepare: Callable[[R, float], Prepared | TextsPrepared]) -> None:
        """Begin to work.

        Args:
            prepare: Makes the mail of a request; told when that came, in monotonic seconds.
        """
        before = threading.stack_size(STACK_BYTES)
        try:
            self._thread = threading.Thread(
                target=self._work, args=(prepare,), name=self._name, daemon=True
            )
            self._thread.start()
        finally:
            threading.stack_size(before)

    def stop(self, timeout_s: float) -> bool:
        """Begin no further request; return whether none is being made ready after so long."""
        self._is_stopped = True
        self._requests.put(None)
        if self._thread is None:
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def give(self, request: R) -> None:
        """Queue a request."""
        self._wanted.add(request.request_id)
        self._requests.put((request, time.monotonic()))

    def drop(self, request_id: str) -> None:
        """Forget a request that is not begun; others are ignored."""
        self._wanted.discard(request_id)

    def _work(self, prepare: Callable[[R, float], Prepared | TextsPrepared]) -> None:
        while True:
            self.begun_s = None
            given = self._requests.get()
            if given is None or self._is_stopped:
                return
            request, arrived_s = given
            self.begun_s = time.monotonic()
            request_id = request.request_id
            if request_id not in self._wanted:
                continue  # dropped while it waited here; the loop was told by the reader
            self._tell(Begun([request_id]))
            try:
                prepared = prepare(request, arrived_s)
                self._tell(Waits(request_id))
                self._put(prepared)
            except WebuiError as error:
                self._put(Refused(request_id, error))
            except Exception as error:  # noqa: BLE001 - the rim: one request fails, not the model
                traceback.print_exc()
                failure = EngineError(f"The request could not be read: {error!r}")
                self._put(Refused(request_id, failure))
            self._wanted.discard(request_id)
