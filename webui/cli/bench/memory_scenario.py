"""What the worker process takes besides what it was loaded for.

Looks at the process of `LocalEngine`, which says what of its memory is the model's.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, ClassVar

import psutil
from typing_extensions import override

from webui.cli.bench.own_engine import ask_as, own_engine, request_as
from webui.cli.bench.peers import Shape
from webui.cli.bench.scenario import BELOW_HTTP, Contest, Scenario, at_most, prompt
from webui.cli.bench.statistics import Pair
from webui.engine.interface import Text
from webui.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from webui.engine.process import LocalEngine

CHAT_TOKENS = 1000
REPLY_TOKENS = 96
SETTLE_S = 3.0  # until the worker has told figures of after the last chat left its slot
GRAMMAR_TOKENS = 3000
GRAMMAR = r"""
root ::= line+
line ::= "{\"name\": \"" [a-z]+ "\", \"age\": " [0-9]+ ", \"tags\": [" tag (", " tag)* "]}\n"
tag ::= "\"red\"" | "\"green\"" | "\"blue\""
"""


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
            own_bytes = await _own_bytes_in_use(engine)
            if not engine.stats.cached_ram_bytes:
                raise EngineError("no chat lies in the worker's cache: there is nothing to measure")
            return own_bytes / 1e6


async def _own_bytes_in_use(engine: LocalEngine) -> int:
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
                return _own_bytes(engine)
    raise EngineError("the reply with a grammar ended too soon to measure it")


def _own_bytes(engine: LocalEngine) -> int:
    """Return what the worker takes beyond weights, KV cache, compute buffers and cached states."""
    memory = engine.info.memory
    known_bytes = memory.weights_bytes + memory.kv_bytes + memory.compute_bytes
    resident_bytes: int = psutil.Process(engine.pid).memory_info().rss
    return resident_bytes - known_bytes - engine.stats.cached_ram_bytes
