"""What llama.cpp says while it works: its errors in order, and the memory it says it took.

Knows the wording of its log lines; forwards errors to stderr, which the parent keeps.
"""

from __future__ import annotations

import ctypes
import re
import sys
from collections import deque

import llama_cpp

KEPT_ERRORS = 20
LEVEL_DEBUG = 1
LEVEL_ERROR = 4
LEVEL_CONTINUED = 5  # the rest of the line before
MIB = 1024 * 1024
# Source: llama.cpp, src/llama-context.cpp, llama-kv-cache.cpp, llama-memory-recurrent.cpp.
_BUFFER = re.compile(r"(\S+) +(KV|RS|compute|output) buffer size = +(\d+\.\d+) MiB")

# What it says of a step that we had it break off; no error, and nobody's last words.
_ABORTED = re.compile(
    r"graph_compute_async failed with error 1$|compute graph, compute status: 1$"
    r"|failed to decode, ret = 2$"
)


class NativeLog:
    """Receives all log lines of the process from `install` on."""

    def __init__(self) -> None:
        self.errors: deque[str] = deque(maxlen=KEPT_ERRORS)
        self._cache_bytes = 0
        self._scratch_bytes: dict[tuple[str, str], int] = {}
        self._level = 0
        self._callback = llama_cpp.llama_log_callback(self._receive)

    @property
    def kv_bytes(self) -> int:
        """Bytes of all caches that were announced: keys and values, and recurrent states."""
        return self._cache_bytes

    @property
    def compute_bytes(self) -> int:
        """Bytes of the work and output buffers, of each device as last announced."""
        return sum(self._scratch_bytes.values())

    def install(self) -> None:
        """Take all log lines of this process, for its whole life."""
        # llama.cpp keeps the bare pointer, also after the model is gone: never let go of it.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._callback))
        llama_cpp.llama_log_set(self._callback, ctypes.c_void_p())

    def forget_memory(self) -> None:
        """Start counting anew, before another context is made."""
        self._cache_bytes = 0
        self._scratch_bytes.clear()

    def _receive(self, level: int, text: bytes | None, _data: int | None) -> None:
        if level == LEVEL_DEBUG:  # thousands of lines at every load
            self._level = level
            return
        if level != LEVEL_CONTINUED:
            self._level = level
        line = (text or b"").decode("utf-8", "replace")
        if self._level == LEVEL_ERROR and not _ABORTED.search(line.rstrip()):
            sys.stderr.write(line)
            sys.stderr.flush()
            if line.strip():
                self.errors.append(line.strip())
        elif found := _BUFFER.search(line):
            device, kind, mib = found.groups()
            num_bytes = int(float(mib) * MIB)
            if kind in ("KV", "RS"):
                self._cache_bytes += num_bytes
            else:
                self._scratch_bytes[device, kind] = num_bytes
