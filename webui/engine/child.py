"""One life of a worker process, seen from the web process: start, talk, watch, end.

Knows sockets, signals and standard error; knows neither requests nor restarts.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import override

import webui
from webui.engine import ipc
from webui.engine.activity import Activity
from webui.engine.control_group import ControlGroup
from webui.engine.interface import MAX_GAP_MS
from webui.engine.last_words import LastWords
from webui.errors import EngineDied, LoadFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from webui.engine.interface import ModelInfo
    from webui.engine.loader import ModelSpec
    from webui.engine.stats import EngineStats

logger = logging.getLogger(__name__)

READ_BYTES = 64 * 1024
LESS_MEMORY = "Load the model with a shorter context or fewer parallel replies, or a smaller one."
# Ends that somebody else made: what the worker said before has nothing to do with them.
KILLED = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
KEPT_VARIABLES = frozenset(
    {"PATH", "HOME", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONPATH"}
)
KEPT_PREFIXES = (
    "LC_", "CUDA_", "NVIDIA_", "GGML_", "OMP_", "GOMP_", "KMP_", "HIP_", "HSA_", "ROCR_", "ROCM_",
    "VK_", "GPU_", "MTL_",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Patience:
    """How long each thing may take; tests take less.

    Attributes:
        tick_s: How often the watchdog looks.
        load_silence_s: Without any message, while the model loads.
        silence_s: Without any message afterwards.
        step_s: One step of the loop, or what is computed for one prompt.
        last_words_s: From the end of the pipe to that of the process.
        quit_s: From a polite request to the end.
        kill_s: From the kill to the end; a process that waits for a drive may not even die of that.
    """

    tick_s: float = 2.0
    load_silence_s: float = 120.0
    silence_s: float = 30.0
    step_s: float = 60.0
    last_words_s: float = 0.5
    quit_s: float = 4.0
    kill_s: float = 5.0


class WorkerProcess(asyncio.BufferedProtocol):
    """A child that was started; `wait_dead` returns when it cannot be used any more.

    It reads into one buffer: an `asyncio.Protocol` gets a new 256 KiB object for every read,
    which costs more than the small messages in it.

    Args:
        patience: How long each thing may take.
        on_requests: Called with what belongs to requests.
        on_progress: Called with the loaded fraction, the same again while the load goes on.
        on_stats: Called with the worker's figures when they are new.
        group: Control group of the worker, which is ours; None looks it up.
    """

    def __init__(
        self,
        patience: Patience,
        on_requests: Callable[[ipc.OfRequests], None],
        on_progress: Callable[[float], None],
        on_stats: Callable[[EngineStats], None],
        *,
        group: ControlGroup | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self._patience = patience
        self._on_requests = on_requests
        self._on_progress = on_progress
        self._on_stats = on_stats
        self._decoder = ipc.ToParentDecoder()
        self._read = memoryview(bytearray(READ_BYTES))
        self._process: subprocess.Popen[bytes]
        self._link: asyncio.Transport
        self._stderr: asyncio.ReadTransport
        self._last_words = LastWords()
        self._loaded: asyncio.Future[ModelInfo] = loop.create_future()
        self._cut: asyncio.Future[None] = loop.create_future()
        self._fraction = 0.0
        self._num_silent = 0
        self._reason = ""  # why we killed it
        self._group = group or ControlGroup()
        # As of the last two looks: the last one may have been when it had just been killed.
        self._oom_kills = deque([self._group.num_oom_kills()], maxlen=2)
        self._watch: asyncio.Task[None]

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def is_cut(self) -> bool:
        """Whether the pipe has ended; what is sent now goes nowhere."""
        return self._cut.done()

    async def start(
        self, spec: ModelSpec, max_gap_ms: int = MAX_GAP_MS, cache: ipc.CacheSpec | None = None
    ) -> None:
        """Start the child and tell it what to load, and how to share its time.

        Runs on the main thread: the parent-death signal is tied to the thread that spawns.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = _spawn(spec.loader.module, theirs.fileno())
        stderr = self._process.stderr
        assert stderr is not None
        loop = asyncio.get_running_loop()
        with contextlib.ExitStack() as undo:
            undo.callback(self._process.wait)  # at once: it had no time to come into anything
            undo.callback(self._process.kill)
            undo.callback(ours.close)
            undo.callback(stderr.close)
            self._stderr, _ = await loop.connect_read_pipe(lambda: self._last_words, stderr)
            undo.callback(self._stderr.close)
            self._link, _ = await loop.create_connection(lambda: self, sock=ours)
            undo.pop_all()
        self._watch = asyncio.create_task(self._watch_over(), name=f"watchdog of {self.pid}")
        load = ipc.Load(
            spec.model_id,
            spec.name,
            str(spec.path.absolute()),
            spec.options.model_dump(mode="json"),
            max_gap_ms,
            cache or ipc.CacheSpec(),
        )
        self._link.write(ipc.encode(load))

    async def loaded(self) -> ModelInfo:
        """Wait until the model is open.

        Raises:
            LoadFailed: The worker says why it cannot be.
            EngineDied: It died over it.
        """
        events: set[asyncio.Future[ModelInfo] | asyncio.Future[None]] = {self._loaded, self._cut}
        await asyncio.wait(events, return_when=asyncio.FIRST_COMPLETED)
        if self._loaded.done():
            return self._loaded.result()
        raise await self.wait_dead()

    async def wait_dead(self) -> EngineDied:
        """Wait for the end of the process, reap it, and return what is to be said of it."""
        await asyncio.shield(self._cut)
        await self._reap(self._patience.last_words_s)
        return self._obituary()

    def send(self, frame: bytes) -> None:
        """Write a frame from `ipc.encode`; nothing happens when the worker is gone."""
        if not self._link.is_closing():
            self._link.write(frame)

    async def close(self, *, politely: bool = True) -> None:
        """End the process and reap it; idempotent."""
        if politely:
            self.send(ipc.encode(ipc.Quit()))
            await asyncio.wait({self._cut}, timeout=self._patience.quit_s)
        self._reason = self._reason or "it was closed"
        await self._reap(self._patience.last_words_s if self._cut.done() else 0)

    # What asyncio calls

    @override
    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where the next bytes are to be read to."""
        return self._read

    @override
    def buffer_updated(self, nbytes: int) -> None:
        """Sort the messages of the worker."""
        self._num_silent = 0
        try:
            for message in self._decoder.feed(self._read[:nbytes]):
                self._take(message)
        except ipc.BadFrame as error:
            self._give_up(f"it sent an invalid message ({error})")

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end of the pipe."""
        if exc is not None:
            self._read_rest()
        if not self._cut.done():
            self._cut.set_result(None)

    def _read_rest(self) -> None:
        """Read what came before an end that was found by writing; asyncio drops it."""
        number = self._link.get_extra_info("socket").fileno()
        with contextlib.suppress(OSError):  # there is nothing more, or it was cut off
            while num_bytes := os.readv(number, [self._read]):
                self.buffer_updated(num_bytes)

    def _take(self, message: ipc.ToParent) -> None:
        match message:
            case ipc.Outputs() | ipc.RequestError() | ipc.Begun() | ipc.Waits():
                self._on_requests(message)
            case ipc.Heartbeat():
                if message.busy_s > self._patience.step_s and self._loaded.done():
                    self._give_up(f"one step took more than {self._patience.step_s:.0f} s")
                if message.stats is not None:
                    self._on_stats(message.stats)
            case ipc.LoadProgress():
                self._fraction = message.fraction
                self._on_progress(message.fraction)
            case ipc.Loaded():
                if not self._loaded.done():
                    self._loaded.set_result(message.info)
            case ipc.LoadError() if not self._loaded.done():
                error = LoadFailed(message.message, message.hint, field=message.field)
                self._loaded.set_exception(error)
            case ipc.LoadError():
                self._give_up("it sent an error of loading when it was loaded")

    async def _watch_over(self) -> None:
        """Count ticks without a message: a loop of ours that stood still counts as one tick."""
        activity = Activity(self.pid, self._patience.tick_s)
        while not self._cut.done():
            await asyncio.sleep(self._patience.tick_s)
            if not self._loaded.done() and activity.has_moved():
                self._on_progress(self._fraction)
            self._num_silent += 1
            self._oom_kills.append(self._group.num_oom_kills())
            is_loaded = self._loaded.done()
            limit_s = self._patience.silence_s if is_loaded else self._patience.load_silence_s
            if self._num_silent * self._patience.tick_s >= limit_s:
                self._give_up(f"it gave no sign of life for {limit_s:.0f} s")

    def _give_up(self, reason: str) -> None:
        """Kill it; the end of the pipe follows."""
        self._reason = self._reason or reason
        self._kill_now()
        self._link.close()

    def _kill_now(self) -> None:
        if self._process.poll() is None:
            self._process.kill()

    async def _reap(self, grace_s: float) -> None:
        """Wait for the end, at first politely; afterwards nothing of it is left."""
        deadline_s = time.monotonic() + grace_s
        while self._process.poll() is None:
            if time.monotonic() >= deadline_s:
                self._process.kill()
            if time.monotonic() >= deadline_s + self._patience.kill_s:
                logger.warning("worker %d was killed and does not end; it is left alone", self.pid)
                break
            await asyncio.sleep(0.01)
        # What it said last may still be on its way through the pipe.
        await asyncio.wait({self._last_words.ended}, timeout=self._patience.last_words_s)
        self._watch.cancel()
        await asyncio.wait({self._watch})
        self._link.close()
        self._stderr.close()
        if self._loaded.done() and not self._loaded.cancelled():
            self._loaded.exception()  # seen, even if nobody waited for it

    def _obituary(self) -> EngineDied:
        code = self._process.returncode
        is_killed = code == -signal.SIGKILL and not self._reason
        lacked_memory = self._lacked_memory() if is_killed else False
        if self._reason or code is None:
            manner = self._reason or "it does not end"
        elif lacked_memory:
            manner = "memory ran out, and the system ended it"
        elif code < 0:
            manner = f"killed by {_signal_name(-code)}"
        else:
            manner = f"exit code {code}"
        is_own_end = not self._reason and code is not None and -code not in KILLED
        last = self._last_words.last_line() if is_own_end else ""
        said = f" Its last words: {last}" if last else ""
        hint = "Send the message again."
        if lacked_memory:
            hint = f"{LESS_MEMORY} Then send the message again."
        elif lacked_memory is None:
            hint += " If the system ran out of memory, load the model with a shorter context."
        elif code == -signal.SIGILL:
            hint = (
                "llama.cpp was compiled for another processor: delete the folder .venv and start "
                "Hearthside again."
            )
        return EngineDied(f"The engine stopped: {manner}.{said}", hint)

    def _lacked_memory(self) -> bool | None:
        """Return whether the system has just ended a process of the group for want of memory.

        None where it does not say.
        """
        before, now = self._oom_kills[0], self._group.num_oom_kills()
        return None if before is None or now is None else now > before


def _spawn(module: str, link: int) -> subprocess.Popen[bytes]:
    """Start the child entry with a clean environment and nothing of ours but the link."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", module, str(link)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=[link],
        env=_clean_environment(os.environ),
        cwd="/",
    )


def _clean_environment(ours: os._Environ[str] | dict[str, str]) -> dict[str, str]:
    """Return what the child may see: no tokens, no keys, no proxies."""
    kept = {
        name: value
        for name, value in ours.items()
        if name in KEPT_VARIABLES or name.startswith(KEPT_PREFIXES)
    }
    # The child finds our package also when we run from a checkout that is not installed.
    package_parent = str(Path(webui.__file__).resolve().parents[1])
    paths = [package_parent, *filter(None, kept.get("PYTHONPATH", "").split(os.pathsep))]
    return kept | {
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
        "PYTHONUNBUFFERED": "1",
        "GGML_NO_BACKTRACE": "1",  # ggml's abort handler would start a debugger
    }


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
