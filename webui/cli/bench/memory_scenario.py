"""What the worker process takes besides what it was loaded for.

Looks at the process of `LocalEngine`, which says what of its memory is the model's.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, ClassVar, Protocol

import psutil
from typing_extensions import override

from webui.cli.bench.own_engine import ask_as, own_engine, request_as
from webui.cli.bench.peers import Shape
from webui.cli.bench.scenario import BELOW_HTTP, Contest, Scenario, at_most, prompt
from webui.cli.bench.statistics import Pair
from webui.engine.interface import Text
from webui.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from webui.engine.interface import Memory
    from webui.engine.process import LocalEngine

CHAT_TOKENS = 1000
REPLY_TOKENS = 96
SETTLE_S = 3.0  # until the worker has told figures of after the last chat left its slot
GRAMMAR_TOKENS = 3000
ANONYMOUS = "[anon]"
GRAMMAR = r"""
root ::= line+
line ::= "{\"name\": \"" [a-z]+ "\", \"age\": " [0-9]+ ", \"tags\": [" tag (", " tag)* "]}\n"
tag ::= "\"red\"" | "\"green\"" | "\"blue\""
"""


class Mapped(Protocol):
    """A part of a process's memory, as the system tells it."""

    @property
    def path(self) -> str: ...

    @property
    def size(self) -> int: ...

    @property
    def rss(self) -> int: ...


class WorkerMemory(Scenario):
    """What the worker process takes besides weights, KV cache and compute buffers.

    Measured with chats in its cache, whose states are what somebody gave it memory for and are not
    counted, and while a reply keeps to a grammar.
    """

    name = "worker_memory"
    title = "memory of the worker beyond weights + KV + compute buffers + cached chats"
    path: ClassVar[str] = BELOW_HTTP
    MEGABYTES = "MB"
    bars = (at_most(MEGABYTES, 150, slack=0),)
    has_peer: ClassVar[bool] = False
    NUM_CHATS = 12

    @override
    def shape(self, threads: int | None) -> Shape:
        return Shape(threads, num_streams=4, context_length=4096)

    @override
    def run(self, contest: Contest) -> Iterator[Mapping[str, Pair]]:
        return iter([{self.MEGABYTES: Pair(asyncio.run(self._measure(contest)))}])

    async def _measure(self, contest: Contest) -> float:
        """Return the megabytes.

        Raises:
            EngineError: No chat lies in the cache, or the grammar ended too soon.
        """
        async with own_engine(contest.model, self.shape(contest.threads)) as engine:
            asked = (
                ask_as(engine, f"owner {chat}", prompt(CHAT_TOKENS, chat), REPLY_TOKENS)
                for chat in range(self.NUM_CHATS)
            )
            await asyncio.gather(*asked)
            own_bytes = await _own_bytes_in_use(engine, contest.model)
            if not engine.stats.cached_ram_bytes:
                raise EngineError("no chat lies in the worker's cache: there is nothing to measure")
            return own_bytes / 1e6


async def _own_bytes_in_use(engine: LocalEngine, model: Path) -> int:
    """Return what the worker takes beyond what it names, while a reply keeps to a grammar.

    Raises:
        EngineError: The reply ended before the worker's figures were as of now.
    """
    request = request_as("owner", "List people.", GRAMMAR_TOKENS, grammar=GRAMMAR)
    begun_s: float | None = None
    async with aclosing(engine.generate(request)) as deltas:
        async for delta in deltas:
            if not isinstance(delta, Text):
                continue
            begun_s = begun_s or time.monotonic()
            if time.monotonic() - begun_s >= SETTLE_S:
                return _own_bytes(engine, model)
    raise EngineError("the reply with a grammar ended too soon to measure it")


def _own_bytes(engine: LocalEngine, model: Path) -> int:
    """Return what the worker takes beyond weights, KV cache, compute buffers and cached states."""
    process, memory = psutil.Process(engine.pid), engine.info.memory
    if psutil.LINUX:
        maps = process.memory_maps(grouped=False)
        resident_bytes = sum(one.rss for one in maps)
        known_bytes = _resident_of_model(maps, memory, model)
    else:  # it does not say which part of a buffer was ever written to
        resident_bytes = process.memory_info().rss
        known_bytes = memory.weights_bytes + memory.kv_bytes + memory.compute_bytes
    return int(resident_bytes - known_bytes - engine.stats.cached_ram_bytes)


def _resident_of_model(maps: Iterable[Mapped], memory: Memory, model: Path) -> int:
    """Return what is there of weights, KV cache and compute buffers.

    A part of a buffer that was never written to takes no memory, so that nothing is to be
    subtracted for it: of compute buffers, which are for the largest step, most is such.
    """
    least_bytes = min(memory.kv_bytes, memory.compute_bytes)
    weights_bytes = buffers_bytes = 0
    for one in maps:
        if one.path == str(model):
            weights_bytes += one.rss
        elif one.path == ANONYMOUS and one.size >= least_bytes:  # neighbours are one mapping
            buffers_bytes += one.rss
    return weights_bytes + min(buffers_bytes, memory.kv_bytes + memory.compute_bytes)
