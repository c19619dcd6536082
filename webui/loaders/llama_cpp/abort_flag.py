"""One byte that ends a running `llama_decode` from another thread.

Knows how llama.cpp asks for it; knows neither rows nor requests.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from typing import TYPE_CHECKING

import llama_cpp

if TYPE_CHECKING:
    from collections.abc import Callable


class AbortFlag:
    """A flag that contexts look at between two operations; lives as long as they do.

    llama.cpp asks hundreds of times in a step, from a compute thread. A Python function would
    wait for the interpreter lock each time, for as long as another thread keeps it. What it calls
    instead is C's `strlen`, whose result is 0 or 1 for the one byte there is and one of zero behind
    it: as a `bool (*)(void *)` it says whether the byte is set.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_set = False
        self._is_held = False
        self._byte = ctypes.create_string_buffer(1 + 1)
        self._ask: Callable[..., object] = llama_cpp.ggml_abort_callback(_strlen())

    @property
    def is_set(self) -> bool:
        """Whether steps are to end; read and written by any thread."""
        return self._is_set

    @is_set.setter
    def is_set(self, is_set: bool) -> None:
        with self._lock:
            self._is_set = is_set
            self._show()

    def hold(self, *, is_held: bool) -> None:
        """Let no step end because of the flag, or let them again."""
        with self._lock:
            self._is_held = is_held
            self._show()

    def watch(self, context: int) -> None:
        """Have a context look at the flag; backends other than the CPU do not."""
        llama_cpp.llama_set_abort_callback(context, self._ask, ctypes.addressof(self._byte))

    def _show(self) -> None:
        self._byte[0] = bytes([self._is_set and not self._is_held])


def _strlen() -> int:
    """Return the address of C's `strlen`."""
    library = ctypes.CDLL("msvcrt" if sys.platform == "win32" else None)
    return ctypes.cast(library.strlen, ctypes.c_void_p).value or 0
