"""A thread that makes requests ready for the loop, one after the other, owner after owner.

Knows no model: what is made is given. Its stack is large because tokenizers recurse.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING, Generic

from webui.engine.ipc import Begun, Waits
from webui.engine.mail import Refused
from webui.engine.requests_queue import R, RequestsQueue
from webui.errors import Busy, EngineError, WebuiError

if TYPE_CHECKING:
    from collections.abc import Callable

    from webui.engine.mail import Prepared, TextsPrepared

STACK_BYTES = 512 << 20
# Seconds without a core count so many times less: beside replies a long text may wait for one.
PATIENCE = 10
NEW_SHARE = 0.25  # of the latest request in what one takes


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
        self._requests: RequestsQueue[R] = RequestsQueue()
        self._changed = threading.Condition()  # of the queue, which two threads touch
        self._begun: tuple[float, float] | None = None  # the present request, by both clocks
        self._request_s = 0.0  # what one takes
        self._thread: threading.Thread | None = None
        self._clock_id: int | None = None  # of the thread's own time, where that can be read
        self._is_stopped = False

    @property
    def busy_s(self) -> float:
        """How long the thread has computed for its present request; 0 when it has none.

        Where a thread's time can be read, a machine that is busy with other things makes no
        request look stuck.
        """
        if (begun := self._begun) is None:
            return 0.0
        waited_s = time.monotonic() - begun[0]
        if (computed_s := self._computed_s()) is None:
            return waited_s
        return max(computed_s - begun[1], waited_s / PATIENCE)

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
        with self._changed:
            self._is_stopped = True
            self._changed.notify()
        if self._thread is None:
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def give(self, request: R) -> None:
        """Queue a request; one too many of its owner is refused."""
        try:
            with self._changed:
                self._requests.add(request, time.monotonic(), self._request_s)
                self._changed.notify()
        except Busy as error:
            self._put(Refused(request.request_id, error))

    def drop(self, request_id: str) -> None:
        """Forget a request that is not begun; others are ignored."""
        with self._changed:
            self._requests.drop(request_id)

    def _next(self) -> tuple[R, float] | None:
        with self._changed:
            while not self._requests and not self._is_stopped:
                self._changed.wait()
            return None if self._is_stopped else self._requests.take()

    def _work(self, prepare: Callable[[R, float], Prepared | TextsPrepared]) -> None:
        if sys.platform == "linux":  # asked here: the thread may end before another one asks
            self._clock_id = time.pthread_getcpuclockid(threading.get_ident())
        while True:
            if (given := self._next()) is None:
                return
            request, arrived_s = given
            begun_s = time.monotonic()
            self._begun = begun_s, self._computed_s() or 0.0
            request_id = request.request_id
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
            self._begun = None
            self._request_s += NEW_SHARE * (time.monotonic() - begun_s - self._request_s)

    def _computed_s(self) -> float | None:
        """Return how long the thread has computed; None where the system does not tell."""
        if self._clock_id is None:
            return None
        try:
            return time.clock_gettime(self._clock_id)
        except OSError:  # it has ended
            return None
